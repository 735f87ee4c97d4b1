"""What of a configuration a supervisor follows itself (L5): read alike by it and by its workers."""

from __future__ import annotations

from pathlib import Path

from bastion.config.penalties import penalty_limits
from bastion.config.sections import Sections
from bastion.supervisor.questions import Settings


def state_folder(config: Sections) -> Path:
    """Where penalties are kept."""
    return config.state.directory or config.recording.directory / "state"


def settings_of(config: Sections) -> Settings:
    """Of the whole configuration, or of its file alone."""
    return Settings(
        str(config.audit.file),
        config.audit.required,
        penalty_limits(config.limits.penalties),
        config.recording.store.kind == "s3",
    )

"""What of a configuration a supervisor follows itself (L5): read alike by it and by its workers."""

from __future__ import annotations

from bastion.assembly.beside import wanted_of
from bastion.config.penalties import penalty_limits
from bastion.config.sections import Sections
from bastion.supervisor.questions import Settings


def settings_of(config: Sections) -> Settings:
    """Of the whole configuration, or of its file alone."""
    return Settings(
        str(config.audit.file),
        config.audit.required,
        penalty_limits(config.limits.penalties),
        *wanted_of(config),
    )

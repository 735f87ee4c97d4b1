"""What of a configuration a supervisor follows itself (L5): read alike by it and by its workers."""

from __future__ import annotations

from bastion.assembly import detections
from bastion.config.penalties import penalty_limits
from bastion.config.sections import Sections
from bastion.inventories.section import digest_of
from bastion.supervisor.questions import Settings


def settings_of(config: Sections) -> Settings:
    """Of the whole configuration, or of its file alone."""
    return Settings(
        str(config.audit.file),
        config.audit.required,
        penalty_limits(config.limits.penalties),
        config.recording.store.kind == "s3",
        digest_of(config.inventories),
        detections.digest_of(config),
    )

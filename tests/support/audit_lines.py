"""Events of the audit log for tests of what carries them."""

from __future__ import annotations

from typing import Any

from bastion.observe.events import AuditEvent


class Told(AuditEvent):
    """An event of any name with any fields."""

    def __init__(self, event: str, **fields: Any) -> None:
        self.event = event  # type: ignore[misc]
        self._fields = fields

    def fields(self) -> dict[str, Any]:
        return self._fields

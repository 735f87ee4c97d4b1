"""Events of the audit log for tests of what carries them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bastion.observe.audit_verify import Verifier
from bastion.observe.events import AuditEvent


class Told(AuditEvent):
    """An event of any name with any fields."""

    def __init__(self, event: str, **fields: Any) -> None:
        self.event = event  # type: ignore[misc]
        self._fields = fields

    def fields(self) -> dict[str, Any]:
        return self._fields


def wrong_lines(file: Path) -> list[str]:
    """What is wrong with the audit log that a gateway has left, [] when all is as it should be."""
    if not file.is_file():
        return []
    verifier = Verifier(())
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        verifier.add(file.name, number, line)
    return [f"{one.file}:{one.line}: {one.fault}: {one.text}" for one in verifier.finish().findings]

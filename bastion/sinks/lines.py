"""One line of the audit log on its way (L2, pure): its bytes as they stand in the file, and its id."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

import orjson

from bastion.observe.audit_chain import read_bound

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

INFO: Final = 6
WARNING: Final = 4
ERROR: Final = 3
"""Severities of RFC 5424 section 6.2.1."""

_ERRORS: Final = frozenset(
    ("recorder_failed", "worker_died", "ledger_broken", "audit_resumed", "handover_failed")
)
_WARNINGS: Final = frozenset((
    "connection_refused", "handshake_failed", "refused", "break_glass", "security_key_counter", "health_changed",
    "recording_deletion_refused", "clock_stepped", "audit_sink",
))  # fmt: skip


@dataclass(frozen=True)
class AuditLine:
    """`raw` is without its newline; `chain` and `serial` name it for ever."""

    raw: bytes
    chain: str
    serial: int

    @property
    def id(self) -> str:
        """By which whoever got it twice knows it again."""
        return f"{self.chain}-{self.serial}"

    @cached_property
    def document(self) -> dict[str, Any]:
        """{} for what is no object of JSON, which nothing of ours writes."""
        try:
            found = orjson.loads(self.raw)
        except orjson.JSONDecodeError:
            return {}
        return found if isinstance(found, dict) else {}

    def word(self, name: str) -> str:
        """That field, "" when it is not there or no text."""
        found = self.document.get(name)
        return found if isinstance(found, str) else ""

    @property
    def text(self) -> str:
        """For JSON around it; its bytes are UTF-8 already, as the log writes nothing else."""
        return self.raw.decode("utf-8", "replace")

    @cached_property
    def nanoseconds(self) -> int:
        """When it was written, since the epoch; 0 when it does not say."""
        try:
            moment = datetime.fromisoformat(self.word("ts"))
            return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
        except (ValueError, TypeError, OverflowError):
            return 0

    @property
    def severity(self) -> int:
        """INFO, WARNING or ERROR: for whoever sorts by it, and nothing hangs on it."""
        event = self.word("event")
        if event in _ERRORS:
            return ERROR
        if event in _WARNINGS or self.document.get("result") == "refused":
            return WARNING
        return INFO


def read_audit_line(raw: bytes) -> AuditLine | None:
    """None for what is of no chain: torn, or from a version that had none."""
    bound = read_bound(raw)
    return None if bound is None else AuditLine(raw, bound.chain, bound.serial)

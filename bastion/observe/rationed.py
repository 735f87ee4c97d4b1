"""Audit lines that somebody pays for (L2): a line each while the payer's purse allows it, then one with the counts.

What a peer can cause as often as it likes (refused logins of a stranger, channels opened and closed by an engineer)
is charged to its purse (`auth.budget`, Work.LOG). Beyond that nothing is lost from sight: what was not written is
counted by event and reason, and every SUMMARY_INTERVAL one line `lines_summed` for each payer says how many.

Lines that let something happen (a login, a session) are never rationed: they go to `AuditLog.emit`.
Worst case of the summaries: MAX_PAYERS + 1 lines of at most 4 KiB, typically 250 bytes, in SUMMARY_INTERVAL.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Final, Protocol

from bastion.clock import DelayedCall, Timers
from bastion.errors import Refused
from bastion.observe.audit import AuditFailed, AuditLog
from bastion.observe.events.base import NOBODY, About, AuditEvent, Value
from bastion.observe.events.process import LinesSummed
from bastion.observe.meters import AUDIT_SUMMED, Meters

SUMMARY_INTERVAL: Final = 60.0
"""Seconds from the first line that was not written to the line that says how many there were."""

MAX_PAYERS: Final = 256
"""Payers that get a summary of their own in one interval. Those beyond are summed together as `others`."""

MAX_KINDS: Final = 64
"""Pairs of event and reason in one summary. Both are words of closed sets; more pairs than these do not occur."""

OTHERS: Final = "others"

LINE_OVERHEAD: Final = 120
"""Bytes of a line beside its fields: time, event, the two references."""

ESCAPED: Final = 12
"""Bytes that one character can take: a pair of surrogates as `\\uXXXX\\uXXXX`."""


class Purse(Protocol):
    """Whoever pays for a line (`auth.budget.Purse`). `payer` is the kind of payer, a word of a closed set."""

    @property
    def payer(self) -> str: ...

    def pay_line(self, size: int) -> None:
        """Pay for a line of `size` bytes. Raises Refused and takes nothing."""
        ...


def line_size(fields: dict[str, Value]) -> int:
    """Bytes that a line with these fields has at most, found without making it."""
    size = LINE_OVERHEAD
    for name, value in fields.items():
        if value == "":
            continue  # it is left out of the line (`audit.encode_line`)
        size += len(name) + 8
        if isinstance(value, str):
            if value.isascii() and value.isprintable():
                size += len(value) + value.count('"') + value.count("\\")
            else:
                size += len(value) * ESCAPED
        else:
            size += len(str(value))
    return size


class RationedLog:
    """The audit log for what peers may repeat. One for a process; `flush` at its end."""

    def __init__(self, audit: AuditLog, timers: Timers, meters: Meters) -> None:
        self._audit, self._timers, self._meters = audit, timers, meters
        # who pays -> "event" or "event reason" -> lines not written
        self._unwritten: dict[tuple[str, str], Counter[str]] = {}
        self._since = 0.0
        self._timer: DelayedCall | None = None

    def emit(self, purse: Purse, payer: str, event: AuditEvent, about: About = NOBODY) -> bool:
        """Write the line if `purse` (of `payer`: a source address or an identity's name) can pay for it.

        False when it was counted instead. Raises AuditFailed as `AuditLog.emit` does.
        """
        fields = about.fields() | event.fields()
        try:
            purse.pay_line(line_size(fields))
        except Refused:
            self._count(str(purse.payer), payer, event.event, str(fields.get("reason", "")))
            return False
        self._audit.append(event.event, about, fields)
        return True

    def note(self, purse: Purse, payer: str, event: AuditEvent, about: About = NOBODY) -> bool:
        """As `emit`, for what has happened already and cannot be refused: never raises."""
        with suppress(AuditFailed):
            return self.emit(purse, payer, event, about)
        return True

    def flush(self) -> None:
        """Write the summaries now."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        unwritten, self._unwritten = self._unwritten, {}
        seconds = round(self._timers.seconds() - self._since)
        for (kind, payer), counts in unwritten.items():
            source, identity = (payer, "") if kind == "source" else ("", payer)
            self._audit.note(LinesSummed(counts.total(), dict(counts), seconds, source, identity))

    def _count(self, kind: str, payer: str, event: str, reason: str) -> None:
        self._meters.add(AUDIT_SUMMED, kind)
        if not self._unwritten:
            self._since = self._timers.seconds()
            self._timer = self._timers.callLater(SUMMARY_INTERVAL, self.flush)
        who = (kind, payer)
        if who not in self._unwritten and len(self._unwritten) >= MAX_PAYERS:
            who = (kind, OTHERS)
        counts = self._unwritten.setdefault(who, Counter())
        what = f"{event} {reason}".rstrip()
        counts[what if what in counts or len(counts) < MAX_KINDS else OTHERS] += 1

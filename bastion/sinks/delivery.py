"""What there is, delivered to one sink (L2): at least once, in order, and what was confirmed noted on disk.

Invariants: a line is passed by only when the sink has it, or has refused it and taken another one; after a fault there
is a pause, which doubles; what was confirmed and could not be noted is noted before anything else is delivered.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bastion.clock import Clock
from bastion.observe.labels import SinkReason
from bastion.sinks.fault import SinkFault
from bastion.sinks.lines import AuditLine
from bastion.sinks.position import Position, load, save
from bastion.sinks.report import TEXT_MAX, Report
from bastion.sinks.spool import Behind, Spool
from bastion.wire.printable import printable

LOOK: Final = 1.0
"""Seconds between two looks at a log of which everything is delivered: how late a line is, at most."""

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds after a fault, doubling."""


Deliver = Callable[[Sequence[AuditLine]], Sequence[int]]
"""Which of the lines, by index, the sink does not take for what they are; it has the others. Raises SinkFault."""


class Delivery:
    """One sink. `turn` again and again."""

    def __init__(
        self, names: tuple[str, str], deliver: Deliver, log: Path, file: Path, clock: Clock, most: int, pid: int
    ) -> None:  # fmt: skip
        """`names` are the sink's own and its kind; its position stands in `file`; `most` lines at a time."""
        (self._name, self._kind), self._give = names, deliver
        self._log, self._file, self._clock, self._most, self._pid = log, file, clock, most, pid
        self._position = Position()
        self._spool: Spool | None = None  # until the position is read
        self._lines: Sequence[AuditLine] = ()
        self._unsaved = False
        self._pause = FIRST_PAUSE
        self._reason, self._text = SinkReason.DELIVERED, ""
        self._results: Counter[str] = Counter()
        self._sent = self._refused = 0

    def turn(self) -> float:
        """Deliver the next lines; the seconds until the next turn."""
        try:
            spool = self._opened()
            self._save()
            self._lines = spool.take(self._most, more=self._reason is SinkReason.REFUSED)
            self._save()  # of a new sink: where it begins
            if not self._lines:
                self._well()
                return LOOK
            self._deliver(spool)
        except SinkFault as fault:
            return self._failed(fault)
        except OSError as error:
            where = error.filename or self._file
            return self._failed(SinkFault(SinkReason.LOCAL_FILE, f"{where}: {error.strerror}"))
        except Exception as error:  # of this one sink, as far as anybody knows: the others go on
            sys.excepthook(*sys.exc_info())
            return self._failed(SinkFault(SinkReason.FAILED, f"the gateway failed: {type(error).__name__}"))
        self._results[str(SinkReason.DELIVERED)] += 1
        self._well()
        return 0.0

    @property
    def state(self) -> tuple[SinkReason, int]:
        """What came of the last delivery, and how many lines have gone."""
        return self._reason, self._sent

    def close(self) -> None:
        if self._spool is not None:
            self._spool.close()

    def report(self) -> Report:
        """How it is now. Looks at the log's files."""
        behind, unreadable, lost = Behind(), "", 0
        if self._spool is not None:
            behind, unreadable, lost = self._spool.behind(), self._spool.unreadable, self._spool.lost
        oldest = self._lines[0].nanoseconds / 1e9 if self._lines else 0.0
        text = self._text or unreadable
        return Report(
            self._name, self._kind, self._clock.time(), self._pid, self._reason, printable(text, TEXT_MAX),
            behind.lines, behind.size, oldest if behind.lines else 0.0, behind.ending,
            dict(self._results), self._sent, self._refused, lost,
        )  # fmt: skip

    def _opened(self) -> Spool:
        """Raises OSError, and SinkFault for a position that cannot be read: nobody is to begin anew by mistake."""
        if self._spool is None:
            try:
                self._position = load(self._file)
            except ValueError as error:
                raise SinkFault(SinkReason.LOCAL_FILE, f"{self._file}: {error}") from None
            self._unsaved = not self._position.begun
            self._spool = Spool(self._log, self._position, self._clock)
        return self._spool

    def _deliver(self, spool: Spool) -> None:
        """Raises SinkFault, OSError."""
        lines = self._lines
        try:
            refused = self._give(lines)
        except SinkFault as fault:
            if fault.reason is not SinkReason.REFUSED or len(lines) == 1:
                raise
            refused = self._apart(lines, fault)
        if len(refused) == len(lines):
            raise SinkFault(SinkReason.REFUSED, f"{self._name}: it takes none of {len(lines)} lines")
        spool.confirm(lines)
        self._lines = ()
        self._sent += len(lines) - len(refused)
        self._refused += len(refused)
        self._unsaved = True
        self._save()

    def _apart(self, lines: Sequence[AuditLine], fault: SinkFault) -> Sequence[int]:
        """Each by itself: one that is refused is passed by when others are taken. When none is, it is not the lines."""
        refused: list[int] = []
        for index, line in enumerate(lines):
            try:
                refused += [index] * len(self._give((line,)))
            except SinkFault as found:
                if found.reason is not SinkReason.REFUSED:
                    raise
                refused.append(index)
        if len(refused) == len(lines):
            raise fault
        return refused

    def _save(self) -> None:
        if self._unsaved and self._position.begun:
            save(self._file, self._position)
            self._unsaved = False

    def _well(self) -> None:
        self._reason, self._text, self._pause = SinkReason.DELIVERED, "", FIRST_PAUSE

    def _failed(self, fault: SinkFault) -> float:
        self._results[str(fault.reason)] += 1
        self._reason, self._text = fault.reason, fault.text
        pause = max(self._pause, fault.later)
        self._pause = min(LONGEST_PAUSE, self._pause * 2)
        return pause

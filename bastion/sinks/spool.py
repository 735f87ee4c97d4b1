"""What of the audit log a sink has not confirmed (L2): the log's own files are the spool, rotated ones too.

Nothing is copied and nothing is queued: a line costs the gateway the file that it writes anyway, and how much can wait
is how many files are kept. Files are known by their inode while they are there and by the chain of their lines for
ever, and read in the order in which they began. A rotated file is looked at again while it is not packed, as one of
several processes may write its last line late, and once more when it is packed.

Invariants: no line is passed by that the sink has not confirmed, unless its file is gone, which is counted; nothing is
confirmed out of order within a chain.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bastion.clock import Clock
from bastion.observe.log_files import ROTATED, LogUnreadable
from bastion.sinks.files import LogFile, WasCut, heads_of
from bastion.sinks.lines import AuditLine
from bastion.sinks.position import ALL, CHAINS_MAX, READ_PACKED, Position, Reached

LIST_EVERY: Final = 10.0
"""Seconds between two looks into the folder; a rotation is noticed at once."""

LATE: Final = 60.0
"""Seconds for which a removed file is kept open, and a rotated one that has been read."""

BYTES_MAX: Final = 1 << 20
"""Of the lines of one delivery, and one line more."""


REMOVED: Final = "a file that was removed"


@dataclass(frozen=True, slots=True)
class Behind:
    """`lines` and `size` (bytes) that are not confirmed. `ending`: some are in the oldest of several rotated files."""

    lines: int = 0
    size: int = 0
    ending: bool = False


class Spool:
    """Of one sink: `take` lines, `confirm` them, and again."""

    def __init__(self, log: Path, position: Position, clock: Clock) -> None:
        self._log, self._position, self._clock = log, position, clock
        self._files: list[LogFile] = []  # in the order in which they began
        self._missing: dict[tuple[int, int], float] = {}  # gone from the folder, and since when
        self._read: dict[tuple[int, int], float] = {}  # rotated, read to the end, and since when
        self._listed = -LIST_EVERY
        self._held: Sequence[AuditLine] = ()
        self.lost = 0  # lines, since the start of this process
        self.unreadable = ""  # the last file that could not be read

    def take(self, most: int, more: bool = False) -> Sequence[AuditLine]:
        """The next lines, of one file; those of the last call as long as they are not confirmed, with `more` those that
        have come since behind them. Raises OSError."""
        if self._held and (not more or len(self._held) >= most):
            return self._held
        self._look()
        for file in self._files:
            found = self._lines_of(file, most - len(self._held))
            if found:
                self._position.first = self._position.first or found[0].chain
                self._held = [*self._held, *found]
                break
        return self._held

    def confirm(self, lines: Sequence[AuditLine]) -> None:
        """The sink has these, which are the next ones of what was taken."""
        for line in lines:
            self._position.reach(line.chain, line.serial)
        self._held = self._held[len(lines) :]

    def behind(self) -> Behind:
        """Looks at the files, and at their ends."""
        with suppress(OSError):
            self._look()
        waiting: dict[str, int] = {}  # chain -> its last number
        first: dict[str, int] = {}
        size = sum(len(line.raw) + 1 for line in self._held)
        ending = False
        rotated = [file for file in self._files if file.path != self._log and file.head.chain]
        for file in self._files:
            chain = file.head.chain
            if not chain or (self._is_done(file) and not file.taken):
                continue
            last = -1
            with suppress(OSError, LogUnreadable):
                last = file.last_serial()
            waiting[chain] = max(waiting.get(chain, -1), last)
            first[chain] = min(first.get(chain, ALL), file.head.serial)
            if last > self._position.serial(chain):
                size += file.left
                ending = ending or (len(rotated) > 1 and file is rotated[0])
        lines = sum(
            max(0, last - max(self._position.serial(chain), first[chain] - 1))
            for chain, last in waiting.items()
        )
        lines += sum(1 for line in self._held if line.chain not in waiting)
        return Behind(lines, size, ending)

    def close(self) -> None:
        for file in self._files:
            file.close()

    # -- reading -----------------------------------------------------------------------------------------

    def _lines_of(self, file: LogFile, most: int) -> Sequence[AuditLine]:
        """The next of that file that are not confirmed."""
        if self._is_done(file):
            if file.taken:
                self._ended(file)
            return ()
        while True:
            try:
                read = file.read(most, BYTES_MAX)
            except FileNotFoundError:
                self._listed = -LIST_EVERY
                return ()
            except WasCut:
                file.begin_again()
                self._listed = -LIST_EVERY
                return ()
            except LogUnreadable as error:
                self.unreadable = f"{file.path}: {error}"
                file.at_end = file.broken = True
                return ()
            if not read:
                self._ended(file)
                return ()
            found = [line for line in read if line.serial > self._position.serial(line.chain)]
            for line in found:
                self._hear(line)
            if found:
                return found

    def _is_done(self, file: LogFile) -> bool:
        """Has nothing that is of interest, by what is known from before."""
        reached = self._position.chains.get(file.head.chain)
        if file.packed:
            return file.at_end or (reached is not None and reached.size == READ_PACKED)
        if file.taken or not file.size:
            return file.taken == file.size  # which was looked at
        if reached is None:
            return False
        return reached.serial == ALL or (file.path != self._log and reached.size == file.size)

    def _ended(self, file: LogFile) -> None:
        """It has been read to its end: what of that need not be found out again."""
        if file.path == self._log or not file.head.chain:
            return
        reached = self._position.chains.setdefault(file.head.chain, Reached())
        if file.packed:
            reached.size = READ_PACKED
        elif reached.size != READ_PACKED:
            reached.size = file.taken
        self._read.setdefault(file.key, self._clock.monotonic())
        self._read = {one.key: self._read[one.key] for one in self._files if one.key in self._read}

    def _hear(self, line: AuditLine) -> None:
        """A file says where the one before it ended: is that what the sink has got, or will?"""
        if line.word("event") != "audit_continued" or line.chain == (self._position.first or line.chain):
            return
        chain, serial = line.word("before_chain"), line.document.get("before_seq")
        if not chain or type(serial) is not int:
            return
        if any(file.head.chain == chain and not file.broken for file in self._files):
            return
        reached = self._position.chains.setdefault(chain, Reached())
        missing = serial - max(reached.serial, reached.gone)
        if missing > 0:
            self.lost += missing
            reached.gone = serial  # told once; should the file come back, it is read

    # -- looking -----------------------------------------------------------------------------------------

    def _look(self) -> None:
        """At the files that are open, and into the folder when it is time or the log is another file."""
        now = self._clock.monotonic()
        cut = False
        status = _status_of(self._log)
        key = status and (status.st_dev, status.st_ino)
        for file in self._files:
            file.look(status if file.key == key else None)
            if file.size < file.taken:  # somebody has copied it and emptied it: the copy comes first
                cut = True
                file.begin_again()
        is_other = all(file.key != key or file.path != self._log for file in self._files)
        if is_other or cut or now - self._listed >= LIST_EVERY:
            self._list(now)

    def _list(self, now: float) -> None:
        self._listed = now
        known = {file.key: file for file in self._files}
        found: dict[tuple[int, int], LogFile] = {}
        with os.scandir(self._log.parent) as entries:
            for entry in entries:
                name = entry.name
                if not name.startswith(self._log.name) or not ROTATED.fullmatch(
                    name.removeprefix(self._log.name)
                ):
                    continue
                with suppress(OSError):
                    status = entry.stat()
                    if entry.is_file() and len(found) < CHAINS_MAX:
                        fresh = LogFile(self._log.parent / name, status)
                        file = found[fresh.key] = known.get(fresh.key, fresh)
                        file.path = fresh.path
                        file.look(status)
        for key, file in known.items():
            if key not in found and self._is_wanted(file, now):
                found[key] = file
        self._files = list(found.values())
        heads_of(self._files)
        self._files.sort(key=self._order)
        self._begin()
        self._let_go(now)
        self._position.forget_all_but({file.head.chain for file in self._files})

    def _order(self, file: LogFile) -> tuple[str, int, bool, str]:
        return file.head.began or "~", file.head.serial, file.path == self._log, file.path.name

    def _is_wanted(self, file: LogFile, now: float) -> bool:
        """Gone from the folder: until it is read, and a moment longer."""
        since = self._missing.setdefault(file.key, now)
        if file.is_open and (file.left or now - since < LATE):
            file.path = self._log.with_name(REMOVED)
            return True
        file.close()
        del self._missing[file.key]
        return False

    def _begin(self) -> None:
        """A sink that is new gets the file that is written now, from its beginning, and none from before it."""
        if self._position.begun:
            return
        self._position.begun = True
        for file in self._files:
            if file.path == self._log:
                self._position.first = file.head.chain
            elif file.head.chain:
                self._position.chains[file.head.chain] = Reached(ALL, READ_PACKED)

    def _let_go(self, now: float) -> None:
        """Descriptors of rotated files that have been read."""
        for file in self._files:
            since = self._read.get(file.key)
            if since is not None and now - since > LATE and not file.left and file.path != self._log:
                file.close()


def _status_of(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None

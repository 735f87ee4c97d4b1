"""One file of the audit log, read line by line for one sink (L2): the one that grows, a rotated one, a packed one.

Invariant: a line is given whole and once. A file that was cut or written anew is noticed and told: it is to be read
from its beginning, and whoever reads knows by the numbers what he has.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bastion.observe.audit_chain import read_bound
from bastion.observe.log_files import LogUnreadable, read_lines
from bastion.sinks.lines import AuditLine, read_audit_line

BLOCK: Final = 256 << 10
LINE_MAX: Final = 4 << 20
"""Bytes of a line. The log's own are far below it; what is longer is passed over."""

_MARK: Final = 64
"""Bytes in front of where reading goes on, by which a file that was cut and has grown again is known: they are part of
the digest of the line before."""

_TAIL: Final = 8 << 10


class WasCut(Exception):
    """The file is not what was read of it: `begin_again`, when the others have been looked at."""


@dataclass(frozen=True, slots=True)
class Head:
    """How a file begins: the chain and number of its first line that has one, and when that was written."""

    chain: str = ""
    serial: int = 0
    began: str = ""


def head_of(path: Path) -> Head:
    """Raises LogUnreadable. Without a line of a chain, one without a chain."""
    for raw in read_lines(path):
        line = read_audit_line(raw)
        if line is not None:
            return Head(line.chain, line.serial, line.word("ts"))
    return Head()


class LogFile:
    """A file that was there when somebody looked, by whatever name. `taken` says how much of it was given."""

    def __init__(self, path: Path, status: os.stat_result) -> None:
        self.path = path
        self.key = status.st_dev, status.st_ino
        self.packed = path.suffix in (".gz", ".zst")
        self.head = Head()
        self.size = status.st_size
        self.taken = 0
        self.at_end = False  # of a packed one: all of it was given
        self.broken = False  # ... or what can be read of it
        self.looked = False  # how it begins
        self.passed = 0  # lines that are of no chain, or too long
        self._fd = -1
        self._before = b""  # what stands in front of `taken`
        self._lines: Iterator[bytes] | None = None  # of a packed one
        self._last: tuple[int, int] = -1, -1  # a size, and the number of the last line then

    @property
    def is_open(self) -> bool:
        return self._fd >= 0

    @property
    def left(self) -> int:
        """Bytes that were not given; of a packed file that is begun all of it."""
        if self.packed:
            return 0 if self.at_end else self.size
        return max(0, self.size - self.taken)

    def look(self, status: os.stat_result | None = None) -> None:
        """Has it grown? A packed one that has was not whole. `status`: of its name, when it is not open."""
        found = os.fstat(self._fd) if self._fd >= 0 else status
        if found is not None and found.st_size != self.size:
            self.size = found.st_size
            if self.packed:
                self.begin_again()

    def begin_again(self) -> None:
        """Know nothing of it."""
        self.close()
        self.head, self.taken, self._before = Head(), 0, b""
        self.at_end = self.broken = self.looked = False

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._lines = None

    def read(self, most: int, most_bytes: int) -> list[AuditLine]:
        """The next lines; [] at its end. Raises OSError, LogUnreadable, WasCut."""
        found: list[AuditLine] = []
        size = 0
        for raw in self._packed_lines() if self.packed else self._plain_lines():
            line = read_audit_line(raw)
            if line is None:
                self.passed += bool(raw)
                continue
            found.append(line)
            size += len(raw)
            if len(found) >= most or size >= most_bytes:
                break
        else:
            self.at_end = self.packed
        if found and not self.head.chain:
            self.head = Head(found[0].chain, found[0].serial, found[0].word("ts"))
        return found

    def last_serial(self) -> int:
        """The number of its last line, -1 without one. Raises OSError, LogUnreadable."""
        if self._last[0] != self.size:
            self._last = self.size, self._find_last()
        return self._last[1]

    # -- packed ------------------------------------------------------------------------------------------

    def _packed_lines(self) -> Iterator[bytes]:
        if self._lines is None:
            if self.at_end:
                return
            self._lines = read_lines(self.path)
        # Not `yield from`: who stops asking ends this generator, and must not end that one.
        for raw in self._lines:  # noqa: UP028
            yield raw
        self._lines = None

    # -- plain -------------------------------------------------------------------------------------------

    def _plain_lines(self) -> Iterator[bytes]:
        """Whole lines from `taken` on; it moves behind each as it is asked for the next or given up."""
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self._notice_a_cut()
        room = BLOCK
        while True:
            block = os.pread(self._fd, room, self.taken)
            end = block.rfind(b"\n")
            if end < 0:
                if len(block) < room:
                    return  # nothing, or a line that is being written
                if room < LINE_MAX:
                    room *= 4
                    continue
                self._pass_over()
                continue
            room = BLOCK
            for raw in block[:end].split(b"\n"):
                self._move(raw)
                yield raw

    def _move(self, raw: bytes) -> None:
        self.taken += len(raw) + 1
        self._before = (self._before + raw + b"\n")[-_MARK:] if len(raw) < _MARK else raw[1 - _MARK :] + b"\n"

    def _notice_a_cut(self) -> None:
        """Or emptied, and grown again."""
        if self.taken:
            start = self.taken - len(self._before)
            if os.pread(self._fd, len(self._before), start) != self._before:
                raise WasCut

    def _pass_over(self) -> None:
        """A line that nobody has the room for: up to its end, or to what there is of it."""
        self.passed += 1
        while block := os.pread(self._fd, BLOCK, self.taken):
            end = block.find(b"\n")
            self.taken += len(block) if end < 0 else end + 1
            if end >= 0:
                break
        start = max(0, self.taken - _MARK)
        self._before = os.pread(self._fd, self.taken - start, start)

    def _find_last(self) -> int:
        if self.packed:
            last = -1
            for raw in read_lines(self.path):
                bound = read_bound(raw)
                last = last if bound is None else bound.serial
            return last
        opened = self._fd if self._fd >= 0 else os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return _last_in(opened, os.fstat(opened).st_size)
        finally:
            if opened != self._fd:
                os.close(opened)


def _last_in(fd: int, size: int) -> int:
    room = _TAIL
    while True:
        start = max(0, size - room)
        *whole, _ = os.pread(fd, size - start, start).split(b"\n")
        for raw in reversed(whole[1:] if start else whole):
            if (bound := read_bound(raw)) is not None:
                return bound.serial
        if not start or room >= LINE_MAX:
            return -1
        room *= 4


def heads_of(files: list[LogFile]) -> None:
    """Look how those begin of which it is not known yet. One that cannot be read begins with no chain; so does one from
    before there was a chain, which is not read again and again."""
    for file in files:
        if not file.head.chain and (file.size <= BLOCK or not file.looked):
            file.looked = True
            with suppress(LogUnreadable):
                file.head = head_of(file.path)

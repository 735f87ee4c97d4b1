"""The end of a growing log, read as it grows (L2), over rotations; and where somebody was in it, for whoever goes on.

A file is known by its first line, whatever it is called by now: each line has the digest of the one before, so no two
files of a log begin alike.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, NamedTuple

from bastion.observe.log_files import BLOCK, MAX_LINE, LogUnreadable, log_files, read_lines


@dataclass(frozen=True, slots=True)
class Position:
    """How far a log was read: the SHA-256 of its file's first line in hex, and how many bytes of whole lines."""

    first: str
    offset: int


class Tail:
    """A log by its name. The first `lines` begin with the file's first one, later ones go on where they ended.

    A rotated file is read once more when the new one has been: one of several processes may write its last line late.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        """`offset`: of the first byte that is read. Raises OSError when there is no such file."""
        self._path = path
        self._file = _Growing(path.open("rb"), offset)
        self._old: _Growing | None = None

    def is_file(self, path: Path) -> bool:
        """Is that the file that is read, under whatever name?"""
        return self._file.is_file(path)

    @property
    def position(self) -> Position | None:
        """Behind the last line of the last `lines`. None where that cannot be said: nothing is there yet, or a rotated
        file is to be read once more."""
        return None if self._old is not None else self._file.position

    def lines(self) -> Iterator[bytes]:
        """What was written since, whole lines."""
        if self._old is not None:
            yield from self._old.lines()
            self._old.close()
            self._old = None
        yield from self._file.lines()
        if not self._file.is_file(self._path):
            try:
                fresh = _Growing(self._path.open("rb"))
            except OSError:
                return  # moved away, and not made yet
            self._old, self._file = self._file, fresh
            yield from self._file.lines()

    def close(self) -> None:
        """No more lines."""
        for one in (self._file, self._old):
            if one is not None:
                one.close()


class _Growing:
    def __init__(self, file: IO[bytes], offset: int = 0) -> None:
        self._file = file
        self._pending = b""
        self._first = ""
        self.close = file.close
        file.seek(offset)

    def is_file(self, path: Path) -> bool:
        try:
            return os.path.samestat(path.stat(), os.fstat(self._file.fileno()))
        except OSError:
            return False

    @property
    def position(self) -> Position | None:
        self._first = self._first or _first_line(self._file)
        if not self._first:
            return None
        return Position(self._first, self._file.tell() - len(self._pending))

    def lines(self) -> Iterator[bytes]:
        if os.fstat(self._file.fileno()).st_size < self._file.tell():  # cut, and begun anew
            self._file.seek(0)
            self._pending, self._first = b"", ""
        while block := self._file.read(BLOCK):
            *lines, self._pending = (self._pending + block).split(b"\n")
            yield from lines
            if len(self._pending) > MAX_LINE:
                self._pending = b""


def _first_line(file: IO[bytes]) -> str:
    """Its digest; "" while it is not whole."""
    data = os.pread(file.fileno(), MAX_LINE, 0)
    line, newline, _ = data.partition(b"\n")
    return sha256(line).hexdigest() if newline else ""


class Behind(NamedTuple):
    """A rotated file to be read before the growing one, from `offset` on: of what it says, unpacked."""

    file: Path
    offset: int

    def lines(self) -> Iterator[bytes]:
        """Raises LogUnreadable, perhaps after some lines."""
        left = self.offset
        for line in read_lines(self.file):
            if left > 0:
                left -= len(line) + 1
            else:
                yield line


class Resumed(NamedTuple):
    """What is there to read from a position on: rotated files, oldest first, then the growing one from its `offset`.
    `known`: the position was found."""

    behind: tuple[Behind, ...]
    offset: int
    known: bool


def resume(path: Path, position: Position | None) -> Resumed:
    """Where to go on in the log at `path`. A position whose file is gone, or was cut, is as none: all is read."""
    files = log_files(path)
    rotated = [file for file in files if file != path]
    if position is not None:
        if path in files and _begins(path, position) and path.stat().st_size >= position.offset:
            return Resumed((), position.offset, True)
        for number, file in enumerate(rotated):
            if _begins(file, position):
                there = Behind(file, position.offset), *(Behind(one, 0) for one in rotated[number + 1 :])
                return Resumed(there, 0, True)
    return Resumed(tuple(Behind(file, 0) for file in rotated), 0, False)


def _begins(file: Path, position: Position) -> bool:
    try:
        return sha256(next(read_lines(file), b"")).hexdigest() == position.first
    except LogUnreadable:
        return False

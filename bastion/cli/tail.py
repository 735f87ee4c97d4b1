"""The end of a growing log, read as it grows (L4), over rotations."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from bastion.cli.explain import MAX_LINE

BLOCK: Final = 256 * 1024


class Tail:
    """A log by its name. The first `lines` begin with the file's first one, later ones go on where they ended.

    A rotated file is read once more when the new one has been: one of several processes may write its last line late.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError when there is none."""
        self._path = path
        self._file = _Growing(path.open("rb"))
        self._old: _Growing | None = None

    def is_file(self, path: Path) -> bool:
        """Is that the file that is read, under whatever name?"""
        return self._file.is_file(path)

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
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._pending = b""
        self.close = file.close

    def is_file(self, path: Path) -> bool:
        try:
            return os.path.samestat(path.stat(), os.fstat(self._file.fileno()))
        except OSError:
            return False

    def lines(self) -> Iterator[bytes]:
        if os.fstat(self._file.fileno()).st_size < self._file.tell():  # cut, and begun anew
            self._file.seek(0)
            self._pending = b""
        while block := self._file.read(BLOCK):
            *lines, self._pending = (self._pending + block).split(b"\n")
            yield from lines
            if len(self._pending) > MAX_LINE:
                self._pending = b""

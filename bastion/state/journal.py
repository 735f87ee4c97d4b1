"""What the store is owed: rows that are not written yet, in memory and in a spool file of this process (L2).

Invariants: a change is in the file before `append` returns, so a process that dies owes nothing that is lost; the
file is emptied only when all of it is in the store; the order is the order in which it happened. The file belongs to
whoever holds its lock: one that nobody holds is left over from a process that died, and is written by another
(`state.adopting`).

One write(2) of a KiB, without an fsync: a power loss may lose the last second of the *index*, which the
recordings' own files then tell (`bastion state rebuild-index`).
"""

from __future__ import annotations

import fcntl
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

SUFFIX: Final = ".owed"

OWED_MAX: Final = 64 << 20
"""Bytes owed beyond which no session begins: 60,000 sessions of an outage. Sessions that run may still end: theirs are
bounded by their number."""


class Journal:
    """The owed rows of one process. Used in the reactor's thread only."""

    def __init__(self, folder: Path, instance: str) -> None:
        self._file = folder / (instance + SUFFIX)
        self._fd = -1
        self._lines: deque[tuple[bytes, float]] = deque()
        self._torn = False
        self.bytes = 0
        self.fault = ""  # why the file cannot be written, for /readyz

    def open(self) -> None:
        """Make the file and lock it. Raises OSError."""
        while True:
            fd = os.open(
                self._file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                if os.path.samestat(os.fstat(fd), os.stat(self._file)):
                    break
            except FileNotFoundError:
                pass  # somebody saw it before it was locked, and took it for left over
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
        self._fd = fd

    @property
    def kept(self) -> bool:
        """There is a file."""
        return self._fd >= 0

    def take_over(self, other: Journal) -> None:
        """Owe what a journal without a file owed. Call it before anything is appended."""
        for line, when in other._lines:
            self.append([line], when)

    def append(self, lines: Sequence[bytes], now: float) -> None:
        """Owe these changes too, kept with one write(2). Never raises: what the disk does not take is owed in memory,
        and `fault` says so."""
        self._lines.extend((line, now) for line in lines)
        data = b"".join(lines)
        self.bytes += len(data)
        if self._fd < 0 or not data:
            return
        try:
            data = b"\n" + data if self._torn else data
            self._torn = os.write(self._fd, data) != len(data)
            self.fault = "it took only part of a line" if self._torn else ""
        except OSError as error:
            self.fault = error.strerror or "it cannot be written"

    def batch(self, most: int) -> list[bytes]:
        """The oldest lines, at most so many. They stay owed until `settled`."""
        return [line for line, _ in (self._lines[place] for place in range(min(most, len(self._lines))))]

    def settled(self, count: int) -> None:
        """The oldest `count` lines are in the store."""
        for _ in range(count):
            line, _ = self._lines.popleft()
            self.bytes -= len(line)
        if not self._lines and self._fd >= 0:
            with suppress(OSError):  # then they are written again one day, which changes nothing
                os.ftruncate(self._fd, 0)
                self._torn = False
                self.fault = ""

    @property
    def full(self) -> bool:
        return self.bytes >= OWED_MAX

    @property
    def oldest(self) -> float | None:
        """When the oldest owed change was made, on the clock of `append`."""
        return self._lines[0][1] if self._lines else None

    def __len__(self) -> int:
        """Changes owed."""
        return len(self._lines)

    def close(self) -> None:
        """Give the file up: removed when nothing is owed, else left to whoever comes next."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if not self._lines:
            with suppress(OSError):
                os.unlink(self._file)
        os.close(fd)


class LeftOver:
    """The file of a process that has died, locked by us."""

    def __init__(self, file: Path, fd: int) -> None:
        self.instance = file.name.removesuffix(SUFFIX)
        self._file, self._fd = file, fd
        self.written_at = os.fstat(fd).st_mtime  # a process that lives writes once a minute

    def lines(self) -> Iterator[bytes]:
        """Its lines, the last one perhaps torn."""
        with os.fdopen(os.dup(self._fd), "rb") as file:
            file.seek(0)
            yield from (line for line in file if line.strip())

    def done(self) -> None:
        """All of it is in the store."""
        with suppress(OSError):
            os.unlink(self._file)
        self.close()

    def close(self) -> None:
        """Leave it as it is."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def left_over(folder: Path) -> tuple[list[LeftOver], list[str]]:
    """(the files that nobody holds, locked now; the instances whose process lives). Raises OSError."""
    found: list[LeftOver] = []
    living: list[str] = []
    for name in sorted(os.listdir(folder)):
        if not name.endswith(SUFFIX):
            continue
        try:
            fd = os.open(folder / name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue  # gone meanwhile, or nothing of ours
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            living.append(name.removesuffix(SUFFIX))
            os.close(fd)
        else:
            found.append(LeftOver(folder / name, fd))
    return found, living


def living(folder: Path) -> list[str]:
    """The instances whose process lives. Raises OSError."""
    found, alive = left_over(folder)
    for one in found:
        one.close()
    return alive


def owed_lines(folder: Path) -> Iterator[bytes]:
    """What all of them owe, whoever holds them; the last line of each may be torn. Raises OSError for the folder."""
    for name in sorted(os.listdir(folder)):
        if name.endswith(SUFFIX):
            with (
                suppress(OSError),
                (folder / name).open("rb") as file,
            ):  # gone meanwhile: all of it is in the store
                yield from file

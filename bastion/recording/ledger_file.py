"""The ledger's file (L2): lines are appended by several processes, one after the other.

Every process of a node appends to the same file, under flock(2), and reads its last line first: the chain needs no
other word between them. Everything here blocks, for a write and an fsync: call it in a thread.

Invariants: a line is whole or is not there (what a power loss has torn is cut off by the next); lines that were
written are never changed. A ledger whose last line is damaged is put aside under a name with its digest, and the next
one begins with that: the chain goes on, and `Appended.broken` says so once.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from bastion.recording.ledger import (
    MAX_LINE,
    Entry,
    Head,
    LedgerBroken,
    LedgerEvent,
    digest_of,
    encode,
    parse,
)

PREFIX: Final = "ledger."
SUFFIX: Final = ".jsonl"
MODE: Final = 0o600
RECENT: Final = 1 << 20
"""Bytes of the end of a ledger that are looked through for what a process has told before it died: 3,000 lines."""
_CHUNK: Final = 1 << 20


def ledger_path(directory: Path, node: str) -> Path:
    """Where a node's ledger is: among the recordings, so that it is kept, copied and restored with them."""
    return directory / f"{PREFIX}{node}{SUFFIX}"


def ledgers_in(directory: Path) -> list[Path]:
    """Those of all nodes, and those that were put aside, oldest first."""
    return sorted(path for path in directory.glob(f"{PREFIX}*{SUFFIX}*") if path.is_file())


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of the lines: the new head, and where a broken ledger was put, "" when none was."""

    head: Head
    broken: str = ""


class LedgerFile:
    """One node's ledger. Any number of these, in any number of processes, may append to one file."""

    def __init__(self, path: Path, node: str) -> None:
        self.path: Final = path
        self._node = node

    def append(self, entries: Sequence[Entry], now: float) -> Appended:
        """Write them behind what is there (their `serial` is given here) and sync. Raises OSError: then none is there.

        `now` (seconds since 1970) is when a new ledger begins.
        """
        with self._locked() as fd:
            try:
                head = self._head(fd)
            except LedgerBroken:
                digest = _digest(fd)
                broken = self._put_aside(digest)
                entries = [self._opening(now, digest), *entries]
                with self._locked() as fresh:  # another process may have been there before
                    return Appended(self._write(fresh, entries, self._head(fresh)), broken)
            if head == Head():
                entries = [self._opening(now, ""), *entries]
            return Appended(self._write(fd, entries, head))

    def head(self) -> Head:
        """The newest line's; the empty one where there is no ledger. Raises OSError and LedgerBroken."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return Head()
        try:
            return _last(fd, _whole_size(fd))
        finally:
            os.close(fd)

    def recent(self) -> list[Entry]:
        """What stands in the last RECENT bytes, oldest first; lines that are none are left out. Raises OSError."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return []
        try:
            start = max(0, os.fstat(fd).st_size - RECENT)
            lines = os.pread(fd, RECENT, start).splitlines(keepends=True)[start > 0 :]
        finally:
            os.close(fd)
        found = []
        for line in lines:
            with suppress(LedgerBroken):
                found.append(parse(line, -1)[0])
        return found

    def _opening(self, now: float, before: str) -> Entry:
        return Entry(0, now, LedgerEvent.OPENED, digest=before, detail=self._node)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file that has the name, locked: another process may have put it aside meanwhile."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        while True:
            fd = os.open(self.path, flags, MODE)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                self._belongs(fd)
                if is_named(fd, self.path):
                    yield fd
                    return
            finally:
                os.close(fd)

    def _belongs(self, fd: int) -> None:
        """What root's command makes belongs to whose recordings they are."""
        if os.geteuid() == 0 and not os.fstat(fd).st_size:
            folder = os.stat(self.path.parent)
            os.fchown(fd, folder.st_uid, folder.st_gid)

    def _head(self, fd: int) -> Head:
        size = _whole_size(fd)
        if size != os.fstat(fd).st_size:  # torn by a power loss: nobody was told of that line
            os.ftruncate(fd, size)
        return _last(fd, size)

    def _write(self, fd: int, entries: Sequence[Entry], head: Head) -> Head:
        size = os.fstat(fd).st_size
        lines = []
        for entry in entries:
            line = encode(replace(entry, serial=head.serial + 1), head.digest)
            head = Head(head.serial + 1, digest_of(line))
            lines.append(line)
        data = b"".join(lines)
        try:
            if os.write(fd, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fdatasync(fd)
            if size == 0:
                sync_directory(self.path.parent)
        except OSError:
            os.ftruncate(fd, size)
            raise
        return head

    def _put_aside(self, digest: str) -> str:
        """Rename the file that is locked. Its digest is in the name, so nothing that was put aside is overwritten."""
        aside = self.path.with_name(f"{self.path.name}.{digest[:16]}.broken")
        os.rename(self.path, aside)
        return os.fspath(aside)


def _digest(fd: int) -> str:
    digest, at = sha256(), 0
    while chunk := os.pread(fd, _CHUNK, at):
        digest.update(chunk)
        at += len(chunk)
    return digest.hexdigest()


def read_lines(path: Path) -> Iterator[bytes]:
    """Every line with its newline; one without, at the end, is given as it is. Raises OSError."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        while line := file.readline(MAX_LINE + 1):
            yield line


def sync_directory(directory: Path) -> None:
    """Make new names survive a power loss. Not every file system can; then the names are its promise."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.fsync(fd)
    except OSError:
        pass
    finally:
        os.close(fd)


def is_named(fd: int, path: Path) -> bool:
    """Does the open file still have that name? Whoever waited for its lock may get it when it was replaced."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    ours = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _whole_size(fd: int) -> int:
    """Up to the last newline: no line is longer than MAX_LINE, so no more than that is torn."""
    size = os.fstat(fd).st_size
    start = max(0, size - MAX_LINE)
    tail = os.pread(fd, size - start, start)
    last = tail.rfind(b"\n")
    if last >= 0:
        return start + last + 1
    return 0 if start == 0 else size  # MAX_LINE bytes without a newline are no torn line, but damage


def _last(fd: int, size: int) -> Head:
    """The head that the last line makes. Its own number is believed: whether all before fit is `follow`'s to say."""
    if size == 0:
        return Head()
    start = max(0, size - 2 * MAX_LINE)
    line = os.pread(fd, size - start, start).removesuffix(b"\n").rpartition(b"\n")[2] + b"\n"
    entry, _ = parse(line, -1)
    return Head(entry.serial, digest_of(line))

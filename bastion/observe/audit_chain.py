"""What binds the lines of the audit log to each other (L2): a number, and the digest of the line before.

Each line ends with `chain` (16 hex digits, a name for the lines of one file), `seq` (0, 1, ...) and `prev` (SHA-256 of
the line before without its newline, 64 zeros in the first). Every process appends under a lock of the file and looks
at its last line first, when somebody else has written meanwhile: one chain for all, commands included, that needs no
other word between them and goes on after a kill at any point.

The lock is one of an open file (F_OFD_SETLK): only who may write the file can hold it, a reader cannot, and the kernel
takes it from a dead process. Whoever does not get it in PATIENCE seconds loses its line, which is counted.

Invariants: a line is whole or is not there (what a full disk took of one is cut off again, where the file allows it);
who finds that the file has lost lines which he wrote goes on behind his own, so that the gap stays to be seen.
A pipe has no chain.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

NO_DIGEST: Final = "0" * 64
NAMES: Final = frozenset(("chain", "seq", "prev"))
"""Of the fields: no event may have one that is called so."""

PATIENCE: Final = 2.0
"""Seconds that a line waits for the lock. It is held for microseconds; only a process that was stopped inside keeps it
longer."""

PATIENCE_AGAIN: Final = 0.01
"""... after one that did not get it, until one does: nothing else is done while a line waits."""

MAX_LINE: Final = 1 << 20
"""Bytes of the end of a file that are looked through for its last line."""

_PAUSE: Final = 0.0005
_TAIL: Final = 8192
_END: Final = re.compile(rb',"chain":"([0-9a-f]{16})","seq":(\d{1,18}),"prev":"([0-9a-f]{64})"\}\Z')
# struct flock: type, whence, start, length, pid (0, as locks of open files want it)
_TAKE: Final = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
_GIVE: Final = struct.pack("hhqqi4x", fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Link:
    """One line: which chain, which number there, and the SHA-256 of its bytes in hex."""

    chain: str
    serial: int
    digest: str


@dataclass(frozen=True, slots=True)
class Bound:
    """What a line says of itself."""

    chain: str
    serial: int
    previous: str


def bind(line: bytes, before: Link) -> tuple[bytes, Link]:
    """`line`, a JSON object and a newline, as the one behind `before`; and what the next one is bound to."""
    bound = b'%b,"chain":"%b","seq":%d,"prev":"%b"}' % (
        line[:-2],
        before.chain.encode(),
        before.serial + 1,
        before.digest.encode(),
    )
    return bound + b"\n", Link(before.chain, before.serial + 1, digest_of(bound))


def read_bound(line: bytes) -> Bound | None:
    """Of a line without its newline; None when it is not of a chain."""
    found = _END.search(line)
    if found is None or not line.startswith(b"{"):
        return None
    return Bound(found[1].decode(), int(found[2]), found[3].decode())


def digest_of(line: bytes) -> str:
    """Of a line without its newline."""
    return sha256(line).hexdigest()


class Chain:
    """The chain of one open file, as one process goes on with it."""

    def __init__(self) -> None:
        self.head: Link | None = None
        """The last line that this process wrote, or saw in front of one of its own."""
        self._size = -1  # of the file behind that line; another: somebody else has written, or cut
        self._torn = False  # the file ends in part of a line: the next write begins with a newline
        self._patience = PATIENCE
        self._regular: bool | None = None  # a file, and no pipe or device; not known before the first look

    def last(self, fd: int) -> Link | None:
        """The file's last line as it is now, None without one. Raises OSError."""
        if not self._is_file(fd):
            return None
        self._lock(fd)
        try:
            self._look(fd)
            return self.head
        finally:
            _unlock(fd)

    def append(self, fd: int, line: bytes) -> bool:
        """Write it behind what is there. False when only part could be written. Raises OSError."""
        if not self._is_file(fd):
            return self._write(fd, line)
        self._lock(fd)
        try:
            self._look(fd)
            before = self.head or Link(os.urandom(8).hex(), -1, NO_DIGEST)
            bound, head = bind(line, before)
            if not self._write(fd, bound):
                with suppress(OSError):  # a file that can only grow keeps what it took
                    os.ftruncate(fd, self._size)
                    self._torn = False
                self._size = -1
                return False
            self.head = head
            return True
        finally:
            _unlock(fd)

    def _is_file(self, fd: int) -> bool:
        """Raises OSError."""
        if self._regular is None:
            self._regular = stat.S_ISREG(os.fstat(fd).st_mode)
        return self._regular

    def _lock(self, fd: int) -> None:
        """Raises OSError."""
        patience, self._patience = self._patience, PATIENCE_AGAIN
        _lock(fd, patience)
        self._patience = PATIENCE

    def _write(self, fd: int, line: bytes) -> bool:
        data = b"\n" + line if self._torn else line
        written = os.write(fd, data)
        whole = written == len(data)
        if written:
            self._torn = not whole
        if whole:
            self._size += len(data)
        return whole

    def _look(self, fd: int) -> None:
        """At the file's end, when it is not where this process left it."""
        size = os.fstat(fd).st_size
        if size == self._size:
            return
        found, self._torn = _last(fd, size)
        own, self._size = self.head, size
        if found is not None and (own is None or found.chain != own.chain or found.serial >= own.serial):
            self.head = found


def _last(fd: int, size: int) -> tuple[Link | None, bool]:
    """The last whole line of a chain, and whether something torn stands behind the last newline."""
    room = _TAIL
    while True:
        start = max(0, size - room)
        *whole, rest = os.pread(fd, size - start, start).split(b"\n")
        for line in reversed(whole[1:] if start else whole):
            bound = read_bound(line)
            if bound is not None:
                return Link(bound.chain, bound.serial, digest_of(line)), bool(rest)
        if not start or room >= MAX_LINE:
            return None, bool(rest)
        room *= 4


def _lock(fd: int, patience: float = PATIENCE) -> None:
    """Raises OSError, EDEADLK when it is not to be had in that many seconds."""
    until = 0.0
    while True:
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _TAKE)
            return
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
        now = time.monotonic()
        until = until or now + patience
        if now >= until:
            raise OSError(errno.EDEADLK, "another process holds its lock and does not write")
        time.sleep(_PAUSE)  # noqa: TID251 - a lock of a file has no event, and is held for microseconds


def _unlock(fd: int) -> None:
    with suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _GIVE)

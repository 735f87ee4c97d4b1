"""What of the folder of recordings waits for the bucket, and the hold on a file while it is uploaded (L2). Blocks.

Invariants: a file is taken only while nobody writes it (its lock), and is held, shared, until it is uploaded or given
up: who would delete it or write its end finds it taken. The local copy goes only here, only by the very file that was
uploaded, and after the index says where the other one is.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bastion.recording.listing import Recordings
from bastion.state.database import Database
from bastion.state.stored import Stored, ended, mark_stored

LOCK_NAME: Final = "uploads.lock"
"""The file in the folder of state whose lock whoever uploads from here holds."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A recording that is to go: its `path` in the folder, and when its session ended."""

    session: str
    path: str
    size: int
    ended_at: float


@dataclass(frozen=True, slots=True)
class Held:
    """One that is being uploaded; `fd` has its lock."""

    waiting: Waiting
    fd: int

    def release(self) -> None:
        os.close(self.fd)


class Spool:
    """The folder, and the index over it. Used in one thread."""

    def __init__(self, recordings: Recordings, database: Database) -> None:
        self._recordings, self._database = recordings, database

    def waiting(self) -> list[Waiting]:
        """All that waits, the oldest first. Raises StateDown and OSError."""
        files = dict(self._recordings.names())
        found = ended(self._database, list(files))
        waiting = []
        for session, one in found.items():
            size = self._size(files[session])
            if size is not None:
                waiting.append(Waiting(session, files[session], size, one.ended_at))
        waiting.sort(key=lambda one: (one.ended_at, one.session))
        return waiting

    def _size(self, path: str) -> int | None:
        try:
            status = os.lstat(self._place(path))
        except OSError:
            return None  # gone meanwhile
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def _place(self, path: str) -> Path:
        return self._recordings.directory / path

    def take(self, one: Waiting) -> Held | None:
        """Open and hold it; None when it is gone, somebody has it, or it waits no more. Raises StateDown, OSError."""
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(self._place(one.path), flags)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if stat.S_ISREG(os.fstat(fd).st_mode) and ended(self._database, [one.session]):
                return Held(one, fd)
        except BlockingIOError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    def stored(self, held: Held, stored: Stored, now: float) -> bool:
        """It is in the bucket, and proved: say so in the index, then let the local copy go. Raises StateDown, OSError.

        False, and the copy stays, when the row says deleted.
        """
        path = self._place(held.waiting.path)
        if os.fstat(held.fd).st_size != stored.size or not mark_stored(self._database, stored, now):
            return False
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(held.fd), os.lstat(path)):
                os.unlink(path)
        return True

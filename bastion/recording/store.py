"""The folder of recordings (L2): one folder per UTC day, one file per session, named by the session id alone.

Invariant: no text of a peer ever becomes a path. Folders are 0700, files 0600. A session is listed from its
first block on, whatever became of its gateway; one unreadable file is listed as such and hides no other.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from base64 import b32encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from bastion.clock import Clock, SystemClock
from bastion.errors import RecorderFailed, RecorderReason
from bastion.recording.bulk import RecordingPolicy
from bastion.recording.format import FormatError, Header, is_session_id
from bastion.recording.reader import Reader
from bastion.recording.recorder import Recorder
from bastion.recording.writer import SYNC_SECONDS, Space, Syncer, Writer

SUFFIX = ".rec"

# New sessions are refused below this many free bytes, running ones end below half of it.
DEFAULT_DISK_FLOOR = 1 << 30

# A pass of fsyncs that takes longer means that the disk hangs, and the promise for a power loss with it.
SYNC_BEHIND_SECONDS = 30.0

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_PREFIX = re.compile(r"[a-z2-7]{1,16}")


def new_session_id() -> str:
    """16 lower-case base32 characters from 80 random bits."""
    return b32encode(secrets.token_bytes(10)).decode("ascii").lower()


@dataclass(frozen=True, slots=True)
class SessionEntry:
    """One line of the listing, from the head and the tail of a file. Times in seconds.

    `state`: live (a gateway is writing it), ended, truncated (its gateway died), damaged (see `problem`).
    `bytes` is channel bytes both ways, `size` the file's. `reason` is why it ended, "" when it did not. `opaque`
    counts channels that nobody can replay, once it has ended.
    """

    header: Header
    state: str
    duration: float
    bytes: int
    size: int
    reason: str
    problem: str
    path: Path
    opaque: int = 0


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """For the meters: plain numbers, read without touching the disk."""

    free_bytes: int
    open_files: int
    sync_behind: float
    failures: Mapping[RecorderReason, int]


class Store:
    """All recordings under one directory. Reading needs nothing but the directory."""

    def __init__(
        self,
        directory: Path | str,
        *,
        disk_floor_bytes: int = DEFAULT_DISK_FLOOR,
        clock: Clock | None = None,
        sync_seconds: float = SYNC_SECONDS,
        on_sync_failed: Callable[[Writer], None] | None = None,
    ) -> None:
        """`on_sync_failed` is called in the syncing thread with a writer that the disk has refused."""
        self.directory: Final = Path(directory)
        self._clock: Clock = clock or SystemClock()
        self._space = Space(self.directory, disk_floor_bytes)
        self._syncer = Syncer(self._clock, self._space, sync_seconds, on_sync_failed)

    # -- writing

    def admit(self) -> None:
        """May a session start? Asks the disk. Raises RecorderFailed when it may not."""
        try:
            _make_folder(self.directory)
            free = self._space.look()
        except OSError as error:
            raise self._refuse(
                RecorderReason.OPEN_FAILED, f"no recordings folder: {error.strerror}"
            ) from error
        if free < self._space.floor:
            raise self._refuse(RecorderReason.DISK_FLOOR, "the recordings' disk is nearly full")
        if self._syncer.behind > SYNC_BEHIND_SECONDS:
            raise self._refuse(RecorderReason.SYNC_FAILED, "the recordings' disk does not answer")

    def create(self, header: Header) -> Writer:
        """The empty, locked file of a session. Raises RecorderFailed."""
        if not is_session_id(header.session_id):
            raise ValueError("not a session id")
        folder = self.directory / _day(header.started_at)
        try:
            _make_folder(folder)
        except OSError as error:
            raise self._refuse(
                RecorderReason.OPEN_FAILED, f"no recordings folder: {error.strerror}"
            ) from error
        return Writer(folder / (header.session_id + SUFFIX), self._space, self._syncer)

    def start(self, header: Header, policy: RecordingPolicy | None = None) -> tuple[Recorder, Writer]:
        """Admit a session, create its file and write its header, so that it is listed from here on.

        Raises RecorderFailed, and then there is no file.
        """
        self.admit()
        recorder = Recorder(header, self._clock, policy)
        writer = self.create(header)
        try:
            writer.write(recorder.take())
        except RecorderFailed:
            writer.close()
            with suppress(OSError):  # an empty file stays, and is listed as such
                writer.path.unlink()
            raise
        return recorder, writer

    def health(self) -> StoreHealth:
        """Plain numbers for the meters."""
        syncer = self._syncer
        return StoreHealth(self._space.free, syncer.open_files, syncer.behind, dict(syncer.failures))

    def close(self, timeout: float = 10.0) -> bool:
        """Sync and close every file; True when done within `timeout` seconds. Blocks: call it last."""
        return self._syncer.stop(timeout)

    def _refuse(self, reason: RecorderReason, text: str) -> RecorderFailed:
        self._syncer.count(reason)
        return RecorderFailed(reason, text)

    # -- reading

    def sessions(self, since: float | None = None) -> Iterator[SessionEntry]:
        """Every session that started at or after `since`, newest first. Raises OSError for unreadable folders."""
        for folder in self._days(since):
            entries = [self._entry(path) for path in _recordings(folder)]
            entries.sort(key=lambda entry: entry.header.started_at, reverse=True)
            for entry in entries:
                if since is None or entry.header.started_at >= since or entry.header.started_at == 0:
                    yield entry

    def find(self, prefix: str) -> list[SessionEntry]:
        """All sessions whose id begins with `prefix`, so that an ambiguous one can be refused."""
        if _PREFIX.fullmatch(prefix) is None:
            return []
        found = [p for folder in self._days(None) for p in _recordings(folder) if p.name.startswith(prefix)]
        return [self._entry(path) for path in found]

    @contextmanager
    def open(self, session: SessionEntry | str) -> Iterator[Reader]:
        """The recording of a listing's entry or of a whole session id. Raises FormatError or OSError."""
        path = session.path if isinstance(session, SessionEntry) else self._path(session)
        with _open_file(path) as source:
            yield Reader(source, path.stem)

    def _path(self, session_id: str) -> Path:
        if is_session_id(session_id):
            for folder in self._days(None):
                if (path := folder / (session_id + SUFFIX)).exists():
                    return path
        raise FileNotFoundError(errno.ENOENT, "no such session")

    def _days(self, since: float | None) -> list[Path]:
        first = "" if since is None else _day(since)
        try:
            names = [name for name in os.listdir(self.directory) if _DAY.fullmatch(name) and name >= first]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [self.directory / name for name in sorted(names, reverse=True)]

    def _entry(self, path: Path) -> SessionEntry:
        unknown = Header.unknown(path.stem)
        try:
            with _open_file(path) as source:
                size = os.fstat(source.fileno()).st_size
                live = size > 0 and _is_locked(source)
                if size == 0:
                    return SessionEntry(unknown, "truncated", 0, 0, 0, "", "the file is empty", path)
                reader = Reader(source, path.stem)
                tail = reader.tail()
        except FormatError as error:
            return SessionEntry(unknown, "damaged", 0, 0, size, "", error.text, path)
        except OSError as error:
            return SessionEntry(unknown, "damaged", 0, 0, 0, "", str(error.strerror), path)
        header, totals = reader.header, tail.totals
        problem = reader.damage[0].text if reader.damage else ""
        if totals is not None:
            state, duration, reason = "ended", totals.duration_us / 1e6, totals.reason
        elif live:
            state, duration, reason = "live", max(0.0, self._clock.time() - header.started_at), ""
        else:
            state, duration, reason = "truncated", tail.time_us / 1e6, ""
        return SessionEntry(
            header,
            "damaged" if problem else state,
            duration,
            tail.seen,
            size,
            reason,
            problem,
            path,
            0 if totals is None else totals.opaque,
        )


def _day(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d")


def _make_folder(folder: Path) -> None:
    if not os.path.isdir(folder):  # a stat is a tenth of a mkdir that finds it there
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _recordings(folder: Path) -> list[Path]:
    """Files of this store in a folder; anything else in it is somebody else's. Raises OSError."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:  # removed since the listing of days
        return []
    return [folder / n for n in names if n.endswith(SUFFIX) and is_session_id(n.removesuffix(SUFFIX))]


def _open_file(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=1 << 16)


def _is_locked(source: BinaryIO) -> bool:
    """True while a writer holds the file. The lock tried for here is shared and dropped at once."""
    try:
        fcntl.flock(source.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(source.fileno(), fcntl.LOCK_UN)
    return False

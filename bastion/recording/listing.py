"""The folder of recordings, read (L2): who was where, from the heads and tails of the files.

Invariant: no text of a peer ever becomes a path, and whatever lies in the folder under the name of a recording (a
pipe, a device, garbage, a header made to mislead) is listed as damaged and hides no other. A session is listed
from its first block on, whatever became of its gateway. Nothing of what writes recordings is imported here, so
that the commands on them begin at once.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from bastion.clock import Clock, SystemClock
from bastion.recording.channels import ChannelSummary, Survey
from bastion.recording.format import SESSION_ID_LENGTH, FormatError, Header, Totals, is_session_id
from bastion.recording.ran import Asked, kinds_of
from bastion.recording.reader import Reader
from bastion.recording.unwrapping import Closed, Unwrap

SUFFIX = ".rec"

# Behind that: the new file while `rewrap` makes it, and what a run that was cut off has left of it.
LEFTOVER = ".rewrap"

SCHEME: Final = "s3://"
"""What the path of a recording begins with that is not in the folder but in a bucket."""

# How far into a file a listing looks for what was run: some thousand commands, a millisecond or ten.
LISTING_BYTES = 256 << 10

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_NAME = re.compile(rf"[a-z2-7]{{{SESSION_ID_LENGTH}}}{re.escape(SUFFIX)}").fullmatch
_PREFIX = re.compile(r"[a-z2-7]{1,16}")

Unreadable = Callable[[Path, str], None]
"""Told of a folder that cannot be listed: where, and why."""


@dataclass(frozen=True, slots=True)
class SessionEntry:
    """One line of the listing, from the head and the tail of a file. Times in seconds.

    `state`: live (a gateway is writing it), ended, truncated (its gateway died), damaged (see `problem`).
    `bytes` is channel bytes both ways, `size` the file's. `reason` is why it ended, "" when it did not. `opaque`
    counts channels that nobody can replay, once it has ended, and `totals` are those of the file's end. `url` is the
    object that the file is a copy of, "" for none.
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
    totals: Totals | None = None
    url: str = ""


@dataclass(frozen=True, slots=True)
class Ran:
    """What was run in a session, as far as a listing looks. `more` channels are not in it; None: nobody knows."""

    channels: tuple[ChannelSummary, ...]
    more: int | None

    @property
    def kinds(self) -> tuple[Asked, ...]:
        """The same as an index keeps it."""
        return kinds_of(self.channels)


class Recordings:
    """All recordings under one directory, for reading. Needs nothing but the directory."""

    def __init__(
        self, directory: Path | str, clock: Clock | None = None, unwrap: Unwrap | None = None
    ) -> None:
        """`unwrap` opens the keys of encrypted recordings; without it, what is in them stays closed."""
        self.directory: Final = Path(directory)
        self.unwrap = unwrap
        self._clock: Clock = clock or SystemClock()

    def sessions(
        self, since: float | None = None, unreadable: Unreadable | None = None
    ) -> Iterator[SessionEntry]:
        """Every session that ran at or after `since`, newest first, a day at a
        time. A folder that cannot be listed is passed over and told to `unreadable`; without one OSError is raised.
        """
        first = "" if since is None else day_of(since)
        for folder in self._days(None, unreadable):
            try:
                paths = _recordings(folder)
                if since is not None and folder.name < first:  # one that began before may have ended later
                    paths = [path for path in paths if written_at(path) >= since]
            except OSError as error:
                if unreadable is None:
                    raise
                unreadable(folder, str(error.strerror))
                continue
            entries = [entry for path in paths if (entry := self.entry(path)) is not None]
            entries.sort(key=lambda entry: entry.header.started_at, reverse=True)
            for entry in entries:
                began = entry.header.started_at
                if since is None or began + entry.duration >= since or began == 0:
                    yield entry

    def names(
        self, since: float | None = None, unreadable: Unreadable | None = None
    ) -> Iterator[tuple[str, str]]:
        """(session id, path in this folder) of every file, none of them opened; days before `since` left out."""
        for folder in self._days(since, unreadable):
            try:
                yield from _named(folder)
            except OSError as error:
                if unreadable is None:
                    raise
                unreadable(folder, str(error.strerror))

    def find(self, prefix: str, unreadable: Unreadable | None = None) -> list[SessionEntry]:
        """All sessions whose id begins with `prefix`, so that an ambiguous one can be refused.

        Only files of that name are opened. A whole id ends the search where it is found.
        """
        if _PREFIX.fullmatch(prefix) is None:
            return []
        found: list[SessionEntry] = []
        for folder in self._days(None, unreadable):
            try:
                paths = [path for path in _recordings(folder) if path.name.startswith(prefix)]
            except OSError as error:
                if unreadable is None:
                    raise
                unreadable(folder, str(error.strerror))
                continue
            found += [entry for path in paths if (entry := self.entry(path)) is not None]
            if found and len(prefix) == SESSION_ID_LENGTH:
                break
        return found

    @contextmanager
    def open(self, session: SessionEntry | str, kind: Callable[..., Reader] = Reader) -> Iterator[Reader]:
        """The recording of a listing's entry or of a whole session id; `kind` is what reads it. Raises OSError, and
        FormatError also for an encrypted one that cannot be opened.
        """
        path = session.path if isinstance(session, SessionEntry) else self.path_of(session)
        with _open_file(path) as source:
            reader = kind(source, path.stem, lambda: _is_locked(source), self.unwrap)
            if reader.sealed:
                raise Closed(reader.sealed)
            yield reader

    def ran(self, path: Path, whole: bool = False) -> Ran:
        """The channels of a recording, from the beginning of its file: all of them, or the first and how many more.
        With `whole` the file is read to its end, for how all of them ended.

        Nothing when the file cannot be read; its entry says why.
        """
        try:
            with _open_file(path) as source:
                return self.ran_of(source, path.stem, whole)
        except OSError:
            return Ran((), None)

    def ran_of(self, source: BinaryIO, session: str, whole: bool = False) -> Ran:
        """The same of a recording that is open."""
        found, told, totals = Survey(), False, None
        try:
            reader = Reader(source, session, unwrap=self.unwrap)
            totals = reader.tail().totals
            if reader.sealed:
                return Ran((), None if totals is None else totals.channels)
            for event in reader:
                found.add(event)
                if whole:
                    continue
                if totals is not None and _all_told(found, totals.channels):
                    break
                if reader.position > LISTING_BYTES:
                    break
            else:
                told = True
        except (FormatError, OSError):
            pass
        channels = tuple(found.channels.values())
        if told:
            return Ran(channels, found.more)
        if totals is None:
            return Ran(channels, None)
        return Ran(channels, max(0, totals.channels - sum(one.state != "failed" for one in channels)))

    def path_of(self, session_id: str) -> Path:
        """Where the file of a session is, by its whole id. Raises FileNotFoundError, for what is no id too."""
        if is_session_id(session_id):
            for folder in self._days(None):
                if (path := folder / (session_id + SUFFIX)).exists():
                    return path
        raise FileNotFoundError(errno.ENOENT, "no such session")

    def _days(self, since: float | None, unreadable: Unreadable | None = None) -> list[Path]:
        first = "" if since is None else day_of(since)
        try:
            names = [name for name in os.listdir(self.directory) if _DAY.fullmatch(name) and name >= first]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            if unreadable is None:
                raise
            unreadable(self.directory, str(error.strerror))
            return []
        return [self.directory / name for name in sorted(names, reverse=True)]

    def entry(self, path: Path) -> SessionEntry | None:
        """What the listing says of one file; None when it has gone since its folder was read."""
        try:
            with _open_file(path) as source:
                return self.entry_of(source, path, lambda: _is_locked(source))
        except FileNotFoundError:
            return None
        except OSError as error:
            return _damaged(path, 0, str(error.strerror))

    def entry_of(
        self, source: BinaryIO, path: Path, is_locked: Callable[[], bool] = lambda: False
    ) -> SessionEntry:
        """The same of a recording that is open: its head and its tail are read. Raises OSError."""
        size = source.seek(0, os.SEEK_END)
        live = size > 0 and is_locked()
        if size == 0:
            unknown = Header.unknown(path.stem)
            return SessionEntry(unknown, "truncated", 0, 0, 0, "", "the file is empty", path)
        try:
            reader = Reader(source, path.stem)
            tail = reader.tail()
        except FormatError as error:
            return _damaged(path, size, error.text)
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
            totals,
        )


def _damaged(path: Path, size: int, problem: str) -> SessionEntry:
    return SessionEntry(Header.unknown(path.stem), "damaged", 0, 0, size, "", problem, path)


def _all_told(found: Survey, channels: int) -> bool:
    """Every channel of the session has come, and nothing more is to be learnt of it than bytes."""
    known = [one for one in found.channels.values() if one.state != "failed"]
    return len(known) >= channels and all(one.state == "closed" or one.program == "shell" for one in known)


def day_of(timestamp: float) -> str:
    """The name of the folder of a session that started then (seconds since the epoch)."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d")


def _named(folder: Path) -> Iterator[tuple[str, str]]:
    """(session id, FOLDER/FILE) of each recording in a folder. Raises OSError."""
    day = folder.name
    for name in os.listdir(folder):
        if _NAME(name):
            yield name[:SESSION_ID_LENGTH], f"{day}/{name}"


def _recordings(folder: Path) -> list[Path]:
    """Files of this store in a folder; anything else in it is somebody else's. Raises OSError."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:  # removed since the listing of days
        return []
    return [folder / n for n in names if n.endswith(SUFFIX) and is_session_id(n.removesuffix(SUFFIX))]


def written_at(path: Path) -> float:
    """When a file was written last; 0 for one that has gone."""
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


def _open_file(path: Path) -> BinaryIO:
    """A regular file under this very name. Raises OSError for anything else, before it is waited for.

    A pipe without a writer is never opened to its end (O_NONBLOCK), a device not at all (lstat).
    """
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise OSError(errno.EINVAL, "is no regular file")
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "is no regular file")
    return os.fdopen(fd, "rb", buffering=1 << 16)


@contextmanager
def open_recording(path: Path) -> Iterator[tuple[BinaryIO, bool]]:
    """A recording's file, and whether somebody writes it. Raises OSError."""
    with _open_file(path) as source:
        yield source, _is_locked(source)


def _is_locked(source: BinaryIO) -> bool:
    """True while a writer holds the file. The lock tried for here is shared and dropped at once."""
    try:
        fcntl.flock(source.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(source.fileno(), fcntl.LOCK_UN)
    return False

"""Puts blocks on the disk (L2): one writev(2) per burst in the calling thread, fsync from one shared thread.

Invariant: the file holds whole blocks only, and `write` returns only when the kernel has taken all of them.
Anything else cuts the file back to its last whole block, breaks the writer for good and raises
RecorderFailed: the caller then forwards nothing of that burst. Process death therefore loses nothing that was
forwarded, and power loss at most SYNC_SECONDS.

The writer holds an exclusive flock(2) from before the first byte until the file is synced and closed: that is
how a reader tells a running session from one whose gateway died.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn

from bastion.clock import Clock
from bastion.errors import RecorderFailed, RecorderReason
from bastion.modes import CLOSED
from bastion.recording.booking import Books, Links
from bastion.recording.bulk import Bytes
from bastion.recording.ledger_file import sync_directory

# What a power loss may take, unless configured otherwise. Also how often free space is looked at when nobody
# writes much.
SYNC_SECONDS = 1.0

# The longest time between two passes over the files, however rarely the disk is to be asked to sync: a file whose
# session has ended is closed by the next one. At 100 sessions a second that is 100 open files more.
CLOSE_SECONDS = 1.0

# A write that takes as long as this stops every session of the process: each keystroke waits for the write that runs
# and for its own. New sessions, which would write too, are then refused for a while (`SLOW_FOR`).
SLOW_WRITE = 1.0

# Seconds without a slow write after which sessions begin again.
SLOW_FOR = 10.0

# Free space is asked for again after this many bytes by one writer: a statvfs (1 us) per 4 MiB is not seen.
SPACE_CHECK_BYTES = 4 << 20

# writev's limit on Linux (IOV_MAX).
MOST_BUFFERS = 1024

# The file that is written, synced and removed to see whether a disk that refused works again. No recording has that
# name.
PROBE_NAME = ".probe"
PROBE_SIZE = 4096

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

# What a disk says that will say it to the next session too: then nobody is admitted until a probe has worked.
_ILL = _FULL | {errno.EIO, errno.EROFS, errno.ESTALE, errno.EUCLEAN, errno.ENODEV, errno.ENXIO}


class Space:
    """Free space under the recordings, with two marks.

    Below `floor` bytes no session may start; below half of it running ones end, so that they end with an end
    block and a message while there is still room for both.
    """

    def __init__(self, directory: Path, floor: int) -> None:
        self.directory: Final = directory
        self.set_floor(floor)
        self.free = floor
        self.no_inodes = False  # however much is free, no file can be made

    def set_floor(self, floor: int) -> None:
        """Both marks, from the next look on."""
        self.floor = floor
        self.low = floor // 2

    def look(self) -> int:
        """Ask the file system; returns bytes free to us. Raises OSError."""
        answer = os.statvfs(self.directory)
        self.free = answer.f_bavail * answer.f_frsize
        self.no_inodes = answer.f_files > 0 and answer.f_favail == 0  # no files at all: they are not counted
        return self.free


class Writer:
    """The open file of one session. `written` is its size; `failure` is set when it is broken."""

    __slots__ = (
        "_closing",
        "_fd",
        "_leftover",
        "_now",
        "_path",
        "_space",
        "_syncer",
        "_until_look",
        "closed",
        "dirty",
        "failure",
        "links",
        "written",
    )

    def __init__(self, path: Path, space: Space, syncer: Syncer, mode: int = CLOSED.file) -> None:
        """Create the file, which must not exist, with this mode, and lock it. Raises RecorderFailed."""
        self._path = os.fspath(path)
        self.written = 0
        self.dirty = False
        self.failure: RecorderFailed | None = None
        self.closed = False  # True when the file is synced and its lock is gone
        self._closing = False
        self.links = Links(b"")
        self._space = space
        self._syncer = syncer
        self._now = syncer.now
        self._until_look = SPACE_CHECK_BYTES
        self._leftover = False  # a failed write could not be cut back
        try:
            self._fd = _create_locked(path, mode)
        except OSError as error:
            reason = _reason(error, RecorderReason.OPEN_FAILED)
            failed = RecorderFailed(reason, f"cannot create the recording: {error.strerror}")
            syncer.count(reason)
            self._distrust(error, failed)
            raise failed from error
        syncer.add(self)

    @property
    def path(self) -> Path:
        return Path(self._path)

    def write(self, buffers: Sequence[Bytes] | None) -> int:
        """Append what `Recorder.take` gave, all or nothing; None does nothing. Returns the bytes written.

        Only after it has returned may the burst be forwarded. Raises RecorderFailed, and from then on always.
        """
        if self.failure is not None:
            raise self.failure
        if buffers is None:
            return 0
        if self._closing:
            self._fail(RecorderReason.WRITE_FAILED, "the recording is closed")
        if self._space.free < self._space.low:
            self._fail(RecorderReason.DISK_FLOOR, "the recordings' disk is nearly full")
        return self._append(buffers)

    def _append(self, buffers: Sequence[Bytes]) -> int:
        if self._leftover:
            self._cut_back()
        size = sum(map(len, buffers))
        if len(buffers) > MOST_BUFFERS:
            buffers = [b"".join(buffers)]
        began = self._now()
        try:
            done = os.writev(self._fd, buffers)
        except OSError as error:
            self._cut_back()
            reason = _reason(error, RecorderReason.WRITE_FAILED)
            failed = self._broken(reason, f"cannot write the recording: {error.strerror}")
            self._distrust(error, failed)
            raise failed from error
        if done != size:
            full = 0 <= self._look() < size  # before the cut, which makes room again
            self._cut_back()
            self._fail(
                RecorderReason.DISK_FULL if full else RecorderReason.SHORT_WRITE,
                "the recordings' disk is full" if full else "the recording was written only in part",
            )
        took = self._now() - began
        if took >= SLOW_WRITE:
            self._syncer.was_slow(took)
        self.written += size
        self.dirty = True
        self._until_look -= size
        if self._until_look <= 0:
            self._look()
        return size

    @property
    def ended(self) -> bool:
        """Its end block is in the file."""
        return bool(self.links.ended)

    def begun(self, link: bytes) -> None:
        """The header is written; `link` is the chain behind it."""
        self.links = Links(link)

    def close(self, last: Sequence[Bytes] | None = None, link: bytes = b"") -> None:
        """Write the end block and hand the file to the syncer, which syncs, closes and unlocks it; `link` is the chain
        behind that block, for the ledger.

        Returns at once; `closed` is set when it is on the disk. Never raises and may be called twice. On a
        broken writer the end block is tried all the same (there may be room for it); a file without one is
        listed as truncated.
        """
        if self._closing:
            return
        self._closing = True
        if last:
            try:
                self._append(last)
                self.links = replace(self.links, ended=link)
            except RecorderFailed:
                pass  # kept in `failure` and counted; the file still ends with a whole block
        self._syncer.retire(self)

    def sync(self) -> None:
        """fdatasync what was written; called by the syncer's thread. Sets `failure` when the disk refuses."""
        if not self.dirty:
            return
        self.dirty = False  # before the call: what is written during it is dirty again
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            self._broken(RecorderReason.SYNC_FAILED, f"cannot sync the recording: {error.strerror}")

    def release(self) -> None:
        """Close the file, which drops its lock; called by the syncer after the last sync."""
        try:
            os.close(self._fd)
        except OSError as error:
            self._broken(RecorderReason.SYNC_FAILED, f"cannot close the recording: {error.strerror}")
        self.closed = True

    def _cut_back(self) -> None:
        """Drop what a failed write left behind its last whole block. A reader copes when even this fails."""
        try:
            os.ftruncate(self._fd, self.written)
            self._leftover = False
        except OSError:
            self._leftover = True

    def _look(self) -> int:
        self._until_look = SPACE_CHECK_BYTES
        try:
            return self._space.look()
        except OSError:
            return -1

    def _distrust(self, error: OSError, failed: RecorderFailed) -> None:
        """Somebody else would hear the same of this disk. One that is full says so itself, as free space."""
        if error.errno in _ILL and (error.errno != errno.ENOSPC or self._look() >= self._space.floor):
            self._syncer.refused = failed
            self._syncer.begin()

    def _broken(self, reason: RecorderReason, text: str) -> RecorderFailed:
        if self.failure is None:
            self.failure = RecorderFailed(reason, text)
        self._syncer.count(reason)
        return self.failure

    def _fail(self, reason: RecorderReason, text: str) -> NoReturn:
        raise self._broken(reason, text)


def _create_locked(path: Path, mode: int) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags, mode)
    try:
        # Readers look at the lock only of files that are not empty, so nobody else can hold it yet.
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        os.unlink(path)
        raise
    return fd


def _reason(error: OSError, otherwise: RecorderReason) -> RecorderReason:
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return RecorderReason.NO_DESCRIPTOR
    return RecorderReason.DISK_FULL if error.errno in _FULL else otherwise


class Syncer:
    """One thread for all writers of a store: every `interval` seconds it syncs what was written and looks at
    the free space; files whose sessions have ended are synced and closed within that time, CLOSE_SECONDS at most.

    Writers are added and retired in the reactor's thread, synced and released here, so no fd is closed under
    a running fsync and the reactor never waits for the disk's flush. Nothing of a session wakes the thread: it
    would take the interpreter from the reactor at every end, and sync the folder for every file.
    """

    def __init__(
        self,
        clock: Clock,
        space: Space,
        interval: float,
        on_sync_failed: Callable[[Writer], None] | None,
        books: Books | None = None,
    ) -> None:
        self.failures: Counter[RecorderReason] = Counter()
        self.now = clock.monotonic
        self.slow_writes = 0
        self.slowest = 0.0  # seconds of the last slow write
        self._slow_until = 0.0
        self.refused: RecorderFailed | None = None  # what the disk said; None once a probe has worked again
        self._clock = clock
        self._space = space
        self.set_interval(interval)
        self._on_sync_failed = on_sync_failed
        self._books = books
        self._begun: list[Writer] = []
        self._writers: dict[Writer, None] = {}
        self._retired: list[Writer] = []
        self._new_directories: set[Path] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._idle_since = clock.monotonic()
        self._busy = False

    def set_interval(self, interval: float) -> None:
        """Seconds between two syncs of a file. A wait that has begun ends as it was to end (CLOSE_SECONDS)."""
        self._passes = max(1, math.ceil(interval / CLOSE_SECONDS))  # of which one syncs the open files too
        self._pause = interval / self._passes

    def add(self, writer: Writer) -> None:
        """Care for a new file."""
        with self._lock:
            self._writers[writer] = None
            self._begun.append(writer)
            day = writer.path.parent
            self._new_directories |= {day, day.parent}  # the day's name stands in the folder above it
        self.begin()

    def begin(self) -> None:
        """Start the thread, where it does not run."""
        with self._lock:
            if self._thread is None:
                self._stop.clear()
                self._thread = threading.Thread(target=self._run, name="recording-sync", daemon=True)
                self._thread.start()

    def retire(self, writer: Writer) -> None:
        """Sync and close this one in the next pass."""
        with self._lock:
            if writer in self._writers:
                del self._writers[writer]
                self._retired.append(writer)

    def count(self, reason: RecorderReason) -> None:
        """One more failure for the meters."""
        with self._lock:
            self.failures[reason] += 1

    def was_slow(self, seconds: float) -> None:
        """One write took so long."""
        self.slow_writes += 1
        self.slowest = seconds
        self._slow_until = self.now() + SLOW_FOR

    @property
    def slow(self) -> bool:
        """A write was slow a moment ago."""
        return self.now() < self._slow_until

    @property
    def open_files(self) -> int:
        """Recordings that are being written."""
        return len(self._writers)

    @property
    def behind(self) -> float:
        """Seconds that the current pass over the files has been running: a disk that hangs shows here."""
        return self._clock.monotonic() - self._idle_since if self._busy else 0.0

    def stop(self, timeout: float = 10.0) -> bool:
        """Sync everything and end the thread; open files are closed without an end block. True when done."""
        with self._lock:
            thread = self._thread
            self._retired += self._writers
            self._writers.clear()
        self._stop.set()
        if thread is not None:
            thread.join(timeout)
            if thread.is_alive():
                return False
            self._thread = None
        return True

    def _run(self) -> None:
        stopping, done = False, 0
        while not stopping:
            stopping = self._stop.wait(self._pause)
            done += 1
            self._idle_since = self._clock.monotonic()
            self._busy = True
            self._pass(whole=stopping or done % self._passes == 0)
            self._busy = False

    def _pass(self, whole: bool = True) -> None:
        """Close what has ended, sync what has begun, for the ledger tells of both; with `whole` also what goes on."""
        with self._lock:
            retired, self._retired = self._retired, []
            writers = list(self._writers) if whole else []
            directories, self._new_directories = self._new_directories, set()
            begun = [writer for writer in self._begun if writer.links.began or writer.closed]
            self._begun = [writer for writer in self._begun if not (writer.links.began or writer.closed)]
        for directory in directories:
            sync_directory(directory)
        if self.refused is not None:
            self.refused = _probe(self._space.directory, self.refused)
        for writer in {**dict.fromkeys(retired), **dict.fromkeys(writers), **dict.fromkeys(begun)}:
            healthy = writer.failure is None
            writer.sync()
            if healthy and writer.failure is not None:
                self.refused = writer.failure
                if self._on_sync_failed is not None:
                    self._on_sync_failed(writer)
        for writer in retired:
            writer.release()
        if self._books is not None:
            self._book(self._books, begun, retired)
        try:
            self._space.look()
        except OSError:
            pass  # the next write or `Store.admit` meets it and says so

    def _book(self, books: Books, begun: list[Writer], retired: list[Writer]) -> None:
        """Tell the ledger what is on the disk by now."""
        for writer in begun:
            if writer.links.began:
                books.began(writer.path.stem, writer.links)
        for writer in retired:
            if writer.links.ended and writer.failure is None:
                books.ended(writer.path.stem, writer.links)
        books.write()


def _probe(directory: Path, before: RecorderFailed) -> RecorderFailed | None:
    """Write a file, sync it and remove it: what the disk says, where it said that before; None when it takes all of it.

    An fsync that failed once may succeed the next time although the data is lost (the kernel forgets what it could not
    write), so only new data on a file of its own says that the disk works again.
    """
    path = directory / PROBE_NAME
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, bytes(PROBE_SIZE))
            os.fsync(fd)
        finally:
            os.close(fd)
            os.unlink(path)
    except OSError as error:
        return RecorderFailed(before.reason, f"{before.text.partition(':')[0]}: {error.strerror}")
    return None

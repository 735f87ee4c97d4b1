"""The folder of recordings (L2): one folder per UTC day, one file per session, named by the session id alone.

Invariant: no text of a peer ever becomes a path. Folders are 0700, files 0600; where the folder of all of them is
shared with a group (`modes`), 02750 and 0640. A session is listed from its first block on, whatever became of its
gateway (`recording.listing`).
"""

from __future__ import annotations

import os
import secrets
from base64 import b32encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from bastion.clock import Clock
from bastion.errors import RecorderFailed, RecorderReason
from bastion.modes import CLOSED, Modes, modes_in
from bastion.recording.booking import Books
from bastion.recording.bulk import RecordingPolicy
from bastion.recording.data_keys import DataKeyStock
from bastion.recording.format import Header, is_session_id
from bastion.recording.keys import Sealing
from bastion.recording.ledger import LedgerEvent
from bastion.recording.listing import SUFFIX, Recordings, day_of, written_at
from bastion.recording.recorder import Recorder
from bastion.recording.sealing import Sealed, seal
from bastion.recording.writer import SYNC_SECONDS, Space, Syncer, Writer

# New sessions are refused below this many free bytes, running ones end below half of it.
DEFAULT_DISK_FLOOR = 1 << 30

# A pass of fsyncs that takes longer means that the disk hangs, and the promise for a power loss with it.
SYNC_BEHIND_SECONDS = 30.0

NO_INODES = "the recordings' disk has no inodes left: each recording is a file"

UNTOLD_SECONDS = 120.0
"""Before the ledger's last line: a recording that was written to since may have an end of which it was not told."""

LONGEST_SECONDS = 31 * 86400.0
"""How long ago such a session may have begun."""


def new_session_id() -> str:
    """16 lower-case base32 characters from 80 random bits."""
    return b32encode(secrets.token_bytes(10)).decode("ascii").lower()


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """For the meters: plain values, read without touching the disk. `trouble`: why no session begins, or ""."""

    free_bytes: int
    floor_bytes: int
    open_files: int
    sync_behind: float
    failures: Mapping[RecorderReason, int]
    slow_writes: int = 0
    trouble: str = ""


class Store(Recordings):
    """All recordings under one directory, written and read."""

    def __init__(
        self,
        directory: Path | str,
        *,
        disk_floor_bytes: int = DEFAULT_DISK_FLOOR,
        clock: Clock | None = None,
        sync_seconds: float = SYNC_SECONDS,
        on_sync_failed: Callable[[Writer], None] | None = None,
        sealing: Callable[[], Sealing] = Sealing.alone,
        books: Books | None = None,
    ) -> None:
        """`on_sync_failed` is called in the syncing thread with a writer that the disk has refused. `sealing` says what
        the next recording is sealed with; it is called in the reactor's thread and in those that end recordings.
        """
        super().__init__(directory, clock)
        self.sealing = sealing
        self._data_keys: DataKeyStock | None = None
        self.books = books
        self._space = Space(self.directory, disk_floor_bytes)
        self._syncer = Syncer(self._clock, self._space, sync_seconds, on_sync_failed, books)

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
        if self._space.no_inodes:
            raise self._refuse(RecorderReason.DISK_FULL, NO_INODES)
        if self._syncer.behind > SYNC_BEHIND_SECONDS:
            raise self._refuse(RecorderReason.SYNC_FAILED, "the recordings' disk does not answer")
        if refused := self._syncer.refused:
            synced = refused.reason is RecorderReason.SYNC_FAILED
            text = "the recordings' disk has refused to sync" if synced else refused.text
            raise self._refuse(refused.reason, text)
        if self.books is not None and (trouble := self.books.trouble):
            raise self._refuse(RecorderReason.SYNC_FAILED, trouble)
        if self._syncer.slow:
            raise self._refuse(
                RecorderReason.DISK_SLOW, "the recordings' disk is too slow, try again in a moment"
            )

    def create(self, header: Header) -> Writer:
        """The empty, locked file of a session. Raises RecorderFailed."""
        if not is_session_id(header.session_id):
            raise ValueError("not a session id")
        folder = self.directory / day_of(header.started_at)
        try:
            _make_folder(self.directory)
            modes = modes_in(self.directory.stat().st_mode)
            _make_folder(folder, modes)
        except OSError as error:
            raise self._refuse(
                RecorderReason.OPEN_FAILED, f"no recordings folder: {error.strerror}"
            ) from error
        return Writer(folder / (header.session_id + SUFFIX), self._space, self._syncer, modes.file)

    def start(self, header: Header, policy: RecordingPolicy | None = None) -> tuple[Recorder, Writer]:
        """Admit a session, create its file and write its header, so that it is listed from here on.

        Raises RecorderFailed, and then there is no file.
        """
        self.admit()
        recorder = Recorder(header, self._clock, policy, sealing=self._sealing())
        writer = self.create(header)
        try:
            writer.write(recorder.take())
            writer.begun(recorder.link)
        except RecorderFailed:
            writer.close()
            with suppress(OSError):  # an empty file stays, and is listed as such
                writer.path.unlink()
            raise
        return recorder, writer

    def _sealing(self) -> Sealing:
        keys = self._data_keys
        if keys is None:
            return self.sealing()
        try:
            return replace(self.sealing(), keys=keys.take())
        except RecorderFailed as error:
            self._syncer.count(error.reason)
            raise

    def use(self, data_keys: DataKeyStock | None) -> None:
        """Encrypt the recordings that begin from now on with keys of this stock; None: do not."""
        before, self._data_keys = self._data_keys, data_keys
        if before is not None:
            before.stop()
        if data_keys is not None:
            data_keys.start()

    def seal(self, session_id: str, reason: str, text: str) -> Sealed | None:
        """End what another process has left unfinished; None when there is no such file. Blocks."""
        try:
            path = self.path_of(session_id)
        except OSError:
            return None
        sealed = seal(path, reason, text, self.sealing())
        if sealed.links is not None and self.books is not None:
            incomplete = sealed.totals is not None and sealed.totals.incomplete
            self.books.found(session_id, sealed.links, incomplete)
            self.books.write()
        return sealed

    def book_ended(self) -> None:
        """Tell the ledger of recordings that have their end, and whose process died before it told so. Blocks.

        Raises OSError.
        """
        told = [] if self.books is None else self.books.recent()
        if self.books is None or not told:
            return
        known = {one.session for one in told if one.event not in (LedgerEvent.OPENED, LedgerEvent.BEGAN)}
        since = told[-1].time - UNTOLD_SECONDS
        for session, place in self.names(since - LONGEST_SECONDS):
            path = self.directory / place
            if session in known or written_at(path) < since:
                continue
            found = seal(path, "", "", None)
            if found.links is not None and found.totals is not None:
                self.books.found(session, found.links, found.totals.incomplete)
        self.books.write()

    def look(self) -> str:
        """Why no recording can be made in the folder, "" when one can. Asks the disk: call it in a thread."""
        try:
            _make_folder(self.directory)
            self._space.look()
        except OSError as error:
            return f"no recordings folder at {self.directory}: {error.strerror}"
        if not os.access(self.directory, os.W_OK | os.X_OK):
            return f"{self.directory} cannot be written to"
        return ""

    def set_limits(self, disk_floor_bytes: int, sync_seconds: float) -> None:
        """From now on these, for recordings that run too."""
        self._space.set_floor(disk_floor_bytes)
        self._syncer.set_interval(sync_seconds)

    def health(self) -> StoreHealth:
        """Plain values for the meters and /readyz."""
        syncer = self._syncer
        trouble = syncer.refused.text if syncer.refused else NO_INODES if self._space.no_inodes else ""
        if not trouble and self.books is not None:
            trouble = self.books.trouble
        if not trouble and self._data_keys is not None:
            trouble = self._data_keys.trouble
        if not trouble and syncer.slow:
            trouble = f"a write of the recordings' disk took {syncer.slowest:.1f} s"
        return StoreHealth(
            free_bytes=self._space.free,
            floor_bytes=self._space.floor,
            open_files=syncer.open_files,
            sync_behind=syncer.behind,
            failures=dict(syncer.failures),
            slow_writes=syncer.slow_writes,
            trouble=trouble,
        )

    def close(self, timeout: float = 10.0) -> bool:
        """Sync and close every file; True when done within `timeout` seconds. Blocks: call it last."""
        return self._syncer.stop(timeout)

    def _refuse(self, reason: RecorderReason, text: str) -> RecorderFailed:
        self._syncer.count(reason)
        return RecorderFailed(reason, text)


def _make_folder(folder: Path, modes: Modes = CLOSED) -> None:
    if not os.path.isdir(folder):  # a stat is a tenth of a mkdir that finds it there
        folder.mkdir(mode=modes.folder, parents=True, exist_ok=True)

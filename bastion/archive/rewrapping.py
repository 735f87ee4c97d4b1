"""A recording in the bucket for other recipients (L2). Blocks.

The object is fetched, rewrapped as a file, and put in the place of the one before, which S3 does whole or not at all.
Invariant: at every moment the index vouches for a whole object that can be read. While there may be one of two it knows
the digests of both (`Stored.sha256` has two words), so whatever dies between two steps leaves the old one or the new
one, and the next run comes to the end. What object lock keeps is not touched.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bastion.archive.bucket import Bucket, Found
from bastion.archive.fetching import fetch
from bastion.archive.measure import Measure, measure
from bastion.archive.place import parse_url
from bastion.archive.upload import Upload
from bastion.clock import Clock
from bastion.errors import StoreFault, StoreReason
from bastion.recording.rewrapping import Change, rewrap
from bastion.recording.unwrapping import Unwrap
from bastion.state.database import Database
from bastion.state.stored import Stored, mark_stored

Progress = Callable[[int, int], None]


class RewrappedObjects:
    """Recordings of one bucket, and the index over them. One run at a time: whoever calls holds the lock of prune."""

    def __init__(
        self, bucket: Bucket, database: Database, clock: Clock, unwrap: Unwrap, change: Change
    ) -> None:
        self._bucket, self._database, self._clock = bucket, database, clock
        self._unwrap, self._change = unwrap, change

    def rewrap(self, one: Stored, folder: Path, progress: Progress = lambda done, of: None) -> bool:
        """True when it has other recipients now, False when it had them, or is not encrypted. `folder` is empty, and
        takes a copy.

        Raises FormatError for what the recording is to blame for, StoreFault for the bucket and what it may not do,
        StateDown for the index, OSError for the disk.
        """
        key = self._key(one)
        found = self._bucket.head(key, one.version)
        if found is None:
            raise StoreFault(StoreReason.BAD_ANSWER, f"{one.url}: there is no such object")
        self._refuse_locked(found)
        one = self._settled(one, key, folder, progress)
        file = folder / key.rpartition("/")[2]
        fetch(self._bucket, key, file, one.version, one.sha256, progress)
        before = _measured(file).sha256
        if not rewrap(file, self._unwrap, self._change):
            self._tell_versions(key, one.version)
            return False
        made = _measured(file)
        self._mark(replace(one, sha256=f"{before} {made.sha256}"))
        self._put(one, key, file)
        return True

    def _key(self, one: Stored) -> str:
        place = parse_url(one.url)
        if place is None or place[0] != self._bucket.place.bucket:
            raise StoreFault(StoreReason.BAD_ANSWER, f"{one.url}: [recording.store] names no such bucket")
        return place[1]

    def _refuse_locked(self, found: Found) -> None:
        """A new version could be put beside it, and whoever is dropped would still open this one."""
        if found.held:
            raise StoreFault(StoreReason.LOCKED, "a legal hold of the bucket keeps it as it is")
        if found.until is not None and found.until > self._clock.time():
            day = datetime.fromtimestamp(found.until, UTC).strftime("%Y-%m-%d %H:%M UTC")
            lock = found.lock.lower() or "of the bucket"
            raise StoreFault(StoreReason.LOCKED, f"object lock ({lock}) keeps it as it is until {day}")

    def _settled(self, one: Stored, key: str, folder: Path, progress: Progress) -> Stored:
        """What a run that was cut off has put there counts, when it is there."""
        _, _, fresh = one.sha256.partition(" ")
        if not fresh:
            return one
        file = folder / "cut-off"
        try:
            fetch(self._bucket, key, file, "", fresh, progress)
        except StoreFault as fault:
            if fault.reason is not StoreReason.CHECKSUM:
                raise
            return one  # it never came there
        found = self._bucket.head(key)
        settled = replace(one, version=found.version if found else "", size=file.stat().st_size, sha256=fresh)
        file.unlink()
        self._mark(settled)
        self._drop(key, one.version, settled.version)
        return settled

    def _put(self, one: Stored, key: str, file: Path) -> None:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            kept = Upload(self._bucket, fd, key, self._clock).run()
        finally:
            os.close(fd)
        try:
            self._mark(replace(one, version=kept.version, size=kept.size, sha256=kept.sha256))
        except StoreFault:  # it was removed meanwhile, and must not come back
            self._bucket.delete(key, kept.version)
            raise
        self._drop(key, one.version, kept.version)

    def _mark(self, one: Stored) -> None:
        if not mark_stored(self._database, one, self._clock.time()):
            raise StoreFault(StoreReason.STATE, "was removed at this moment")

    def _drop(self, key: str, before: str, now: str) -> None:
        """The version before goes: whoever was dropped could open it."""
        if not before or before == now:
            return
        try:
            self._bucket.delete(key, before)
        except StoreFault as fault:
            text = f"has other recipients now, but its version {before} from before stays: {fault.text}"
            raise StoreFault(fault.reason, text) from None

    def _tell_versions(self, key: str, version: str) -> None:
        """What a run has left that died just before its last step can still be opened by whom it dropped."""
        if not version:
            return
        others: list[str] = []
        with suppress(StoreFault):  # without the right to list them nobody knows
            others = [other for other in self._bucket.versions(key) if other != version]
        if others:
            text = f"has these recipients, but other versions of it are in the bucket too: {', '.join(others[:5])}"
            raise StoreFault(StoreReason.BAD_ANSWER, text)


def _measured(file: Path) -> Measure:
    with file.open("rb") as source:
        return measure(source.fileno())

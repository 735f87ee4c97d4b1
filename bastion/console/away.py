"""Recordings that are in the bucket alone (L4), for the process that opens one: looked at where they lie, or copied.

Invariants: nothing is shown that is not what was uploaded, as far as the state store has its SHA-256 (`fetching.prove`
says what else there is). Of a recording whose digests the reading index has those pieces are fetched that are looked
at, each held against its own; another is copied, so many bytes at most, and held against its SHA-256 before anything of
it is shown. A copy has no name and is gone with this process, however that ends.
A question waits for the bucket so long and no longer, whatever that answers, and how slowly.

boto3 is loaded with this module.
"""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from bastion.archive.bucket import Bucket, Found
from bastion.archive.fetching import copy, find, prove
from bastion.archive.place import S3Place, parse_url
from bastion.archive.ranged import open_object
from bastion.clock import Clock
from bastion.console.readers import Object
from bastion.errors import StoreFault, StoreReason
from bastion.recording.pieces import Pieces

COPY_MAX: Final = 2 << 30
"""Bytes of a recording that is copied to be read to its end."""

PAGE_MAX: Final = 64 << 20
"""Bytes of one that is copied for a page, or for a part of the player: for the next part it is copied again."""

PAGE_SECONDS: Final = 15.0
"""Seconds that a page or a part waits for the bucket, all requests together."""

COPY_SECONDS: Final = 50.0
"""The same of what is copied to be read to its end: less than `readers.HEAD_SECONDS`, so that our words are read."""

AGAIN: Final = 1.0
"""Seconds between two signals that it is over, should one be lost where Python reports errors and goes on."""


class Away:
    """The bucket, for one question. In the main thread alone: its timer is a signal."""

    def __init__(self, place: S3Place, clock: Clock) -> None:
        """Asks nobody. Raises ConfigError for the file of the secret, StoreFault."""
        self._bucket = _Timed(place, clock)

    @contextmanager
    def pieces(self, one: Object, proof: Pieces) -> Iterator[BinaryIO]:
        """Where it lies. Reading it raises StoreFault, CHECKSUM where it is not what `proof` says."""
        self._bucket.left = PAGE_SECONDS
        with open_object(self._bucket, self._key(one), proof.size, one.version, proof) as source:
            yield source

    @contextmanager
    def copied(
        self, one: Object, whole: bool, changed_too: bool = False
    ) -> Iterator[tuple[BinaryIO, StoreFault | None]]:
        """All of it, to be read to its end, or not as a `whole` for one page. With the second value None it is what was
        uploaded; what is not is given with `changed_too` alone. Raises StoreFault."""
        self._bucket.left = COPY_SECONDS if whole else PAGE_SECONDS
        folder = Path(tempfile.gettempdir())
        found = find(self._bucket, self._key(one), one.version, folder)
        if found.size > (COPY_MAX if whole else PAGE_MAX):
            raise StoreFault(StoreReason.LOCAL_FILE, _too_large(found.size, whole))
        try:
            file: BinaryIO
            with tempfile.TemporaryFile(dir=folder) as file:
                fault = self._fill(file, found, one.sha256)
                if fault is not None and not changed_too:
                    raise fault
                file.seek(0)
                yield file, fault
        except OSError as error:
            raise StoreFault(StoreReason.LOCAL_FILE, f"the copy in {folder}: {error.strerror}") from None

    def _fill(self, file: BinaryIO, found: Found, digest: str) -> StoreFault | None:
        try:
            prove(self._bucket, found, copy(self._bucket, found, file), digest, file)
        except StoreFault as fault:
            if fault.reason is not StoreReason.CHECKSUM:
                raise
            file.flush()
            return fault
        finally:
            self._bucket.stop()
        return None

    def _key(self, one: Object) -> str:
        at = parse_url(one.url)
        if at is None or at[0] != self._bucket.place.bucket:
            raise StoreFault(StoreReason.NO_BUCKET, f"{one.url}: [recording.store] names no such bucket")
        return at[1]


def _too_large(size: int, whole: bool) -> str:
    if whole:
        return f"it has {size >> 20} MiB, more than is copied here: `bastion export` fetches it"
    return (
        f"it has {size >> 20} MiB, and the reading index does not know it as it is now: `bastion index` reads it in,"
        " `bastion replay` fetches it"
    )


class _Timed(Bucket):
    """A bucket that has `left` seconds for all that is asked of it. Raises StoreFault when they are over."""

    def __init__(self, place: S3Place, clock: Clock) -> None:
        super().__init__(place)
        self._clock = clock
        self.left = 0.0

    def head(self, key: str, version: str = "") -> Found | None:
        with self._timed(key):
            return super().head(key, version)

    def piece(self, key: str, start: int, size: int, version: str = "") -> bytes:
        with self._timed(key):
            return super().piece(key, start, size, version)

    def read(self, key: str, version: str = "") -> Iterator[bytes]:
        with self._timed(key):
            yield from super().read(key, version)

    def stop(self) -> None:
        """Nothing is waited for any more, also where `read` was left before its end."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    @contextmanager
    def _timed(self, key: str) -> Iterator[None]:
        """A timer of the socket is for each silence: who sends a byte now and then would never meet it."""

        def over(*_: object) -> None:
            raise StoreFault(StoreReason.TIMEOUT, f"{key}: no answer in time")

        began = self._clock.monotonic()
        before = signal.signal(signal.SIGALRM, over)
        try:
            signal.setitimer(signal.ITIMER_REAL, max(self.left, 0.001), AGAIN)
            yield
        except MemoryError:
            text = f"{key}: the answer is larger than there is memory for"
            raise StoreFault(StoreReason.BAD_ANSWER, text) from None
        finally:
            self.stop()
            signal.signal(signal.SIGALRM, before)
            self.left -= self._clock.monotonic() - began

"""One recording into the bucket, and the proof that it is there (L2). Blocks: call it in a thread.

Invariants: `upload` returns only when the bucket has shown the SHA-256 of what it holds, and it is that of the file;
what is there already is not sent again, nor a part that arrived before a crash; a request ends when its time is over,
however slowly the other side takes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from bastion.archive.bucket import Bucket, Found, Part
from bastion.archive.measure import Measure, Piece, Slice, measure
from bastion.clock import Clock
from bastion.errors import StoreFault, StoreReason

REQUEST_SECONDS: Final = 60.0
SLOWEST: Final = 64 << 10
"""Bytes a second below which an upload is given up and tried again later: REQUEST_SECONDS and size / SLOWEST."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the bucket holds of a recording. `sent`: bytes that went over the network for it."""

    key: str
    version: str
    size: int
    sha256: str
    sent: int


class Deadline:
    """The time of one request; a longer body has more."""

    def __init__(self, clock: Clock) -> None:
        self._now = clock.monotonic
        self.start(0)

    def start(self, size: int) -> None:
        self._until = self._now() + REQUEST_SECONDS + size / SLOWEST

    def check(self) -> None:
        """Raises StoreFault when it is over."""
        if self._now() > self._until:
            raise StoreFault(StoreReason.TIMEOUT, "the store takes it too slowly")

    @property
    def overdue(self) -> float:
        """Seconds since it was over; negative before."""
        return self._now() - self._until


class Upload:
    """The upload of the file behind `fd` to `key`, tried once. `deadline` may be looked at from other threads."""

    def __init__(self, bucket: Bucket, fd: int, key: str, clock: Clock) -> None:
        self._bucket, self._fd, self._key, self._clock = bucket, fd, key, clock
        self.deadline = Deadline(clock)
        self._sent = 0

    def run(self) -> Kept:
        """Raises StoreFault."""
        try:
            self.deadline.start(1 << 40)  # of the disk, which has its own watch
            made = measure(self._fd)
        except OSError as error:
            text = f"the spool's file cannot be read: {error.strerror}"
            raise StoreFault(StoreReason.LOCAL_FILE, text) from None
        found = self._look()
        if found is None or not self._is_same(found, made):
            self._send(made)
            found = self._look()
            if found is None:
                raise StoreFault(StoreReason.CHECKSUM, f"{self._key}: was sent, and is not there")
            if not self._is_same(found, made):
                raise StoreFault(
                    StoreReason.CHECKSUM, f"{self._key}: the bucket has other bytes than were sent"
                )
        return Kept(self._key, found.version, made.size, made.sha256, self._sent)

    def _look(self) -> Found | None:
        self.deadline.start(0)
        return self._bucket.head(self._key)

    def _is_same(self, found: Found, made: Measure) -> bool:
        """By S3's own checksum; one that keeps none, or keeps it of other parts, is read back whole."""
        if found.size != made.size:
            return False
        if found.checksum in (made.checksum, made.stored_checksum):
            return True
        if found.checksum and "-" not in found.checksum:
            return False
        self.deadline.start(made.size)
        return read_back(self._bucket, found, self.deadline.check) == made.sha256

    # -- sending -----------------------------------------------------------------------------------------

    def _send(self, made: Measure) -> None:
        if made.in_parts:
            self._send_parts(made)
            return
        body = self._body(made.pieces[0])
        self._bucket.put(self._key, body, made.checksum, self._clock.time())
        self._sent += made.size

    def _send_parts(self, made: Measure) -> None:
        upload, arrived = self._resumed(made)
        for piece in made.pieces:
            if piece.number not in arrived:
                body = self._body(piece)
                arrived[piece.number] = self._bucket.put_part(
                    self._key, upload, piece.number, body, piece.checksum
                )
                self._sent += piece.size
        self.deadline.start(made.size)  # S3 may take its time to put the parts together
        self._bucket.complete(self._key, upload, arrived)

    def _resumed(self, made: Measure) -> tuple[str, dict[int, Part]]:
        """The upload to go on with, and what of it has arrived as it is on the disk; older ones are given up."""
        self.deadline.start(0)
        try:
            begun = self._bucket.unfinished(self._key)
        except StoreFault as fault:
            if fault.reason is not StoreReason.REFUSED:
                raise
            begun = []  # without the right to list them each try begins anew
        for older in begun[1:]:
            self._bucket.abort(self._key, older)
        if not begun:
            return self._bucket.begin(self._key, self._clock.time()), {}
        pieces = {piece.number: piece for piece in made.pieces}
        arrived = self._bucket.parts(self._key, begun[0])
        return begun[0], {number: part for number, part in arrived.items() if _is(part, pieces.get(number))}

    def _body(self, piece: Piece) -> Slice:
        self.deadline.start(piece.size)
        return Slice(self._fd, piece.start, piece.size, self.deadline.check)


def _is(part: Part, piece: Piece | None) -> bool:
    return piece is not None and part.size == piece.size and part.checksum == piece.checksum


def read_back(bucket: Bucket, found: Found, progress: Callable[[], None] = lambda: None) -> str:
    """The SHA-256 in hex of what the bucket gives for an object. Raises StoreFault."""
    made = sha256()
    for data in bucket.read(found.key, found.version):
        progress()
        made.update(data)
    return made.hexdigest()

"""What a file's checksums are, whole and in parts, and files as bodies of requests (L2).

S3 keeps one SHA-256 for an object that was sent at once, and the SHA-256 of its parts' digests for one that came in
parts (https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html, "composite").
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from bastion.errors import StoreFault, StoreReason

PART: Final = 16 << 20
"""Bytes of a part: what is sent again after a cut connection. 5 MiB is the least that S3 takes."""

PARTS_MAX: Final = 10_000
"""Of one object; a recording above 156 GiB has larger ones."""

CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes `start` to `start + size` of a file, and their SHA-256 in base64."""

    number: int
    start: int
    size: int
    checksum: str


@dataclass(frozen=True, slots=True)
class Measure:
    """A file's size, SHA-256 in hex and in base64, and its pieces: one, or the parts of a multipart upload."""

    size: int
    sha256: str
    checksum: str
    pieces: tuple[Piece, ...]

    @property
    def in_parts(self) -> bool:
        return len(self.pieces) > 1

    @property
    def stored_checksum(self) -> str:
        """What S3 says of the object: that of the whole, or that of the parts and how many there are."""
        if not self.in_parts:
            return self.checksum
        made = sha256(b"".join(b64decode(piece.checksum) for piece in self.pieces))
        return f"{b64encode(made.digest()).decode()}-{len(self.pieces)}"


def part_size(size: int) -> int:
    """Bytes of each part but the last."""
    return max(PART, -(-size // PARTS_MAX))


def measure(fd: int, progress: Callable[[], None] = lambda: None) -> Measure:
    """Read the file once, a MiB at a time. `progress` is called between. Raises OSError."""
    each = part_size(os.fstat(fd).st_size)
    whole, pieces = sha256(), list[Piece]()
    part, start, at = sha256(), 0, 0
    while data := os.pread(fd, min(CHUNK, start + each - at), at):
        progress()
        whole.update(data)
        part.update(data)
        at += len(data)
        if at - start == each:
            pieces.append(_piece(pieces, start, at, part.digest()))
            part, start = sha256(), at
    if at > start or not pieces:
        pieces.append(_piece(pieces, start, at, part.digest()))
    return Measure(at, whole.hexdigest(), b64encode(whole.digest()).decode(), tuple(pieces))


def _piece(before: list[Piece], start: int, end: int, digest: bytes) -> Piece:
    return Piece(len(before) + 1, start, end - start, b64encode(digest).decode())


class Slice:
    """Part of a file as the body of a request: read from the disk as the socket takes it.

    `progress` is called with each read, and what it raises ends the request. It shares no position with other slices.
    """

    def __init__(self, fd: int, start: int, size: int, progress: Callable[[], None] = lambda: None) -> None:
        self._fd, self._start, self._size, self._progress = fd, start, size, progress
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def read(self, size: int | None = -1) -> bytes:
        """As of a file: at most `size` bytes. Raises StoreFault for the disk."""
        self._progress()
        left = self._size - self._at
        wanted = left if size is None or size < 0 else min(size, left)
        try:
            data = os.pread(self._fd, wanted, self._start + self._at) if wanted > 0 else b""
        except OSError as error:  # which the socket's side would take for its own
            text = f"the spool's file cannot be read: {error.strerror}"
            raise StoreFault(StoreReason.LOCAL_FILE, text) from None
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of a file, seen from the slice's beginning."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = min(max(0, base + offset), self._size)
        return self._at

    def tell(self) -> int:
        return self._at

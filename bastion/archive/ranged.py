"""An object of the bucket as a file to seek in (L2): a head and a tail cost two small requests, and not the whole.

What is read this way is not held against the SHA-256 of the whole: for listings and rows, never for evidence
(`fetching` is for that). Where the digests of its pieces are known each is held against its own.
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO, Final, cast

from bastion.archive.bucket import Bucket
from bastion.errors import StoreFault, StoreReason
from bastion.recording import pieces
from bastion.recording.pieces import Pieces

PIECE: Final = 32 << 10
"""Bytes of one request: a header and the beginning of what was run, or an end, fit."""

KEPT: Final = 4
"""Pieces that are kept, for what looks at the end and goes back to the beginning."""


class _Object(io.RawIOBase):
    def __init__(self, bucket: Bucket, key: str, size: int, version: str, proof: Pieces | None) -> None:
        self._bucket, self._key, self._size, self._version = bucket, key, size, version
        self._proof, self._step = proof, PIECE if proof is None else pieces.PIECE
        self._at = 0
        self._pieces: dict[int, bytes] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        number, start = divmod(self._at, self._step)
        data = b"" if self._at >= self._size else self._piece(number)[start : start + len(view)]
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _piece(self, number: int) -> bytes:
        data = self._pieces.pop(number, None)
        if data is None:
            data = self._fetched(number)
        self._pieces[number] = data
        while len(self._pieces) > KEPT:
            del self._pieces[next(iter(self._pieces))]
        return data

    def _fetched(self, number: int) -> bytes:
        start = number * self._step
        wanted = min(self._step, self._size - start)
        data = self._bucket.piece(self._key, start, wanted, self._version)
        if len(data) != wanted:
            text = f"{self._key}: {len(data)} bytes were sent where {wanted} were asked for"
            raise StoreFault(StoreReason.BAD_ANSWER, text)
        if self._proof is not None and not self._proof.has(number, data):
            text = f"{self._key}: is not what was uploaded, from byte {start} to {start + wanted}"
            raise StoreFault(StoreReason.CHECKSUM, text)
        return data


def open_object(
    bucket: Bucket, key: str, size: int, version: str = "", proof: Pieces | None = None
) -> BinaryIO:
    """The object of `size` bytes, of which is fetched what is looked at; with `proof` in its pieces. Reading it raises
    StoreFault, of reason CHECKSUM where it is not what `proof` says."""
    return cast("BinaryIO", io.BufferedReader(_Object(bucket, key, size, version, proof), 4096))

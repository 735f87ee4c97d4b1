"""An object of the bucket as a file to seek in (L2): a head and a tail cost two small requests, and not the whole.

What is read this way is not held against the SHA-256 of the whole: for listings and rows, never for evidence
(`fetching` is for that).
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO, Final, cast

from bastion.archive.bucket import Bucket

PIECE: Final = 32 << 10
"""Bytes of one request: a header and the beginning of what was run, or an end, fit."""

KEPT: Final = 4
"""Pieces that are kept, for what looks at the end and goes back to the beginning."""


class _Object(io.RawIOBase):
    def __init__(self, bucket: Bucket, key: str, size: int, version: str) -> None:
        self._bucket, self._key, self._size, self._version = bucket, key, size, version
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
        number, start = divmod(self._at, PIECE)
        data = b"" if self._at >= self._size else self._piece(number)[start : start + len(view)]
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _piece(self, number: int) -> bytes:
        data = self._pieces.pop(number, None)
        if data is None:
            start = number * PIECE
            data = self._bucket.piece(self._key, start, min(PIECE, self._size - start), self._version)
        self._pieces[number] = data
        while len(self._pieces) > KEPT:
            del self._pieces[next(iter(self._pieces))]
        return data


def open_object(bucket: Bucket, key: str, size: int, version: str = "") -> BinaryIO:
    """The object of `size` bytes, of which is fetched what is looked at. Reading it raises StoreFault."""
    return cast("BinaryIO", io.BufferedReader(_Object(bucket, key, size, version), 4096))

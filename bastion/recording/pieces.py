"""Digests of a file's pieces, by which a piece of it proves itself wherever it lies (L1, pure: the open file is an
argument).

Who has read a recording whole keeps them, and whoever looks at a part of it later needs no more than that part.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, BinaryIO, Final

PIECE: Final = 256 << 10
"""Bytes of each piece but the last: about what lies between two keyframes. A GiB has 128 KiB of digests."""

_DIGEST: Final = 32


@dataclass(frozen=True, slots=True)
class Pieces:
    """Of a file of `size` bytes, whose SHA-256 in hex is `whole`: the SHA-256 of its pieces, one behind the other."""

    size: int
    whole: str
    digests: bytes

    def has(self, number: int, data: bytes) -> bool:
        """Is that its piece of this number, counted from 0?"""
        digest = self.digests[number * _DIGEST : (number + 1) * _DIGEST]
        return sha256(data).digest() == digest

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {"size": self.size, "whole": self.whole, "digests": b64encode(self.digests).decode()}

    @classmethod
    def of(cls, document: Any) -> Pieces:
        """`document` read back. Raises ValueError for what is none."""
        try:
            size, whole = int(document["size"]), str(document["whole"])
            digests = b64decode(document["digests"], validate=True)
        except (TypeError, LookupError):
            raise ValueError("no pieces") from None
        if size < 0 or len(digests) != _DIGEST * -(-size // PIECE):
            raise ValueError("not as many pieces as there are")
        return cls(size, whole, digests)


def pieces_of(source: BinaryIO) -> Pieces:
    """Reads the file once, a piece at a time. Raises OSError."""
    source.seek(0)
    whole, digests, size = sha256(), bytearray(), 0
    while data := source.read(PIECE):
        whole.update(data)
        digests += sha256(data).digest()
        size += len(data)
    return Pieces(size, whole.hexdigest(), bytes(digests))

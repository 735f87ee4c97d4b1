"""Lines of one channel gathered to pages, packed (L2, pure).

A page is what the index finds: a few KiB, so that the list of places of a common word stays short and what is opened
for a hit stays small. Lines keep the time at which they changed last.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from dataclasses import dataclass, field
from typing import Final

from bastion.indexing.words import words_of

PAGE_CHARACTERS: Final = 4096
"""A page is full when it has as many."""

LONGEST_PAGE: Final = 1 << 20
"""Bytes that a packed page may unpack to: a line has 64 KiB at most."""

_HEAD: Final = struct.Struct(">I")


@dataclass(slots=True)
class Page:
    """Lines of one channel, in order, and the seconds at which each changed last."""

    channel: int
    lines: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    size: int = 0

    def add(self, time: float, text: str) -> bool:
        """One line more; true when the page is full."""
        self.lines.append(text)
        self.times.append(time)
        self.size += len(text) + 1
        return self.size >= PAGE_CHARACTERS

    @property
    def words(self) -> str:
        """Each word once, for a full-text index that splits at blanks."""
        return " ".join(dict.fromkeys(words_of("\n".join(self.lines))))

    def pack(self) -> bytes:
        """The lines as one value."""
        text = "\n".join(self.lines).encode("utf-8", "replace")
        return zlib.compress(_HEAD.pack(len(self.times)) + array("d", self.times).tobytes() + text)


def unpack(channel: int, data: bytes) -> Page:
    """`Page.pack` read back. Raises ValueError for what is none."""
    try:
        unpacker = zlib.decompressobj()
        whole = unpacker.decompress(data, LONGEST_PAGE)
        (count,) = _HEAD.unpack_from(whole)
        times = array("d", whole[_HEAD.size : _HEAD.size + 8 * count])
        lines = whole[_HEAD.size + 8 * count :].decode().split("\n")
    except (zlib.error, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"no page: {error}") from None
    if not unpacker.eof or len(lines) != len(times) or len(times) != count:
        raise ValueError("no page: lines and times differ")
    return Page(channel, lines, times.tolist(), len(whole))

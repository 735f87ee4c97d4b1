"""Lines of one channel gathered to pages, packed (L2, pure).

A page is what the index finds: a few KiB, so that the list of places of a common word stays short and what is opened
for a hit stays small. Lines keep the time at which they changed last.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass, field
from typing import Final

import zstandard

from bastion.indexing.words import indexed

PAGE_CHARACTERS: Final = 4096
"""A page is full when it has as many."""

LONGEST_PAGE: Final = 1 << 20
"""Bytes that a packed page may unpack to: a line has 64 KiB at most."""

_HEAD: Final = struct.Struct(">I")

_PACKER: Final = zstandard.ZstdCompressor(level=3)  # four times as fast as zlib, and packs as well
_UNPACKER: Final = zstandard.ZstdDecompressor()


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
        """For a full-text index: `words.indexed`."""
        return indexed("\n".join(self.lines))

    def pack(self) -> bytes:
        """The lines as one value."""
        text = "\n".join(self.lines).encode("utf-8", "replace")
        whole = _HEAD.pack(len(self.times)) + array("d", self.times).tobytes() + text
        return _PACKER.compress(whole)


def text_of(data: bytes) -> str:
    """The lines of a packed page as one text. Raises ValueError for what is none."""
    return _opened(data)[1]


def unpack(channel: int, data: bytes) -> Page:
    """`Page.pack` read back. Raises ValueError for what is none."""
    times, text = _opened(data)
    return Page(channel, text.split("\n"), times.tolist(), len(text))


def _opened(data: bytes) -> tuple[array[float], str]:
    try:
        if not 0 < zstandard.frame_content_size(data) <= LONGEST_PAGE:
            raise ValueError("no page: of no size, or too large")
        whole = _UNPACKER.decompress(data, allow_extra_data=False)
        (count,) = _HEAD.unpack_from(whole)
        times = array("d", whole[_HEAD.size : _HEAD.size + 8 * count])
        text = whole[_HEAD.size + 8 * count :].decode()
    except (zstandard.ZstdError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"no page: {error}") from None
    if len(times) != count or text.count("\n") != count - 1:
        raise ValueError("no page: lines and times differ")
    return times, text

"""Blocks of a recording that come piece by piece, as somebody who watches gets them (L1, pure).

Invariant: an event comes out only of a block whose CRCs are right, once, in the order of the block numbers.
"""

from __future__ import annotations

from collections.abc import Iterator

from isal.isal_zlib import crc32

from bastion.recording.format import (
    FOOT,
    FOOT_SIZE,
    HEAD_SIZE,
    BlockType,
    FormatError,
    Recorded,
    parse_head,
    split_events,
)


class Blocks:
    """Reads whole blocks from bytes that may begin in the middle of one."""

    def __init__(self, sync: bytes) -> None:
        self._sync = sync
        self._next = 0  # the number of the next block
        self.ended = False  # the end block has come

    def events(self, data: bytes) -> Iterator[Recorded]:
        """The events of the whole blocks in `data` that are newer than those before. Raises FormatError."""
        at = data.find(self._sync)
        while at >= 0:
            head = parse_head(data[at : at + HEAD_SIZE], self._sync)
            end = at + (head.block_size if head is not None else 0)
            if head is None or end > len(data):
                at = data.find(self._sync, at + 1)
                continue
            body = memoryview(data)[at : end - FOOT_SIZE]
            if FOOT.unpack_from(data, end - FOOT_SIZE) != (crc32(body), head.block_size):
                raise FormatError("a block is damaged")
            if head.sequence >= self._next:
                self._next = head.sequence + 1
                self.ended = head.type is BlockType.END
                if head.type is BlockType.EVENTS:
                    yield from split_events(bytes(body[HEAD_SIZE:]), head.time_us)
            at = data.find(self._sync, end)

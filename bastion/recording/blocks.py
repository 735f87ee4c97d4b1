"""Blocks of a recording that come piece by piece, as somebody who watches gets them (L1, pure).

Invariant: an event comes out only of a block that has not changed, once, in the order of the block numbers.
"""

from __future__ import annotations

from collections.abc import Iterator

from bastion.recording.format import (
    HEAD_SIZE,
    BlockType,
    FormatError,
    Recorded,
    Suite,
    parse_head,
    split_events,
)
from bastion.recording.framing import checked
from bastion.recording.opening import Opened

_WITH_EVENTS = (BlockType.EVENTS, BlockType.INPUT)


class Blocks:
    """Reads whole blocks from bytes that may begin in the middle of one. `closed` counts those it had no keys for."""

    def __init__(self, sync: bytes, opened: Opened | None = None) -> None:
        self._sync = sync
        self._opened = opened
        self._next = 0  # the number of the next block
        self.ended = False  # the end block has come
        self.closed = 0

    def events(self, data: bytes) -> Iterator[Recorded]:
        """The events of the whole blocks in `data` that are newer than those before. Raises FormatError."""
        at = data.find(self._sync)
        while at >= 0:
            raw_head = data[at : at + HEAD_SIZE]
            head = parse_head(raw_head, self._sync)
            end = at + (head.block_size if head is not None else 0)
            if head is None or end > len(data):
                at = data.find(self._sync, at + 1)
                continue
            if checked(memoryview(data)[at:end], head) is None:
                raise FormatError("a block is damaged")
            if head.sequence >= self._next and head.type is not BlockType.KEYS:
                self._next = head.sequence + 1
                self.ended = head.type is BlockType.END
                if head.type in _WITH_EVENTS:
                    payload = data[at + HEAD_SIZE : at + HEAD_SIZE + head.length]
                    if head.suite is not Suite.SEALED:
                        yield from split_events(payload, head.time_us)
                    elif self._opened is not None:
                        yield from split_events(self._opened.payload(head, raw_head, payload), head.time_us)
                    else:
                        self.closed += 1
            at = data.find(self._sync, end)


def without_input(data: bytes, sync: bytes) -> bytes:
    """The whole blocks in `data`, which may begin in the middle of one, but for those of what the client sent.

    What stands between whole blocks may be a piece of one and is left out, for nobody can say of which.
    """
    kept, at = list[bytes](), data.find(sync)
    while at >= 0:
        head = parse_head(data[at : at + HEAD_SIZE], sync)
        end = at + (head.block_size if head is not None else 0)
        if head is None or end > len(data):
            at = data.find(sync, at + 1)
            continue
        if head.type is not BlockType.INPUT:
            kept.append(data[at:end])
        at = data.find(sync, end)
    return b"".join(kept)

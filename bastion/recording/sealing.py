"""An unfinished recording, ended by another process than the one that began it (L2).

A process that dies leaves files without an end block. They play to the last whole block as they are; `seal` gives them
the end that their writer could not: what is behind the last whole block is cut off, a note says why the session ended,
and the end block has the sums of what is in the file. Blocks: call it in a thread.

Invariants: nothing of a file that another process still writes is touched (the writer's lock), nor of one in which
blocks are damaged; whole blocks stay as they are, byte for byte; a file that has an end block keeps it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from isal.isal_zlib import crc32

from bastion.recording.format import (
    EVENT_HEAD,
    EVENT_HEAD_SIZE,
    FOOT,
    FOOT_SIZE,
    HEAD,
    HEAD_SIZE,
    PREAMBLE_SIZE,
    BlockType,
    FormatError,
    Gap,
    Header,
    Kind,
    Totals,
    encode_block,
    encode_json,
    parse_head,
    parse_json,
)
from bastion.recording.reader import Reader
from bastion.sides import Side


@dataclass(frozen=True, slots=True)
class Sealed:
    """What became of one file of now `size` bytes. `problem` says why it could not be ended, "" when it has an end;
    `again`: that may change."""

    header: Header
    totals: Totals | None
    problem: str = ""
    size: int = 0
    again: bool = False


def seal(path: Path, reason: str, text: str) -> Sealed:
    """End the file with `reason` and `text`."""
    unknown = Header.unknown(path.stem)
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return Sealed(unknown, None, f"cannot be opened: {error.strerror}", again=True)
    with os.fdopen(fd, "rb", buffering=1 << 16) as source:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return _seal(source, path.stem, reason, text)
        except BlockingIOError:
            return Sealed(unknown, None, "is still being written", again=True)
        except FormatError as error:
            return Sealed(unknown, None, error.text)
        except (ValueError, struct.error):
            return Sealed(unknown, None, "an event in it has no known form")
        except OSError as error:
            return Sealed(unknown, None, f"cannot be ended: {error.strerror}", again=True)


def _seal(source: BinaryIO, session: str, reason: str, text: str) -> Sealed:
    reader = Reader(source, session)
    totals = reader.tail().totals
    if totals is not None:
        return Sealed(reader.header, totals, size=os.fstat(source.fileno()).st_size)
    if reader.damage:
        return Sealed(reader.header, None, reader.damage[0].text)
    with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found = _Whole(data, reader.sync)
        found.walk()
        if not found.is_torn():
            return Sealed(reader.header, None, f"what stands at byte {found.end} is no block")
    totals, last = _ending(reader.header, found, reason, text)
    os.ftruncate(source.fileno(), found.end)
    if os.write(source.fileno(), last) != len(last):
        os.ftruncate(source.fileno(), found.end)
        return Sealed(reader.header, None, "the disk is full", again=True)
    os.fdatasync(source.fileno())
    return Sealed(reader.header, totals, size=found.end + len(last))


def _ending(header: Header, found: _Whole, reason: str, text: str) -> tuple[Totals, bytes]:
    """The sums, and the last two blocks: a note why it has ended, and the end."""
    note = encode_json({"event": "session_ended", "reason": reason, "text": text})
    head = EVENT_HEAD.pack(Kind.NOTE, Side.TARGET, 0, 0, 0, len(note))
    totals = Totals(
        reason=reason,
        ended_at=header.started_at + found.time_us / 1e6,
        duration_us=found.time_us,
        blocks=found.blocks + 2,
        events=found.events + 1,
        channels=found.channels,
        bytes_in=max(0, found.seen - found.bytes_out),
        bytes_out=found.bytes_out,
        skipped=found.skipped,
        opaque=found.opaque,
    )
    document = encode_json(totals.document())
    at = found.time_us, found.seen
    kind, sync, number = BlockType.EVENTS, found.sync, found.blocks
    blocks = encode_block(sync, kind, number, *at, [head, note], EVENT_HEAD_SIZE + len(note))
    blocks += encode_block(sync, BlockType.END, number + 1, *at, [document], len(document))
    return totals, b"".join(blocks)


class _Whole:
    """The whole blocks of a file from its beginning, and what their events add up to.

    One pass with as little as can be done for each block, since a worker may leave hundreds of recordings with as many
    blocks as keys were pressed: 3 us a block. What engineers typed is seldom kept: its bytes are what is left of all.
    """

    def __init__(self, data: mmap.mmap, sync: bytes) -> None:
        self._data, self.sync = data, sync
        self._kinds: dict[int, str] = {}
        self.end = PREAMBLE_SIZE
        self.time_us = self.seen = 0  # of the last event, and of the last block
        self.blocks = self.events = self.channels = self.bytes_out = self.skipped = self.opaque = 0

    def walk(self) -> None:
        """Up to the first that is not whole, or not the next."""
        data, size = self._data, len(self._data)
        while self.end + HEAD_SIZE + FOOT_SIZE <= size:
            sync, kind, _, _, length, sequence, time_us, seen = HEAD.unpack_from(data, self.end)
            until = self.end + HEAD_SIZE + length
            if sync != self.sync or sequence != self.blocks or until + FOOT_SIZE > size:
                return
            block = data[self.end : until]
            if FOOT.unpack_from(data, until) != (crc32(block), until + FOOT_SIZE - self.end):
                return
            if kind == BlockType.EVENTS:
                self._events(block, time_us)
            self.seen, self.blocks, self.end = seen, self.blocks + 1, until + FOOT_SIZE

    def is_torn(self) -> bool:
        """Is what stands behind that nothing, or the beginning of the block that was being written? Else blocks are
        damaged or gone, and the file is a case for people."""
        rest = self._data[self.end :]
        if not rest.strip(b"\0"):
            return True
        if len(rest) < HEAD_SIZE:
            return rest.startswith(self.sync[: len(rest)])
        head = parse_head(rest[:HEAD_SIZE], self.sync)
        return head is not None and head.block_size > len(rest)

    def _events(self, block: bytes, block_us: int) -> None:
        at = HEAD_SIZE
        while at < len(block):
            kind, side, _, channel, delta, length = EVENT_HEAD.unpack_from(block, at)
            at += EVENT_HEAD_SIZE
            if kind == Kind.DATA:
                if side == Side.TARGET:
                    self.bytes_out += length
            elif kind == Kind.GAP:
                self._gap(Gap.parse(block[at : at + length]), side)
            elif kind == Kind.NOTE:
                self._note(channel, block[at : at + length])
            at += length
            self.events += 1
            self.time_us = block_us + delta

    def _gap(self, gap: Gap, side: int) -> None:
        self.skipped += gap.size
        if side == Side.TARGET:
            self.bytes_out += gap.size

    def _note(self, channel: int, payload: bytes) -> None:
        if b"channel_opened" in payload:
            note = parse_json(payload)
            if note.get("event") == "channel_opened":
                self._kinds[channel] = str(note.get("kind", ""))
        elif b"channel_confirmed" in payload and parse_json(payload).get("event") == "channel_confirmed":
            self.channels += 1
            self.opaque += self._kinds.get(channel) != "session"

"""An unfinished recording, ended by another process than the one that began it (L2).

A process that dies leaves files without an end block. They play to the last whole block as they are; `seal` gives them
the end that their writer could not: what is behind the last whole block is cut off, and the end block says why the
session ended and has the sums of what is in the file. The recording's own key died with its writer, so it is the node's
key that signs, and the recording is marked as incomplete. Of encrypted blocks nobody here knows what is in them: the
sums are then those of the last checkpoint. Blocks: call it in a thread.

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

from bastion.recording.booking import Links
from bastion.recording.chain import Chain
from bastion.recording.format import (
    EVENT_HEAD,
    EVENT_HEAD_SIZE,
    HEAD_SIZE,
    PREAMBLE_SIZE,
    BlockType,
    FormatError,
    Gap,
    Header,
    Kind,
    Suite,
    Sums,
    Totals,
    encode_json,
    parse_head,
    parse_json,
)
from bastion.recording.framing import checked, first_link, next_link, plain_block
from bastion.recording.keys import Sealing
from bastion.recording.ledger_file import is_named
from bastion.recording.reader import Reader
from bastion.recording.unwrapping import split_signed
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
    links: Links | None = None


def seal(path: Path, reason: str, text: str, sealing: Sealing | None) -> Sealed:
    """End the file with `reason` and `text`, in the name of the node. Without `sealing` it is looked at only."""
    unknown = Header.unknown(path.stem)
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return Sealed(unknown, None, f"cannot be opened: {error.strerror}", again=True)
    with os.fdopen(fd, "rb", buffering=1 << 16) as source:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not is_named(fd, path):
                return Sealed(unknown, None, "was replaced at this moment", again=True)
            return _seal(source, path.stem, reason, text, sealing)
        except BlockingIOError:
            return Sealed(unknown, None, "is still being written", again=True)
        except FormatError as error:
            return Sealed(unknown, None, error.text)
        except (ValueError, struct.error):
            return Sealed(unknown, None, "an event in it has no known form")
        except OSError as error:
            return Sealed(unknown, None, f"cannot be ended: {error.strerror}", again=True)


def _seal(source: BinaryIO, session: str, reason: str, text: str, sealing: Sealing | None) -> Sealed:
    reader = Reader(source, session)
    totals = reader.tail().totals
    if reader.damage and totals is None:
        return Sealed(reader.header, None, reader.damage[0].text)
    with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found = _Whole(data, reader.version, reader.sync)
        found.walk()
        if totals is not None:
            return Sealed(reader.header, totals, size=len(data), links=found.links())
        if sealing is None:
            return Sealed(reader.header, None, "has no end", again=True)
        if not found.is_torn():
            return Sealed(reader.header, None, f"what stands at byte {found.end} is no block")
    if reader.version == 1:
        totals, last = _plain_ending(reader.header, found, reason, text)
    else:
        totals, last = _ending(reader.header, found, reason, text, sealing)
    os.ftruncate(source.fileno(), found.end)
    if os.write(source.fileno(), last) != len(last):
        os.ftruncate(source.fileno(), found.end)
        return Sealed(reader.header, None, "the disk is full", again=True)
    os.fdatasync(source.fileno())
    links = None if reader.version == 1 else Links(found.began, found.link)
    return Sealed(reader.header, totals, size=found.end + len(last), links=links)


def _ending(header: Header, found: _Whole, reason: str, text: str, sealing: Sealing) -> tuple[Totals, bytes]:
    """The sums, and the end block."""
    sums = found.sums()
    totals = Totals(
        reason=reason,
        ended_at=header.started_at + found.time_us / 1e6,
        duration_us=found.time_us,
        blocks=found.blocks + 1,
        **sums.document(),
        incomplete=True,
        text=text,
        node_key=sealing.signer.public.line(),
        signed_until=found.signed_until,
        counted_until=found.signed_until if found.closed else max(0, found.blocks - 1),
    )
    chain = Chain(found.sync)
    chain.resume(found.link, found.blocks)
    document = encode_json(totals.document())
    last = b"".join(chain.signed(BlockType.END, found.time_us, found.seen, document, sealing.sign))
    found.link = chain.link
    return totals, last


def _plain_ending(header: Header, found: _Whole, reason: str, text: str) -> tuple[Totals, bytes]:
    """Of format 1: the sums, and the last two blocks: a note why it has ended, and the end."""
    note = encode_json({"event": "session_ended", "reason": reason, "text": text})
    head = EVENT_HEAD.pack(Kind.NOTE, Side.TARGET, 0, 0, 0, len(note))
    sums = found.sums()
    totals = Totals(
        reason=reason,
        ended_at=header.started_at + found.time_us / 1e6,
        duration_us=found.time_us,
        blocks=found.blocks + 2,
        **{**sums.document(), "events": sums.events + 1},
    )
    document = encode_json(totals.document())
    at = found.time_us, found.seen
    last = plain_block(found.sync, BlockType.EVENTS, found.blocks, *at, [head, note])
    return totals, last + plain_block(found.sync, BlockType.END, found.blocks + 1, *at, [document])


class _Whole:
    """The whole blocks of a file from its beginning, and what their events add up to.

    One pass with as little as can be done for each block, since a worker may leave hundreds of recordings with as many
    blocks as keys were pressed: 6 us a block. What engineers typed is seldom kept: its bytes are what is left of all.
    """

    def __init__(self, data: mmap.mmap, version: int, sync: bytes) -> None:
        self._data, self._version, self.sync = data, version, sync
        self._kinds: dict[int, str] = {}
        self.end = PREAMBLE_SIZE
        self.link = first_link(data[:PREAMBLE_SIZE])
        self.began = b""
        self.time_us = self.seen = 0  # of the last event, and of the last block
        self.blocks = self.signed_until = self.closed = 0
        self._signed = Sums(0, 0, 0, 0, 0, 0)
        self._events_in = self._channels = self._bytes_out = self._skipped = self._opaque = 0

    def sums(self) -> Sums:
        """What is known: of all, or when there are encrypted blocks up to the last checkpoint."""
        if self.closed:
            return self._signed
        bytes_in = max(0, self.seen - self._bytes_out)
        return Sums(self._events_in, self._channels, bytes_in, self._bytes_out, self._skipped, self._opaque)

    def links(self) -> Links | None:
        """What the ledger is told of a file that has an end; None when it is damaged, or of format 1."""
        whole = self._version != 1 and self.end == len(self._data)
        return Links(self.began, self.link) if whole else None

    def walk(self) -> None:
        """Up to the first that is not whole, or not the next."""
        data, size = self._data, len(self._data)
        while self.end + HEAD_SIZE <= size:
            head = parse_head(data[self.end : self.end + HEAD_SIZE], self.sync)
            if head is None or not head.fits(self._version) or self.end + head.block_size > size:
                return
            block = data[self.end : self.end + head.block_size]
            digest = checked(block, head)
            if digest is None:
                return
            kind = head.type
            if kind is BlockType.KEYS and self.blocks == 1:
                self.end += head.block_size
                continue
            if head.sequence != self.blocks:
                return
            self._block(kind, head.suite, head.time_us, block[HEAD_SIZE : HEAD_SIZE + head.length])
            self.link = next_link(self.link, digest)
            if head.type is BlockType.HEADER:
                self.began = self.link
            self.seen, self.blocks, self.end = head.seen, self.blocks + 1, self.end + head.block_size

    def _block(self, kind: BlockType, suite: Suite, time_us: int, payload: bytes) -> None:
        if kind in (BlockType.EVENTS, BlockType.INPUT):
            if suite is Suite.SEALED:
                self.closed += 1
                self.time_us = time_us
            else:
                self._events(payload, time_us)
        elif kind is BlockType.CHECKPOINT:
            self._signed = Sums.from_document(parse_json(split_signed(payload)[1]))
            self.signed_until = self.blocks

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

    def _events(self, payload: bytes, block_us: int) -> None:
        at = 0
        while at < len(payload):
            kind, side, _, channel, delta, length = EVENT_HEAD.unpack_from(payload, at)
            at += EVENT_HEAD_SIZE
            if kind == Kind.DATA:
                if side == Side.TARGET:
                    self._bytes_out += length
            elif kind == Kind.GAP:
                self._gap(Gap.parse(payload[at : at + length]), side)
            elif kind == Kind.NOTE:
                self._note(channel, payload[at : at + length])
            at += length
            self._events_in += 1
            self.time_us = block_us + delta

    def _gap(self, gap: Gap, side: int) -> None:
        self._skipped += gap.size
        if side == Side.TARGET:
            self._bytes_out += gap.size

    def _note(self, channel: int, payload: bytes) -> None:
        if b"channel_opened" in payload:
            note = parse_json(payload)
            if note.get("event") == "channel_opened":
                self._kinds[channel] = str(note.get("kind", ""))
        elif b"channel_confirmed" in payload and parse_json(payload).get("event") == "channel_confirmed":
            self._channels += 1
            self._opaque += self._kinds.get(channel) != "session"

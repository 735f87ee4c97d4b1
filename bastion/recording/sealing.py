"""An unfinished recording, ended by another process than the one that began it (L2).

A process that dies leaves files without an end block. They play to the last whole block as they are; `seal` gives them
the end that their writer could not: what is behind the last whole block is cut off, a note says why the session ended,
and the end block has the sums of what is in the file. Blocks: call it in a thread.

Invariants: nothing of a file that another process still writes is touched (the writer's lock), nor of one in which
blocks are damaged; whole blocks stay as they are, byte for byte; a file that has an end block keeps it.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bastion.recording.format import (
    EVENT_HEAD,
    EVENT_HEAD_SIZE,
    BlockType,
    FormatError,
    Header,
    Kind,
    Recorded,
    Totals,
    encode_block,
    encode_json,
)
from bastion.recording.reader import Reader
from bastion.sides import Side


@dataclass(frozen=True, slots=True)
class Sealed:
    """What became of one file of now `size` bytes. `problem` says why it could not be ended, "" when it has an end."""

    header: Header
    totals: Totals | None
    problem: str = ""
    size: int = 0


def seal(path: Path, reason: str, text: str) -> Sealed:
    """End the file with `reason` and `text`."""
    unknown = Header.unknown(path.stem)
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return Sealed(unknown, None, f"cannot be opened: {error.strerror}")
    with os.fdopen(fd, "rb", buffering=1 << 16) as source:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return _seal(source, path.stem, reason, text)
        except BlockingIOError:
            return Sealed(unknown, None, "is still being written")
        except FormatError as error:
            return Sealed(unknown, None, error.text)
        except OSError as error:
            return Sealed(unknown, None, f"cannot be ended: {error.strerror}")


def _seal(source: BinaryIO, session: str, reason: str, text: str) -> Sealed:
    reader = Reader(source, session)
    tail = reader.tail()
    if tail.totals is not None:
        return Sealed(reader.header, tail.totals, size=os.fstat(source.fileno()).st_size)
    sums = _Sums()
    for event in reader:
        sums.add(event)
    if reader.damage:
        return Sealed(reader.header, None, reader.damage[0].text)
    assert reader.torn_at is not None
    note = encode_json({"event": "session_ended", "reason": reason, "text": text})
    head = EVENT_HEAD.pack(Kind.NOTE, Side.TARGET, 0, 0, 0, len(note))
    size = EVENT_HEAD_SIZE + len(note)
    totals = Totals(
        reason=reason,
        ended_at=reader.header.started_at + sums.time_us / 1e6,
        duration_us=sums.time_us,
        blocks=reader.blocks + 2,
        events=sums.events + 1,
        channels=sums.channels,
        bytes_in=max(0, tail.seen - sums.bytes_out),
        bytes_out=sums.bytes_out,
        skipped=sums.skipped,
        opaque=sums.opaque,
    )
    document = encode_json(totals.document())
    blocks = [
        *encode_block(
            reader.sync, BlockType.EVENTS, reader.blocks, sums.time_us, tail.seen, [head, note], size
        ),
        *encode_block(
            reader.sync, BlockType.END, reader.blocks + 1, sums.time_us, tail.seen, [document], len(document)
        ),
    ]
    os.ftruncate(source.fileno(), reader.torn_at)
    written = b"".join(blocks)
    if os.write(source.fileno(), written) != len(written):
        os.ftruncate(source.fileno(), reader.torn_at)
        return Sealed(reader.header, None, "the disk is full")
    os.fdatasync(source.fileno())
    return Sealed(reader.header, totals, size=reader.torn_at + len(written))


class _Sums:
    """What the events of a file add up to. What engineers typed is seldom kept: its bytes are what is left of all."""

    def __init__(self) -> None:
        self._kinds: dict[int, str] = {}
        self.time_us = 0  # of the last event
        self.events = self.channels = self.bytes_out = self.skipped = self.opaque = 0

    def add(self, event: Recorded) -> None:
        self.events += 1
        self.time_us = max(self.time_us, event.time_us)
        if event.kind is Kind.DATA:
            if event.side is Side.TARGET:
                self.bytes_out += len(event.payload)
        elif event.kind is Kind.GAP:
            self.skipped += event.gap.size
            if event.side is Side.TARGET:
                self.bytes_out += event.gap.size
        elif event.kind is Kind.NOTE:
            self._note(event)

    def _note(self, event: Recorded) -> None:
        note = event.note
        name = note.get("event")
        if name == "channel_opened":
            self._kinds[event.channel] = str(note.get("kind", ""))
        elif name == "channel_confirmed":
            self.channels += 1
            self.opaque += self._kinds.get(event.channel) != "session"

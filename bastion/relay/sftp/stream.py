"""One direction of an sftp channel, cut into packets as the bytes pass (draft-ietf-secsh-filexfer-02 section 3).

A packet is a head, which is looked at, and a body, which only passes: file data, directory listings, texts.
`measure` says how long the head is, in steps, from what is there. A head that lies whole in the bytes at hand
is read in place; one that is spread over messages is collected in `held`. Invariants: nothing but a head is
ever copied or kept, so `held` never exceeds `HEAD_LIMIT`; a fault is a `ProtocolError`, whatever the bytes.
"""

from __future__ import annotations

from struct import Struct
from typing import Protocol

from bastion.errors import ProtocolError

Bytes = bytes | memoryview

FIRST = 9
"""Bytes that every packet has: length, type, id (INIT and VERSION_REPLY: the version)."""

HEAD_LIMIT = 16 * 1024
"""Bytes of a head: two paths of PATH_MAX and what stands around them, twice over."""

PACKET_LIMIT = 16 << 20
"""Bytes of a packet. OpenSSH takes 256 KiB and asyncssh 4 MiB; nothing is kept of it, so this only tells
sftp from what is something else."""

_LENGTH_TYPE = Struct(">IB").unpack_from


class Sink(Protocol):
    """What the packets of one direction are told to."""

    def measure(self, data: Bytes, at: int, there: int, total: int, kind: int) -> int:
        """How many bytes of this packet of `total` bytes are its head, as far as the `there` bytes from
        `at` on say. A result above `there` means: ask again when so many are there.
        """
        ...

    def head(self, data: Bytes, at: int, size: int, total: int, kind: int) -> None:
        """The head stands in `data[at : at + size]`; `total - size` bytes of body follow."""
        ...

    def body(self, data: Bytes) -> None:
        """The next bytes of the body."""
        ...


class PacketStream:
    """Cuts one direction. `left` bytes of the current packet's body are still to come.

    `boundary` is where the last packet boundary stands in the data that was fed last: 0 before its first
    byte, its length behind its last, -1 when there is none in it.
    """

    __slots__ = ("_wanted", "boundary", "held", "left", "sink")

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.held = bytearray()
        self._wanted = FIRST  # so many bytes of the head are needed before the next question
        self.left = 0
        self.boundary = 0

    @property
    def between(self) -> bool:
        """True when everything fed so far is whole packets."""
        return not self.left and not self.held

    def feed(self, data: Bytes) -> None:
        """The next bytes. Raises `ProtocolError`; the stream is not to be used after it."""
        at, end = 0, len(data)
        self.boundary = 0 if not self.left and not self.held else -1
        while at < end:
            if self.left:
                taken = min(self.left, end - at)
                self.left -= taken
                self.sink.body(data if taken == end else data[at : at + taken])
                at += taken
            elif self.held:
                at = self._complete(data, at, end)
            else:
                at = self._begin(data, at, end)
            if not self.left and not self.held:
                self.boundary = at

    def _begin(self, data: Bytes, at: int, end: int) -> int:
        """A packet begins at `at`; returns how far it was read."""
        there = end - at
        if there < FIRST:
            self.held += data[at:end]
            self._wanted = FIRST
            return end
        length, kind = _LENGTH_TYPE(data, at)
        total = _checked(length)
        size = _fitting(self.sink.measure(data, at, there, total, kind), total)
        if size > there:
            self.held += data[at:end]
            self._wanted = size
            return end
        self.left = total - size
        self.sink.head(data, at, size, total, kind)
        return at + size

    def _complete(self, data: Bytes, at: int, end: int) -> int:
        """A head began in earlier bytes; returns how far it was read."""
        held = self.held
        while True:
            lack = self._wanted - len(held)
            held += data[at : at + lack]
            at += min(lack, end - at)
            if len(held) < self._wanted:
                return at
            whole = bytes(held)
            length, kind = _LENGTH_TYPE(whole, 0)
            total = _checked(length)
            size = _fitting(self.sink.measure(whole, 0, len(whole), total, kind), total)
            if size <= len(whole):
                break
            self._wanted = size
        held.clear()
        self.left = total - size
        self.sink.head(whole, 0, size, total, kind)
        return at


def _fitting(size: int, total: int) -> int:
    """`size`, unless the head would be longer than its packet."""
    if size > total:
        raise ProtocolError("sftp: a packet is truncated")
    return size


def _checked(length: int) -> int:
    """Bytes of the whole packet, its length field included."""
    if not FIRST <= length + 4 <= PACKET_LIMIT:
        raise ProtocolError("sftp: a packet has an impossible length")
    return length + 4

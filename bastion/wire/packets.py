"""The binary packet protocol (RFC 4253 section 6): bytes of one direction to payloads and back.

Invariants: a packet is opened straight out of the caller's buffer, and only the bytes of an unfinished packet
are kept; after NEWKEYS nothing is opened until `switch`; after one corrupt packet every call fails the same
way. Nothing here does I/O or takes time.

Padding is the least the block size allows, and zeros. RFC 4253 section 6 says padding SHOULD be random. It is
not secret, every suite we speak hides or authenticates it, and a getrandom per packet is the costliest step of
a keystroke. It is never taken from the other leg: that would be a channel that no recorder sees.
"""

from __future__ import annotations

from collections.abc import Sequence

from bastion.errors import ProtocolError
from bastion.wire.ciphers import (
    PACKET_LIMIT,
    DirectionKeys,
    Doomed,
    GcmSealer,
    NoneOpener,
    NoneSealer,
    Opener,
    Sealer,
    corrupt,
    make_opener,
    make_sealer,
)
from bastion.wire.numbers import MSG_NEWKEYS

PAYLOAD_LIMIT = PACKET_LIMIT - 20
"""Longest payload in bytes, in and out: with its padding it fits a packet of every suite, so that what was
read from one leg can always be sealed for the other."""

BACKLOG_LIMIT = 2 * 1024 * 1024
"""Bytes kept between calls. One packet (256 KiB) and two of the largest reads (512 KiB) while a caller stops
early or waits for keys; more means that the caller did not stop reading."""

PACKETS_PER_KEYS = 1 << 32
"""Packets under one set of keys: beyond, the sequence number, and with it chacha20's nonce, would come again
(RFC 4344 section 3.1). The rekey limits of the transport are far below."""

BURST_FROM = 8 * 1024
"""Payload bytes from which a burst is sealed in a `BurstBuffer`; below, the views would cost more than the copies."""

BURST_LIMIT = 1024 * 1024
"""Bytes on the wire that a `BurstBuffer` holds: the largest read (512 KiB), one packet that was kept from the
reads before (256 KiB), and as much as a key exchange may hold back (256 KiB). A longer burst is sealed by copying."""

_SEQUENCE_MASK = 0xFFFFFFFF
_ZEROS = bytes(512)
_UNLIMITED = 1 << 62


class BurstBuffer:
    """Where large bursts are sealed, one packet behind the other, without a copy of any after it.

    Shared by all writers whose bursts are sent in the call in which they are sealed. One writer that carries
    another's bursts (an outer connection and its inner ones) needs another buffer.
    """

    __slots__ = ("plain", "wire")

    def __init__(self) -> None:
        self.plain = memoryview(bytearray(PACKET_LIMIT))
        self.wire = memoryview(bytearray(BURST_LIMIT))


class PacketWriter:
    """Seals the payloads of one direction.

    `sequence` is the number of the next packet; `bytes_since_kex` counts bytes on the wire and
    `packets_since_kex` packets, both since the last `switch`.
    """

    __slots__ = ("_into", "_sealer", "bytes_since_kex", "packets_since_kex", "sequence")

    def __init__(self) -> None:
        self.sequence = 0
        self.bytes_since_kex = 0
        self.packets_since_kex = 0
        self._sealer: Sealer = NoneSealer()
        self._into: GcmSealer | None = None  # the same one, when it can

    def switch(self, keys: DirectionKeys, reset_sequence: bool = False) -> None:
        """Use `keys` from the next packet on: right after our NEWKEYS. Strict kex resets `sequence`."""
        self._sealer = sealer = make_sealer(keys)
        self._into = sealer if isinstance(sealer, GcmSealer) else None
        self.bytes_since_kex = self.packets_since_kex = 0
        if reset_sequence:  # OpenSSH PROTOCOL 1.10
            self.sequence = 0

    def seal(self, payloads: Sequence[bytes], pad_to: int = 0) -> bytes:
        """The bytes on the wire for one burst, in order.

        `pad_to` (a multiple of 16, at most 128) rounds packets up to it, to hide how long a password is.
        ValueError for an empty or too long payload: our fault, and the writer is of no use afterwards.
        """
        if self.packets_since_kex + len(payloads) > PACKETS_PER_KEYS:
            raise ProtocolError("too many packets without a key exchange")
        sealer, sequence = self._sealer, self.sequence
        block, covers = sealer.block_size, sealer.covers_length
        parts: list[bytes] = []
        for payload in payloads:
            size = len(payload)
            if not 0 < size <= PAYLOAD_LIMIT:
                raise ValueError("payload is empty or too long")
            # RFC 4253 section 6: at least 4 bytes of padding, up to a multiple of the block size
            padding = block - (size + 1 + covers) % block
            if padding < 4:
                padding += block
            if pad_to:
                padding += -(size + 1 + covers + padding) % pad_to
            parts.append(sealer.seal(sequence, b"%c%b%b" % (padding, payload, _ZEROS[:padding])))
            sequence = (sequence + 1) & _SEQUENCE_MASK
        self.sequence = sequence
        self.packets_since_kex += len(parts)
        wire = parts[0] if len(parts) == 1 else b"".join(parts)
        self.bytes_since_kex += len(wire)
        return wire

    def seal_burst(self, payloads: Sequence[bytes], buffer: BurstBuffer | None) -> bytes | memoryview:
        """As `seal`, for data on its way through: a view of `buffer` where that is faster.

        The view is good until anybody seals into `buffer` again: it must be sent, or copied, before.
        """
        sealer = self._into
        if sealer is None or buffer is None:
            return self.seal(payloads)
        size = len(payloads[0]) if len(payloads) == 1 else sum(map(len, payloads))
        if size < BURST_FROM:
            return self.seal(payloads)
        block, overhead = sealer.block_size, sealer.overhead
        longest = size + len(payloads) * (overhead + block + 4)
        if longest > BURST_LIMIT or self.packets_since_kex + len(payloads) > PACKETS_PER_KEYS:
            return self.seal(payloads)
        plain, wire, seal_into = buffer.plain, buffer.wire, sealer.seal_into
        sequence, at, same, whole = self.sequence, 0, -1, 0
        for payload in payloads:
            size = len(payload)
            if size != same:  # bulk comes in packets of one size: then only the payload changes
                if not 0 < size <= PAYLOAD_LIMIT:
                    raise ValueError("payload is empty or too long")
                padding = block - (size + 1) % block
                if padding < 4:
                    padding += block
                same, whole = size, 1 + size + padding
                place, packet = plain[1 : 1 + size], plain[:whole]
                packet[0] = padding
                packet[1 + size :] = _ZEROS[:padding]
                whole += overhead
            place[:] = payload
            seal_into(sequence, packet, wire[at : at + whole])
            at += whole
            sequence = (sequence + 1) & _SEQUENCE_MASK
        self.sequence = sequence
        self.packets_since_kex += len(payloads)
        self.bytes_since_kex += at
        return wire[:at]


class PacketReader:
    """Opens the packets of one direction. Give it bytes with `feed`, then take payloads with `packets`.

    `sequence` is the number of the next packet to be opened (that of payload i of a list of n, for
    UNIMPLEMENTED, is `sequence - n + i` modulo 2^32); the counters are as in `PacketWriter`.
    """

    __slots__ = (
        "_at",
        "_awaiting_keys",
        "_drowning",
        "_failed",
        "_fresh",
        "_kept",
        "_kept_at",
        "_opener",
        "_size",
        "_stopped",
        "bytes_since_kex",
        "packets_since_kex",
        "sequence",
    )

    def __init__(self) -> None:
        self.sequence = 0
        self.bytes_since_kex = 0
        self.packets_since_kex = 0
        self._opener: Opener = NoneOpener()
        self._fresh: memoryview | None = None  # what `feed` brought, not ours; `_at` is where to go on in it
        self._at = 0
        self._kept = bytearray()  # what came before it; `_kept_at` is where to go on in it
        self._kept_at = 0
        self._size = 0  # bytes of the packet that comes next, 0 while unknown
        self._stopped = False
        self._awaiting_keys = False  # NEWKEYS was taken: `packets` gives nothing until `switch`
        self._drowning = 0  # bytes to take and throw away before a corrupt packet is answered
        self._failed = False

    @property
    def buffered(self) -> int:
        """Bytes held that belong to no payload yet."""
        fresh = len(self._fresh) - self._at if self._fresh is not None else 0
        return len(self._kept) - self._kept_at + fresh

    @property
    def pending(self) -> bool:
        """Whether another call of `packets` without `feed` may give something, or raise."""
        return self._failed or (self._stopped and not self._awaiting_keys and self.buffered > 0)

    def switch(self, keys: DirectionKeys, reset_sequence: bool = False) -> None:
        """Use `keys` for what follows the peer's NEWKEYS. Strict kex resets the sequence number."""
        self._opener = make_opener(keys)
        self.bytes_since_kex = self.packets_since_kex = 0
        self._awaiting_keys = False
        if reset_sequence:  # OpenSSH PROTOCOL 1.10
            self.sequence = 0

    def feed(self, data: bytes | memoryview) -> None:
        """Take bytes from the wire. A memoryview must stay unchanged until `packets`, or `keep`, returns."""
        if self._failed:
            return
        if self._fresh is not None:
            self._keep()
        self._fresh = memoryview(data)
        self._at = 0

    def packets(self, limit_bytes: int = 0, keep: bool = True) -> list[bytes]:
        """The payloads that are complete, in order; at most one beyond `limit_bytes` of them (0: all).

        Without `keep` what is left stays in the caller's buffer: call again while `pending`, and `keep` in the end.
        Stops after a NEWKEYS. Raises `ProtocolError` for a corrupt packet; what was good before it is
        returned first, so that the outcome does not depend on how the bytes were cut into reads.
        """
        if self._failed:
            raise corrupt()
        payloads: list[bytes] = []
        if not self._awaiting_keys:
            self._stopped = self._drowning > 0
            budget = limit_bytes or _UNLIMITED
            try:
                if self._kept:
                    budget = self._open_kept(payloads, budget)
                if self._fresh is not None and not self._kept and not self._stopped:
                    self._at, budget = self._open_from(
                        self._fresh, self._at, len(self._fresh), payloads, budget
                    )
                if self._drowning:
                    self._drown()
            except ProtocolError:
                self._fail()
                if not payloads:
                    raise
                return payloads
        if keep and self._fresh is not None:
            self._keep()
        return payloads

    def keep(self) -> None:
        """Copy what is left in the caller's buffer, which is to be used again."""
        if self._fresh is not None:
            self._keep()

    def _drown(self) -> None:
        """Throw away what has come after a doomed packet began; the error when it is enough."""
        self._drowning -= self.buffered
        self._fresh = None
        self._kept = bytearray()
        self._kept_at = 0
        self._stopped = True
        if self._drowning <= 0:
            raise corrupt()

    def _fail(self) -> None:
        self._failed = True
        self._fresh = None
        self._kept = bytearray()
        self._kept_at = 0

    def _keep(self) -> None:
        """Copy what is left of the caller's buffer, once."""
        fresh, self._fresh = self._fresh, None
        if fresh is None or self._at == len(fresh):
            return
        if len(self._kept) - self._kept_at + len(fresh) - self._at > BACKLOG_LIMIT:
            self._fail()
            raise ProtocolError("too many bytes wait to be opened")
        self._compact()
        self._kept += fresh[self._at :]

    def _compact(self) -> None:
        if self._kept_at:
            del self._kept[: self._kept_at]
            self._kept_at = 0

    def _open_kept(self, payloads: list[bytes], budget: int) -> int:
        """Open what was kept, completing the last packet with just the bytes it lacks."""
        while not self._stopped:
            needed = self._size or self._opener.header_size
            missing = needed - (len(self._kept) - self._kept_at)
            if missing > 0:
                if self._fresh is None:
                    break
                self._compact()
                piece = self._fresh[self._at : self._at + missing]
                self._kept += piece
                self._at += len(piece)
                if len(piece) < missing:
                    break
            with memoryview(self._kept) as view:
                self._kept_at, budget = self._open_from(view, self._kept_at, len(view), payloads, budget)
            if self._kept_at == len(self._kept):
                self._kept = bytearray()
                self._kept_at = 0
                break
        return budget

    def _open_from(
        self, view: memoryview, at: int, end: int, payloads: list[bytes], budget: int
    ) -> tuple[int, int]:
        """Open whole packets of `view` from `at`; returns where to go on and the budget left."""
        opener, sequence, size, start, count = self._opener, self.sequence, self._size, at, len(payloads)
        header_size, measure, open_packet = opener.header_size, opener.measure, opener.open
        try:
            while True:
                if not size:
                    if end - at < header_size:
                        break
                    size = measure(sequence, view, at)
                if end - at < size:
                    break
                payload = open_packet(sequence, view, at, size)
                at += size
                size = 0
                sequence = (sequence + 1) & _SEQUENCE_MASK
                if len(payload) > PAYLOAD_LIMIT:
                    raise corrupt()
                payloads.append(payload)
                budget -= len(payload)
                if payload[0] == MSG_NEWKEYS:
                    self._stopped = self._awaiting_keys = True
                    break
                if budget <= 0:
                    self._stopped = True
                    break
        except Doomed as doomed:
            self._drowning = doomed.size
            self._stopped = True
        finally:
            self.sequence = sequence
            self._size = size
            self.bytes_since_kex += at - start
            self.packets_since_kex += len(payloads) - count
        if self.packets_since_kex > PACKETS_PER_KEYS:
            raise ProtocolError("too many packets without a key exchange")
        return at, budget

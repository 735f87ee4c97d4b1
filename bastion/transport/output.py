"""The outgoing half of a connection: seals bursts, holds them back during a key exchange, counts what stays.

Invariants: between our KEXINIT and our NEWKEYS only messages 1-4 and 20-49 leave (RFC 4253 section 7.1), what
else is sent waits in order and is never dropped; every byte that waits, here or in the transport below, is
under a named limit; `blocked` is true exactly while something waits that the source should not add to.
"""

from __future__ import annotations

from bastion.clock import DelayedCall, Timers
from bastion.errors import LimitReason
from bastion.transport.byte_stream import ByteTransport
from bastion.transport.owner import Owner
from bastion.transport.settings import (
    KEX_QUEUE_LIMIT,
    KEX_QUEUE_PAUSE,
    OUTPUT_LIMIT,
    OUTPUT_LIMIT_BEFORE_AUTH,
    QUEUED_OVERHEAD,
    TransportSettings,
)
from bastion.transport.stalls import Stalls
from bastion.wire.ciphers import DirectionKeys
from bastion.wire.packets import BurstBuffer, PacketWriter


class _Queue:
    """What a key exchange holds back."""

    __slots__ = ("pad_to", "payloads", "size")

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.size = 0
        self.pad_to = 0  # what they must be padded to when they leave: a secret is among them


class Output:
    """One per connection. `write` order is the order on the wire."""

    __slots__ = (
        "_below",
        "_buffer",
        "_clock",
        "_corked",
        "_full",
        "_limit",
        "_owner",
        "_queue",
        "_settings",
        "_stall_mark",
        "_stall_timer",
        "_stalled",
        "_stalled_at",
        "_stalls",
        "_unread",
        "bytes_sent",
        "writer",
    )

    def __init__(
        self,
        owner: Owner,
        settings: TransportSettings,
        clock: Timers,
        writer: PacketWriter | None,
        stalls: Stalls,
    ) -> None:
        """`stalls` hears when the peer takes nothing, and when it does again."""
        self.writer = writer or PacketWriter()
        self._stalls = stalls
        self.bytes_sent = 0
        self._owner: Owner | None = owner
        self._settings = settings
        self._clock = clock
        self._below: ByteTransport | None = None
        self._buffer: BurstBuffer | None = None  # where the transport below lets large bursts be sealed
        self._limit = OUTPUT_LIMIT_BEFORE_AUTH
        self._corked: list[bytes] | None = None  # None: what is written leaves at once
        self._queue: _Queue | None = None  # None: no key exchange holds messages back
        self._full = False  # the queue asked the source to stop
        self._stalled = False  # the transport below did
        self._unread = 0  # bytes written since then
        self._stall_timer: DelayedCall | None = None
        self._stall_mark = 0  # what the transport below had got rid of at `_stalled_at`
        self._stalled_at = 0.0

    def attach(self, below: ByteTransport) -> None:
        """Begin: `below` is connected."""
        self._below = below
        self._buffer = getattr(below, "burst_buffer", None)
        below.registerProducer(self, True)

    def detach(self) -> None:
        """End: nothing is written after this, nobody is told anything."""
        self.uncork()
        if self._stalled:
            self._stalls.end(self._waiting, self._clock.seconds())
        below, self._below = self._below, None
        self._owner = None
        self._queue = None
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
        if below is not None:
            below.unregisterProducer()

    @property
    def blocked(self) -> bool:
        """Something waits that the source should not add to."""
        return self._stalled or self._full

    def _waiting(self) -> int:
        """Bytes that the kernel has not taken, and those that a key exchange holds back."""
        held = 0 if self._queue is None else self._queue.size
        return held + getattr(self._below, "queued", self._unread)

    def trust(self) -> None:
        """The peer is authenticated: the larger limit holds from now on."""
        self._limit = OUTPUT_LIMIT

    # -- writing ---------------------------------------------------------------------------------------

    def send(self, payloads: list[bytes], pad_to: int = 0) -> None:
        """Send messages in order, one write; while a key exchange holds them back they wait.

        `pad_to` hides how long they are (`PacketWriter.seal`).
        """
        queue = self._queue
        if queue is None:
            if pad_to:
                self.write(self.writer.seal(payloads, pad_to))
            else:
                self.write(self.writer.seal_burst(payloads, self._buffer))
            return
        queue.pad_to = queue.pad_to or pad_to
        queue.payloads += payloads
        queue.size += sum(map(len, payloads)) + len(payloads) * QUEUED_OVERHEAD
        if queue.size > KEX_QUEUE_LIMIT:
            if self._owner is not None:
                self._owner.give_up("too much waits for the key exchange", LimitReason.KEX_QUEUE)
        elif queue.size > KEX_QUEUE_PAUSE and not self._full:
            self._full = True
            if not self._stalled and self._owner is not None:
                self._owner.writable(False)

    def send_now(self, payload: bytes) -> None:
        """Send one message that a key exchange does not hold back (1-4, 20-49)."""
        self.write(self.writer.seal((payload,)))

    def cork(self) -> None:
        """Collect what is written until `uncork`, which writes it at once: in the handshake one read makes up
        to three messages, and each write of its own wakes the peer."""
        if self._corked is None:
            self._corked = []

    def uncork(self) -> None:
        """Write what was collected."""
        collected, self._corked = self._corked, None
        if collected:
            self.write(b"".join(collected))

    def write(self, data: bytes | memoryview) -> None:
        """Put bytes on the wire. A view is not kept."""
        below = self._below
        if below is None:
            return
        if self._corked is not None:
            self._corked.append(bytes(data))
            return
        size = len(data)
        if self._stalled and self._unread + size + QUEUED_OVERHEAD > self._limit:
            if self._owner is not None:
                self._owner.give_up("the peer does not read its answers", LimitReason.WRITE_STALL)
            return
        self.bytes_sent += size
        below.write(data)
        if self._stalled:
            self._unread += size + QUEUED_OVERHEAD

    def hold(self) -> None:
        """Our KEXINIT went out: hold back what may not follow it (RFC 4253 section 7.1)."""
        if self._queue is None:
            self._queue = _Queue()

    def release(self, keys: DirectionKeys, reset_sequence: bool, first: list[bytes]) -> None:
        """Our NEWKEYS went out: use `keys`, send `first`, then all that waited."""
        self.writer.switch(keys, reset_sequence)
        queue, self._queue = self._queue or _Queue(), None
        payloads = first + queue.payloads
        if payloads:
            self.write(self.writer.seal(payloads, queue.pad_to))
        was_full, self._full = self._full, False
        if was_full and not self._stalled and self._owner is not None:
            self._owner.writable(True)

    # -- the transport's push producer: what the kernel does not take ------------------------------------

    def pauseProducing(self) -> None:
        """The transport below queues."""
        if self._stalled:
            return
        self._stalled = True
        self._unread = 0
        self._stalled_at = self._clock.seconds()
        self._stalls.begin(self._waiting, self._stalled_at)
        self._stall_mark = getattr(self._below, "bytes_taken", 0)
        if self._stall_timer is None and self._settings.write_stall:
            # One timer at most: it looks when it fires, it is not moved at each burst of a bulk transfer.
            self._stall_timer = self._clock.callLater(self._settings.write_stall, self._stall_due)
        if not self._full and self._owner is not None:
            self._owner.writable(False)

    def resumeProducing(self) -> None:
        """The transport below has written all it had."""
        if not self._stalled:
            return
        self._stalled = False
        self._stalls.end(self._waiting, self._clock.seconds())
        self._unread = 0
        if not self._full and self._owner is not None:
            self._owner.writable(True)

    def stopProducing(self) -> None:
        """The connection is gone; connectionLost says so too."""

    def _stall_due(self) -> None:
        self._stall_timer = None
        if not self._stalled or self._owner is None:
            return
        taken, now = getattr(self._below, "bytes_taken", 0), self._clock.seconds()
        if taken != self._stall_mark:
            self._stall_mark, self._stalled_at = taken, now
        wait = self._stalled_at + self._settings.write_stall - now
        if wait > 0:
            self._stall_timer = self._clock.callLater(wait, self._stall_due)
        else:
            self._owner.give_up("the peer reads nothing", LimitReason.WRITE_STALL)

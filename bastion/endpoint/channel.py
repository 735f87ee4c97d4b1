"""One channel of an outer connection, or through a hop, as a byte transport: what SSH or a tunnel runs on.

"The client" is whoever is at the other end; through a hop (`endpoint.hop`) that is the hop.

Inwards: bytes are handed up once for each read of the connection, and the client gets credit for them only when
the owner reads on; while it does not (`pauseProducing`), what the window still lets in is kept. Outwards: what
the client's window or the connection does not take waits here, and the registered producer is paused at the
first byte that waits.

Invariants: never more than `window_size` bytes are kept for an owner that does not read; no data goes out that
the client has not allowed; after CLOSE nothing goes out; the owner hears `connectionLost` exactly once.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.python.failure import Failure

from bastion.endpoint.limits import CREDIT_SHARE, HAND_UP, JOIN_BELOW, MAX_PACKET, QUEUE_LIMIT, SEND_PACKET
from bastion.endpoint.link import ChannelOwner, Link, Producer
from bastion.errors import ProtocolError
from bastion.wire import messages as m
from bastion.wire.numbers import EXTENDED_DATA_STDERR, MSG_CHANNEL_DATA
from bastion.wire.packets import BurstBuffer

_UINT32_MAX: Final = 0xFFFFFFFF
# message number, recipient, length of the data: RFC 4254 section 5.2
_HEAD = struct.Struct(">BII").pack


class OuterChannel:
    """Opened by the client; see the module. `number` is ours, `peer` the client's."""

    __slots__ = (
        "_arrived",
        "_close_in",
        "_close_out",
        "_close_wanted",
        "_eof_delivered",
        "_eof_in",
        "_eof_out",
        "_eof_wanted",
        "_handed",
        "_kept",
        "_link",
        "_owner",
        "_paused",
        "_peer_packet",
        "_peer_window",
        "_producer",
        "_producer_paused",
        "_queue",
        "_used",
        "_window",
        "bytes_taken",
        "confirmed",
        "kind",
        "number",
        "on_request",
        "peer",
        "queued",
        "window_size",
    )

    burst_buffer = BurstBuffer()  # not the sockets': what is sealed here is carried, and sealed again, by one

    def __init__(
        self, link: Link, kind: str, number: int, peer: int, peer_window: int, peer_packet: int, window: int
    ) -> None:
        self.kind = kind
        self.number = number
        self.on_request: Callable[[str, bytes], bool] | None = None
        self.bytes_taken = 0  # that went to the client: by these a slow one is told from a stopped one
        self.window_size = window
        self._link: Link | None = link
        self._owner: ChannelOwner | None = None
        self.peer = peer
        # inwards
        self._window = window  # what the client may still send
        self._used = 0  # handed up since credit was last given
        self._arrived: list[bytes | memoryview] = []  # of this read
        self._kept = bytearray()  # for an owner that does not read
        self._handed = 0  # bytes handed up to it all the same, before it paused: it has them still
        self._paused = False
        self._eof_in = False
        self._eof_delivered = False
        self._close_in = False
        # outwards
        self._peer_window = peer_window
        self._peer_packet = min(peer_packet, SEND_PACKET)
        # None while nothing waits, because an empty deque is 0.7 KiB
        self._queue: deque[memoryview] | None = None
        self._producer: Producer | None = None
        self._producer_paused = False
        self.queued = 0
        self.confirmed = False
        self._eof_wanted = False
        self._eof_out = False
        self._close_wanted = False
        self._close_out = False

    # -- the answer to the open --------------------------------------------------------------------------

    def attach(self, owner: ChannelOwner) -> None:
        """`owner` gets what comes, and hears of the end. May be called before `confirm`."""
        self._owner = owner

    def confirm(self) -> None:
        """Grant the channel (RFC 4254 section 5.1)."""
        if self._link is None or self.confirmed:
            return
        self.confirmed = True
        self._link.send(
            [m.ChannelOpenConfirmation(self.peer, self.number, self.window_size, MAX_PACKET).encode()]
        )

    def refuse(self, code: int, text: str) -> None:
        """Refuse the channel; the owner is not told."""
        link = self._link
        if link is None or self.confirmed:
            return
        self._owner = None
        link.send([m.ChannelOpenFailure(self.peer, code, text).encode()])
        self._end(link)

    @property
    def open(self) -> bool:
        """Granted, and neither side has closed it."""
        return self.confirmed and self._link is not None and not self._close_out and not self._close_in

    # -- from the connection: data in ----------------------------------------------------------------------

    def take_data(self, payload: bytes) -> bool:
        """One CHANNEL_DATA whose head was checked. True when it is the first of this read: call `deliver`."""
        size = len(payload) - 9
        self._check_data(size)
        if self._close_out:
            return False  # it was under way when we closed
        self._arrived.append(memoryview(payload)[9:])
        return len(self._arrived) == 1

    def swallow(self, size: int) -> None:
        """Extended data: a client has no such stream here. Dropped, and the credit given back."""
        self._check_data(size)
        if not self._close_out:
            self._credit(size)

    def _check_data(self, size: int) -> None:
        if self._eof_in or self._close_in:
            raise ProtocolError("CHANNEL_DATA after EOF")
        if size > MAX_PACKET:
            raise ProtocolError("CHANNEL_DATA is longer than the maximum packet size")
        left = self._window - size
        if left < 0:
            raise ProtocolError("CHANNEL_DATA overruns the window")
        self._window = left

    def deliver(self) -> None:
        """Hand up what this read brought, in one piece."""
        arrived = self._arrived
        if not arrived:
            return
        data = bytes(arrived[0]) if len(arrived) == 1 else b"".join(arrived)
        arrived.clear()
        if self._paused or self._kept:
            self._kept += data
            self._keep(len(data))
        else:
            self._hand_up(data)

    def _keep(self, size: int) -> None:
        """Count what the client has sent and nobody has used; beyond what its engineer may hold the channel ends."""
        link = self._link
        if link is None:
            return
        link.kept += size
        if size < 0:
            link.ease()
        elif link.overfull:
            self.abortConnection()

    def _drop_kept(self) -> None:
        gone = len(self._kept) + self._handed
        self._kept.clear()
        self._handed = 0
        if gone:
            self._keep(-gone)

    def _hand_up(self, data: bytes) -> None:
        if self._owner is not None:
            try:
                self._owner.dataReceived(data)
            except Exception:
                self._broke("serving a channel")
                return
        if self._paused:
            self._used += len(data)  # credit waits until the owner reads on
            if self._link is not None and not self._close_out:
                self._handed += len(data)
                self._keep(len(data))
        else:
            self._credit(len(data))

    def _credit(self, size: int) -> None:
        """Let the client send what was used up, when it is worth a message."""
        self._used += size
        if self._used * CREDIT_SHARE < self.window_size or self._close_out or self._eof_in or not self._link:
            return
        used, self._used = self._used, 0
        self._window += used
        self._link.send([m.WindowAdjust(self.peer, used).encode()])

    def pauseProducing(self) -> None:
        """The owner does not read: no more credit."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The owner reads again: what was kept comes first, then credit, then an end that has come meanwhile."""
        self._paused = False
        if self._handed:
            handed, self._handed = self._handed, 0
            self._keep(-handed)
        if self._kept:
            if self._link is not None:
                self._link.resume_soon(self.number)
        else:
            self._credit(0)

    def hand_up_kept(self) -> bool:
        """Some of what was kept. True when there is more and the owner still reads."""
        if self._paused:
            return False
        data = bytes(self._kept[:HAND_UP])
        del self._kept[:HAND_UP]
        self._keep(-len(data))
        if data:
            self._hand_up(data)
        self._look_for_end()
        return bool(self._kept) and not self._paused

    def stopProducing(self) -> None:
        """Twisted's word for closing what is read from."""
        self.loseConnection()

    # -- from the connection: the rest -----------------------------------------------------------------------

    def take_adjust(self, size: int) -> None:
        """More window from the client."""
        if self._close_in:
            raise ProtocolError("CHANNEL_WINDOW_ADJUST after CLOSE")
        # RFC 4254 section 5.2: the window MUST NOT be increased above 2^32 - 1 bytes.
        if self._peer_window + size > _UINT32_MAX:
            raise ProtocolError("CHANNEL_WINDOW_ADJUST overflows the window")
        self._peer_window += size
        if self._queue and self._link is not None:
            self._link.wait(self.number)

    def take_eof(self) -> None:
        if self._eof_in or self._close_in:
            raise ProtocolError("CHANNEL_EOF twice")
        self._eof_in = True
        self._look_for_end()

    def take_close(self) -> None:
        """The client is done with the channel; what it sent before still reaches the owner."""
        if self._close_in:
            raise ProtocolError("CHANNEL_CLOSE twice")
        self._close_in = True
        self._drop_queue()
        if self._owner is None or not self._kept:
            self._close_now(ConnectionDone())

    def take_request(self, request: m.ChannelRequest) -> None:
        """Answer one request about the channel (RFC 4254 section 5.4), in the order in which they come."""
        if self._close_in:
            raise ProtocolError("CHANNEL_REQUEST after CLOSE")
        granted = False
        if self.on_request is not None and not self._close_out:
            try:
                granted = self.on_request(request.name, request.body)
            except ProtocolError:
                raise
            except Exception:
                self._broke("answering a request")
        if request.want_reply and not self._close_out and self._link is not None:
            answer = m.ChannelSuccess if granted else m.ChannelFailure
            self._link.send([answer(self.peer).encode()])

    def _look_for_end(self) -> None:
        """EOF and CLOSE of the client count once everything before them was handed up."""
        if self._kept or self._owner is None:
            return
        if self._close_in:
            self._close_now(ConnectionDone())
        elif self._eof_in and not self._close_out:
            half = getattr(self._owner, "readConnectionLost", None)
            if half is None:
                self._close_now(ConnectionDone())
            elif not self._eof_delivered:
                self._eof_delivered = True
                half()

    def lose(self, reason: Failure) -> None:
        """The connection is gone, and the channel with it."""
        self._link = None
        self._arrived.clear()
        self._kept.clear()
        self._drop_queue()
        self._tell(reason)

    # -- data out --------------------------------------------------------------------------------------------

    def write(self, data: bytes | memoryview) -> None:
        """Send, or queue a copy of what the client does not take yet."""
        link = self._link
        if link is None or not data or not self.confirmed or self._eof_wanted or self._close_in:
            return
        view = memoryview(data)
        # In pieces, because the connection may block in between; behind a queue nothing may overtake.
        while view and not self._queue and self._peer_window and not link.blocked:
            view = view[self._send(link, view, HAND_UP) :]
        if not view:
            return
        self._count_queued(len(view))
        self._put(view)
        if self.queued > QUEUE_LIMIT or link.overfull:
            self.abortConnection()
            return
        if self._peer_window:
            link.wait(self.number)
        if self._producer is not None and not self._producer_paused:
            self._producer_paused = True
            self._producer.pauseProducing()

    def _put(self, view: memoryview) -> None:
        """Queue a copy of `view`. The first piece is left as it is: `pump` may be sending it."""
        queue = self._queue
        if queue is None:
            queue = self._queue = deque()
        if len(queue) > 1 and len(queue[-1]) + len(view) <= JOIN_BELOW:
            queue[-1] = memoryview(b"".join((queue[-1], view)))
        else:
            queue.append(memoryview(bytes(view)))

    def _send(self, link: Link, view: memoryview, limit: int) -> int:
        """Send as much of `view` as the client's window takes; how much that was."""
        size = min(len(view), self._peer_window, limit)
        if not size:
            return 0
        step, peer = self._peer_packet, self.peer
        payloads = []
        for at in range(0, size, step):
            length = min(step, size - at)
            payloads.append(b"".join((_HEAD(MSG_CHANNEL_DATA, peer, length), view[at : at + length])))
        self._peer_window -= size
        self.bytes_taken += size
        link.send(payloads)
        return size

    def pump(self, limit: int) -> bool:
        """Send up to `limit` queued bytes. True when there is more that the client's window would take."""
        queue = self._queue
        while queue and limit > 0 and self._peer_window and self._link is not None and not self._link.blocked:
            view = queue[0]
            sent = self._send(self._link, view, limit)
            limit -= sent
            self._count_queued(-sent)
            if sent == len(view):
                queue.popleft()
            else:
                queue[0] = view[sent:]
        if queue:
            return bool(self._peer_window)
        self._queue = None
        self._emptied()
        return False

    def _emptied(self) -> None:
        """Nothing waits: say EOF or CLOSE when that was waiting, else let the producer go on."""
        if self._close_wanted:
            self._close_now(ConnectionDone())
        elif self._eof_wanted:
            self._send_eof()
        elif self._producer_paused and self._producer is not None:
            self._producer_paused = False
            self._producer.resumeProducing()

    def _drop_queue(self) -> None:
        self._queue = None
        self._count_queued(-self.queued)

    def _count_queued(self, more: int) -> None:
        self.queued += more
        link = self._link
        if link is not None:
            link.queued += more
            if more < 0:
                link.ease()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """`producer` is paused while something waits here. Push producers only."""
        if not streaming:
            raise ValueError("only push producers")
        self._producer = producer
        self._producer_paused = False
        if self._queue:
            self._producer_paused = True
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        self._producer = None
        self._producer_paused = False

    def send_request(self, name: str, body: bytes = b"") -> None:
        """A request of ours that wants no reply, such as exit-status. Order with queued data is not kept."""
        if self._link is not None and self.confirmed and not self._close_out:
            self._link.send([m.ChannelRequest(self.peer, name, False, body).encode()])

    def write_error(self, data: bytes) -> None:
        """A few words on standard error, as many as the client takes at once. Order with queued data is not kept."""
        size = min(len(data), self._peer_window, self._peer_packet)
        if size and self._link is not None and self.confirmed and not self._eof_wanted:
            self._peer_window -= size
            self._link.send([m.ExtendedData(self.peer, EXTENDED_DATA_STDERR, data[:size]).encode()])

    # -- endings ---------------------------------------------------------------------------------------------

    def loseWriteConnection(self) -> None:
        """EOF after what waits."""
        self._eof_wanted = True
        if not self._queue:
            self._send_eof()

    def loseConnection(self) -> None:
        """EOF and CLOSE after what waits."""
        self._eof_wanted = self._close_wanted = True
        if not self._queue:
            self._close_now(ConnectionDone())

    def abortConnection(self) -> None:
        """CLOSE now."""
        self._drop_queue()
        self._close_now(ConnectionAborted())

    def _send_eof(self) -> None:
        if self._link is not None and self.confirmed and not self._eof_out and not self._close_out:
            self._eof_out = True
            self._link.send([m.Eof(self.peer).encode()])

    def _close_now(self, why: Exception) -> None:
        """Say CLOSE if that was not said, tell the owner; the numbers are free once both sides said it."""
        link = self._link
        if link is None:
            return
        if not self.confirmed:
            self.refuse(4, "the gateway gave up on it")  # RFC 4254 section 5.1: resource shortage
        else:
            if not self._close_in:
                self._send_eof()
            self._eof_wanted = True
            if not self._close_out:
                self._close_out = True
                link.send([m.Close(self.peer).encode()])
            self._arrived.clear()
            self._drop_kept()
            self._drop_queue()
            if self._close_in:
                self._end(link)
        self._tell(Failure(why))  # type: ignore[no-untyped-call]

    def _end(self, link: Link) -> None:
        self._link = None
        link.forget(self.number)

    def _tell(self, reason: Failure) -> None:
        owner, self._owner = self._owner, None
        self.on_request = None
        self.unregisterProducer()
        if owner is None:
            return
        try:
            owner.connectionLost(reason)
        except Exception:
            self._log("ending a channel")

    def _broke(self, doing: str) -> None:
        """A fault of ours in what uses this channel: it ends, the others live on."""
        self._log(doing)
        self.abortConnection()

    def _log(self, doing: str) -> None:
        if self._link is not None:
            self._link.failed(doing)

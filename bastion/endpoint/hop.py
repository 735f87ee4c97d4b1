"""The connection protocol towards a hop: one channel that we open, and what it carries (RFC 4254, as its client).

A hop is a target that the gateway goes on from. On a connection of its own for each session there is exactly one
`direct-tcpip` channel, and on that the next SSH transport runs. It is the same channel as an engineer's outer
connection has (`endpoint.channel`); only who opens it differs.

Hops are hostile too. Invariants: nothing is granted to a hop, whatever it asks for; what answers nothing, is not
allowed or comes too often ends the connection; back-pressure is the socket's, so that what waits here is one read at
most, inwards, and the channel's own `QUEUE_LIMIT` outwards; when the channel is over the connection is, and the other
way round.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion.clock import DelayedCall, Timers
from bastion.endpoint.channel import OuterChannel
from bastion.endpoint.limits import HOP_NOISE, HOP_WINDOW, MAX_PACKET, PUMP
from bastion.endpoint.link import ChannelOwner
from bastion.errors import ProtocolError, Refused, UpstreamReason
from bastion.policy.roads import MAX_HOPS
from bastion.relay.limits import MIN_PACKET
from bastion.transport.byte_stream import BelowLost
from bastion.transport.packet_conn import PacketConn
from bastion.transport.settings import ClosedBy, CloseReason
from bastion.wire import numbers
from bastion.wire.forwards import TcpipOpen
from bastion.wire.messages import (
    ChannelOpen,
    ChannelOpenConfirmation,
    ChannelOpenFailure,
    ChannelRequest,
    Close,
    Eof,
    GlobalRequest,
    RequestFailure,
)
from bastion.wire.numbers import Disconnect, OpenFailure
from bastion.wire.packets import BurstBuffer
from bastion.wire.printable import quoted

_NUMBER: Final = 0  # our number of the one channel
_DATA_HEAD: Final = 9
_EXTENDED_HEAD: Final = 13
_TWO = struct.Struct(">II").unpack_from
_THREE = struct.Struct(">III").unpack_from

# What OpenSSH says for `ssh -W`: whoever opens is no socket, so there is no address to tell.
_ORIGIN: Final = ("127.0.0.1", 65535)

# One for each place on a road: what is sealed for a channel is sealed again below before the first is used up.
_BUFFERS: Final = tuple(BurstBuffer() for _ in range(MAX_HOPS))

_log = Logger(namespace="bastion.endpoint.hop")


class HopChannel(OuterChannel):
    """The channel, which holds up the socket below when its rider does not read: it has that for itself."""

    __slots__ = ("_socket", "burst_buffer")

    def __init__(
        self, hop: HopConnection, leg: PacketConn, granted: ChannelOpenConfirmation, buffer: BurstBuffer
    ) -> None:
        super().__init__(
            hop, "direct-tcpip", _NUMBER, granted.sender, granted.window, granted.max_packet, HOP_WINDOW
        )
        self._socket = leg
        self.burst_buffer = buffer
        self.confirmed = True

    def pauseProducing(self) -> None:
        """No more credit, and no more reads: what has been read stays here."""
        super().pauseProducing()
        self._socket.set_reading(False)

    def resumeProducing(self) -> None:
        super().resumeProducing()
        self._socket.set_reading(True)


class _Owner:
    """Hands the channel's bytes to its rider, and ends the hop with it."""

    __slots__ = ("_hop", "_rider", "dataReceived")

    def __init__(self, hop: HopConnection, rider: ChannelOwner) -> None:
        self._hop = hop
        self._rider: ChannelOwner | None = rider
        self.dataReceived: Callable[[bytes], None] = rider.dataReceived

    def connectionLost(self, reason: Failure) -> None:
        rider, self._rider = self._rider, None
        del self.dataReceived  # or the two would hold each other
        if rider is not None:
            rider.connectionLost(reason)
        self._hop.end()


class HopConnection:
    """One authenticated connection to a hop. `start` joins it to `leg`; `open` leads on, once; `end` closes it.

    It is the `Link` of its channel.
    """

    __slots__ = (
        "_began",
        "_buffer",
        "_channel",
        "_clock",
        "_fresh",
        "_leg",
        "_name",
        "_noise",
        "_opened",
        "_turn",
        "_waits",
        "fault",
        "kept",
        "queued",
    )

    def __init__(self, leg: PacketConn, clock: Timers, name: str, depth: int = 0) -> None:
        """`name` is the hop's in the inventory; `depth`: so many hops are between the gateway and this one."""
        self._leg: PacketConn | None = leg
        self._name = name
        self._buffer = _BUFFERS[depth]
        self._clock = clock
        self._began = clock.seconds()
        self._noise = 0
        self._opened: Deferred[HopChannel] | None = None
        self._channel: HopChannel | None = None
        self._fresh = False  # this read has brought data
        self._waits = False  # queued data could go, were the connection not blocked
        self._turn: DelayedCall | None = None
        self.queued = self.kept = 0
        self.fault: CloseReason | None = None
        """Why it is gone, when nobody here wanted that."""

    def start(self) -> None:
        """Hear of the leg."""
        leg = self._leg
        assert leg is not None
        leg.receiver, leg.on_closed, leg.on_writable = self.burst, self._lost, self._writable

    def open(self, host: str, port: int) -> Deferred[HopChannel]:
        """Ask for a connection to `host:port` from there; the channel, for `carry`, in the turn in which it is granted.

        Fails with Refused in words that go on after the hop's name. Cancelling it ends the hop.
        """
        opened = self._opened = Deferred(self._given_up)
        body = TcpipOpen(host, port, *_ORIGIN).encode()
        self.send([ChannelOpen("direct-tcpip", _NUMBER, HOP_WINDOW, MAX_PACKET, body).encode()])
        return opened

    def _given_up(self, _: object) -> None:
        self._opened = None
        self.end()

    def carry(self, rider: ChannelOwner) -> HopChannel:
        """The channel, whose bytes `rider` gets from here on; the two and the connection end together."""
        channel = self._channel
        assert channel is not None
        channel.attach(_Owner(self, rider))
        return channel

    # -- bytes in ----------------------------------------------------------------------------------------

    def burst(self, payloads: list[bytes]) -> None:
        """The connection messages of one read. Raises ProtocolError: then the transport disconnects."""
        for payload in payloads:
            if payload[0] == numbers.MSG_CHANNEL_DATA:
                self._data(payload)
            else:
                route = _ROUTES.get(payload[0])
                if route is None:
                    raise ProtocolError(f"{numbers.name_of(payload[0])} answers nothing that was asked")
                route(self, payload)
            if self._leg is None:
                return
        if self._fresh:
            self._deliver()
        if self._waits:
            self._pump()

    def _data(self, payload: bytes) -> None:
        if len(payload) < _DATA_HEAD:
            raise ProtocolError("CHANNEL_DATA is truncated")
        number, size = _TWO(payload, 1)
        channel = self._find(number, numbers.MSG_CHANNEL_DATA)
        if size != len(payload) - _DATA_HEAD:
            raise ProtocolError("CHANNEL_DATA has a length that is not its own")
        if not size:
            self._unasked()
        if channel.take_data(payload):
            self._fresh = True

    def _deliver(self) -> None:
        """The rider gets what this read has brought in one piece."""
        self._fresh = False
        if self._channel is not None:
            self._channel.deliver()

    def _find(self, number: int, message: int) -> HopChannel:
        channel = self._channel
        if channel is None or number != _NUMBER:
            raise ProtocolError(f"{numbers.name_of(message)} for an unknown channel")
        return channel

    def _extended_data(self, payload: bytes) -> None:
        if len(payload) < _EXTENDED_HEAD:
            raise ProtocolError("CHANNEL_EXTENDED_DATA is truncated")
        number, _, size = _THREE(payload, 1)
        channel = self._find(number, numbers.MSG_CHANNEL_EXTENDED_DATA)
        if size != len(payload) - _EXTENDED_HEAD:
            raise ProtocolError("CHANNEL_EXTENDED_DATA has a length that is not its own")
        self._unasked()
        channel.swallow(size)

    def _window_adjust(self, payload: bytes) -> None:
        if len(payload) != 9:
            raise ProtocolError("CHANNEL_WINDOW_ADJUST is of the wrong size")
        number, size = _TWO(payload, 1)
        self._find(number, numbers.MSG_CHANNEL_WINDOW_ADJUST).take_adjust(size)

    def _eof(self, payload: bytes) -> None:
        channel = self._find(Eof.parse(payload).recipient, numbers.MSG_CHANNEL_EOF)
        self._deliver()
        channel.take_eof()

    def _close(self, payload: bytes) -> None:
        channel = self._find(Close.parse(payload).recipient, numbers.MSG_CHANNEL_CLOSE)
        self._deliver()
        channel.take_close()

    def _request(self, payload: bytes) -> None:
        request = ChannelRequest.parse(payload)
        channel = self._find(request.recipient, numbers.MSG_CHANNEL_REQUEST)
        self._unasked()
        channel.take_request(request)

    # -- the answer to our open --------------------------------------------------------------------------

    def _confirmed(self, payload: bytes) -> None:
        granted = ChannelOpenConfirmation.parse(payload)
        opened = self._answered(granted.recipient)
        leg = self._leg
        assert leg is not None
        if granted.max_packet < MIN_PACKET:
            # 0 could be sent nothing, and one byte at a time is work for nothing.
            raise ProtocolError(f"CHANNEL_OPEN_CONFIRMATION with a maximum packet size below {MIN_PACKET}")
        self._channel = HopChannel(self, leg, granted, self._buffer)
        opened.callback(self._channel)

    def _refused(self, payload: bytes) -> None:
        refusal = ChannelOpenFailure.parse(payload)
        opened = self._answered(refusal.recipient)
        said = f": {quoted(refusal.text)}" if refusal.text else ""
        if refusal.code == OpenFailure.CONNECT_FAILED:
            opened.errback(Refused(UpstreamReason.UNREACHABLE, f"it cannot connect to the next one{said}"))
        else:
            text = f"it does not let the gateway go on from there{said}"
            opened.errback(Refused(UpstreamReason.HOP_REFUSED, text))

    def _answered(self, recipient: int) -> Deferred[HopChannel]:
        """Whoever waits for the answer, which comes once."""
        opened, self._opened = self._opened, None
        if opened is None or recipient != _NUMBER:
            raise ProtocolError("an answer to an open that was not asked for")
        return opened

    # -- what a hop has no business with ------------------------------------------------------------------

    def _unasked(self) -> None:
        """One message that a hop of good faith sends now and then, such as a keepalive. Raises ProtocolError."""
        self._noise += 1
        if self._noise > HOP_NOISE + self._clock.seconds() - self._began:
            raise ProtocolError("too many requests that lead nowhere")

    def _open(self, payload: bytes) -> None:
        message = ChannelOpen.parse(payload)
        self._unasked()
        text = "nothing leads through the gateway from here"
        code = OpenFailure.ADMINISTRATIVELY_PROHIBITED
        self.send([ChannelOpenFailure(message.sender, code, text).encode()])

    def _global_request(self, payload: bytes) -> None:
        """None is granted; OpenSSH's keepalive takes that for the answer that it is."""
        request = GlobalRequest.parse(payload)
        self._unasked()
        if request.want_reply:
            self.send([RequestFailure().encode()])

    # -- what the channel uses: a Link ---------------------------------------------------------------------

    @property
    def blocked(self) -> bool:
        return self._leg is None or self._leg.blocked

    @property
    def overfull(self) -> bool:
        """There is one channel, and it has limits of its own."""
        return False

    def ease(self) -> None:
        """Nobody is charged here for what waits."""

    def send(self, payloads: list[bytes]) -> None:
        if self._leg is not None:
            self._leg.send(payloads)

    def wait(self, number: int) -> None:
        self._waits = True

    def _writable(self, yes: bool) -> None:
        if yes and self._waits:
            self._pump()

    def _pump(self) -> None:
        """Send what is queued, as far as the hop's window and the connection go."""
        channel, self._waits = self._channel, False
        while channel is not None and not self.blocked:
            if not channel.pump(PUMP):
                return
        self._waits = channel is not None

    def resume_soon(self, number: int) -> None:
        if self._turn is None:
            self._turn = self._clock.callLater(0, self._resume)

    def _resume(self) -> None:
        self._turn = None
        if self._channel is not None and self._channel.hand_up_kept():
            self.resume_soon(_NUMBER)

    def forget(self, number: int) -> None:
        """Both sides have closed the channel; its owner is told next, and ends the rest."""
        self._channel = None

    def failed(self, doing: str) -> None:
        _log.failure("{doing} failed", doing=doing)

    # -- the end -------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Nothing goes through it any more."""
        leg = self._leg
        if leg is not None:
            self._leg = None
            leg.disconnect(Disconnect.BY_APPLICATION, "nothing goes through it any more")

    def _lost(self, reason: CloseReason) -> None:
        """The connection is over: what it carries is, too."""
        if self._leg is not None:
            self._leg, self.fault = None, reason
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        opened, self._opened = self._opened, None
        channel, self._channel = self._channel, None
        if opened is not None:
            opened.errback(Refused(UpstreamReason.CLOSED, "it closed the connection"))
        if channel is not None:
            # What the network says in words is that a hop before this one is gone.
            said = reason.text if reason.by is ClosedBy.NETWORK else ""
            channel.lose(Failure(BelowLost(said or f"its hop {self._name} is gone")))  # type: ignore[no-untyped-call]


_ROUTES: Mapping[int, Callable[[HopConnection, bytes], None]] = {
    numbers.MSG_GLOBAL_REQUEST: HopConnection._global_request,
    numbers.MSG_CHANNEL_OPEN: HopConnection._open,
    numbers.MSG_CHANNEL_OPEN_CONFIRMATION: HopConnection._confirmed,
    numbers.MSG_CHANNEL_OPEN_FAILURE: HopConnection._refused,
    numbers.MSG_CHANNEL_WINDOW_ADJUST: HopConnection._window_adjust,
    numbers.MSG_CHANNEL_EXTENDED_DATA: HopConnection._extended_data,
    numbers.MSG_CHANNEL_EOF: HopConnection._eof,
    numbers.MSG_CHANNEL_CLOSE: HopConnection._close,
    numbers.MSG_CHANNEL_REQUEST: HopConnection._request,
}
"""Message number -> what takes it; CHANNEL_DATA goes before. What is missing answers nothing that was asked."""

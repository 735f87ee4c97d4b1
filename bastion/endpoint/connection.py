"""The outer connection: an endpoint of the connection protocol (RFC 4254), where the relay is a pass-through.

It receives the messages of an authenticated front transport whose user named no target. It has channels of its own,
with bounded windows; a channel whose far side is slow gets no credit, and the socket is read on, so that one slow
inner session does not stall the others. What a channel leads to is the `ChannelRouter`'s.

Invariants: a message about a channel that was not granted, data beyond a window or after EOF, and an answer to
what was not asked, end the connection; everything that waits is bounded, per channel and in number of channels;
what the channels say while one read is looked at leaves in one burst.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion.auth.budget import Hold
from bastion.clock import DelayedCall, Timers
from bastion.endpoint.channel import OuterChannel
from bastion.endpoint.limits import (
    ASKED_LIMIT,
    CORKED_LIMIT,
    HOLD_SIZE,
    MAX_CHANNELS,
    NARROW_WINDOW,
    PUMP,
    QUEUED_LIMIT,
    WIDE_CHANNELS,
    WIDE_WINDOW,
)
from bastion.errors import PolicyReason, ProtocolError
from bastion.relay.limits import MIN_PACKET
from bastion.relay.passlist import HOSTKEYS_PROVE
from bastion.transport.packet_conn import PacketConn
from bastion.wire import numbers
from bastion.wire.forwards import TcpipOpen
from bastion.wire.messages import (
    ChannelOpen,
    ChannelOpenFailure,
    ChannelRequest,
    Close,
    Eof,
    GlobalRequest,
    RequestFailure,
    RequestSuccess,
)
from bastion.wire.numbers import OpenFailure
from bastion.wire.requests import CHANNEL_OPENS, GLOBAL_REQUESTS, Body, Detail, parse_body

_DATA_HEAD: Final = 9
_EXTENDED_HEAD: Final = 13
_TWO = struct.Struct(">II").unpack_from
_THREE = struct.Struct(">III").unpack_from


class ChannelRouter(Protocol):
    """Decides what a channel leads to (`doors.outer`): by `channel.confirm` or `channel.refuse`, now or later."""

    def open_session(self, channel: OuterChannel) -> None: ...

    def open_direct_tcpip(self, channel: OuterChannel, place: TcpipOpen, first: bool) -> None:
        """`first`: its open was the first message of all that the client said on this connection."""
        ...

    def hold(self, size: int) -> Hold | None:
        """Hold `size` bytes of memory for what waits; None, written down, when the engineer may not."""
        ...

    def refused(self, what: str, name: str, reason: PolicyReason, text: str, detail: Detail) -> None:
        """The endpoint itself said no: `what` is "channel" or "request". For audit log and meters."""
        ...


_log = Logger(namespace="bastion.endpoint.connection")


class OuterConnection:
    """One authenticated connection as an endpoint. `start` joins it to `leg`, `lost` ends it."""

    __slots__ = (
        "_asked",
        "_channels",
        "_clock",
        "_corked",
        "_corked_size",
        "_free",
        "_fresh",
        "_holds",
        "_leg",
        "_next",
        "_peers",
        "_prove",
        "_resuming",
        "_router",
        "_spoken",
        "_turn",
        "_waiting",
        "_wide",
        "heard",
        "kept",
        "no_more_sessions",
        "queued",
    )

    def __init__(self, leg: PacketConn, router: ChannelRouter, clock: Timers) -> None:
        self._leg: PacketConn | None = leg
        self._router: ChannelRouter | None = router
        self._clock = clock
        self._channels: dict[int, OuterChannel] = {}
        self._peers: dict[int, OuterChannel] = {}  # by the client's number
        self._next = 0
        self._free: list[int] = []
        self._wide = 0
        self._spoken = (
            False  # the client has said something: opens and global requests are all it can begin with
        )
        self.no_more_sessions = False  # it has said that it opens no session any more
        self._prove: Callable[[bytes], bytes] | None = None
        self._asked: list[Callable[[], None]] = []
        self._corked: list[bytes] | None = None
        self._corked_size = 0
        self._fresh: list[OuterChannel] = []  # with data of this read
        self._waiting: dict[int, None] = {}  # channels with queued data that could go, in their turn
        self._resuming: dict[int, None] = {}
        self._turn: DelayedCall | None = None
        self.queued = 0  # bytes that wait in all channels for the client's windows
        self.kept = 0  # bytes of the client's that owners have not used
        self._holds: list[Hold] = []  # what its engineer holds for the two, in pieces of HOLD_SIZE
        self.heard = 0  # reads with connection messages: what a keepalive timer looks at

    def start(self) -> None:
        """Hear of the leg's back-pressure. The caller sets `leg.receiver` to `burst`."""
        assert self._leg is not None
        self._leg.on_writable = self._writable

    def tell_host_keys(self, message: bytes, prove: Callable[[bytes], bytes]) -> None:
        """Tell the client of our host keys; `prove` answers the body of its one question, empty for none."""
        self._prove = prove
        self.send([message])

    def __len__(self) -> int:
        """Channels that take a number: granted and not closed by both sides, or waiting for their answer."""
        return len(self._channels)

    # -- bytes in ----------------------------------------------------------------------------------------

    def burst(self, payloads: list[bytes]) -> None:
        """The connection messages of one read. Raises ProtocolError: then the transport disconnects."""
        if self._router is None:
            return
        self.heard += 1
        self._corked = []
        try:
            for payload in payloads:
                if payload[0] == numbers.MSG_CHANNEL_DATA:
                    self._data(payload)
                else:
                    route = _ROUTES.get(payload[0])
                    if route is None:
                        name = numbers.name_of(payload[0])
                        raise ProtocolError(f"{name} answers nothing that was asked")
                    route(self, payload)
                if self._leg is None:
                    return
            self._deliver_fresh()
        finally:
            self._fresh.clear()
            self._uncork()
        if self._waiting:
            self._pump_waiting()

    def _data(self, payload: bytes) -> None:
        if len(payload) < _DATA_HEAD:
            raise ProtocolError("CHANNEL_DATA is truncated")
        number, size = _TWO(payload, 1)
        channel = self._channels.get(number)
        if channel is None or not channel.confirmed:
            raise ProtocolError("CHANNEL_DATA for an unknown channel")
        if size != len(payload) - _DATA_HEAD:
            raise ProtocolError("CHANNEL_DATA has a length that is not its own")
        if channel.take_data(payload):
            self._fresh.append(channel)

    def _extended_data(self, payload: bytes) -> None:
        if len(payload) < _EXTENDED_HEAD:
            raise ProtocolError("CHANNEL_EXTENDED_DATA is truncated")
        number, _, size = _THREE(payload, 1)
        channel = self._find(number, numbers.MSG_CHANNEL_EXTENDED_DATA)
        if size != len(payload) - _EXTENDED_HEAD:
            raise ProtocolError("CHANNEL_EXTENDED_DATA has a length that is not its own")
        channel.swallow(size)

    def _window_adjust(self, payload: bytes) -> None:
        if len(payload) != 9:
            raise ProtocolError("CHANNEL_WINDOW_ADJUST is of the wrong size")
        number, size = _TWO(payload, 1)
        self._find(number, numbers.MSG_CHANNEL_WINDOW_ADJUST).take_adjust(size)

    def _deliver_fresh(self) -> None:
        """Each channel gets what this read brought for it in one piece."""
        fresh = self._fresh
        while fresh and self._leg is not None:
            fresh.pop(0).deliver()

    def _find(self, number: int, message: int) -> OuterChannel:
        channel = self._channels.get(number)
        if channel is None or not channel.confirmed:
            raise ProtocolError(f"{numbers.name_of(message)} for an unknown channel")
        return channel

    def _eof(self, payload: bytes) -> None:
        channel = self._find(Eof.parse(payload).recipient, numbers.MSG_CHANNEL_EOF)
        channel.deliver()
        channel.take_eof()

    def _close(self, payload: bytes) -> None:
        channel = self._find(Close.parse(payload).recipient, numbers.MSG_CHANNEL_CLOSE)
        channel.deliver()
        channel.take_close()

    def _request(self, payload: bytes) -> None:
        request = ChannelRequest.parse(payload)
        channel = self._find(request.recipient, numbers.MSG_CHANNEL_REQUEST)
        channel.deliver()
        channel.take_request(request)

    # -- opens -------------------------------------------------------------------------------------------

    def _open(self, payload: bytes) -> None:
        message = ChannelOpen.parse(payload)
        first, self._spoken = not self._spoken, True
        if message.sender in self._peers:
            raise ProtocolError("channel number is taken")
        if message.max_packet == 0:
            # Nothing can be sent in packets of no bytes; stock Conch loops for ever (docs/security.md, C7).
            raise ProtocolError("CHANNEL_OPEN with a maximum packet size of 0")
        body = parse_body(CHANNEL_OPENS, message.kind, message.body)
        reason, code, text = self._objection(message)
        if text:
            self._refuse(message, reason, code, text, body.detail() if body is not None else {})
            return
        channel = self._make_channel(message)
        assert self._router is not None
        try:
            if isinstance(body, TcpipOpen):
                self._router.open_direct_tcpip(channel, body, first)
            else:
                self._router.open_session(channel)
        except Exception:
            self.failed("opening a channel")
            channel.abortConnection()

    def _objection(self, message: ChannelOpen) -> tuple[PolicyReason, int, str]:
        """Why the endpoint itself refuses a channel; the text is empty when it does not."""
        kind = message.kind
        if kind not in ("session", "direct-tcpip"):
            if kind in CHANNEL_OPENS:
                text = "this connection leads to no target: log in to one"
                return PolicyReason.VERB_NOT_ALLOWED, OpenFailure.ADMINISTRATIVELY_PROHIBITED, text
            text = "channel type is not known here"
            return PolicyReason.UNKNOWN_CHANNEL_TYPE, OpenFailure.UNKNOWN_CHANNEL_TYPE, text
        if kind == "session" and self.no_more_sessions:
            # OpenSSH PROTOCOL section 2.2: after no-more-sessions, session opens are refused.
            text = "no more sessions, as the client asked"
            return PolicyReason.VERB_NOT_ALLOWED, OpenFailure.ADMINISTRATIVELY_PROHIBITED, text
        if message.max_packet < MIN_PACKET:
            text = f"maximum packet size is below {MIN_PACKET} bytes"
            return PolicyReason.CHANNEL_LIMIT, OpenFailure.RESOURCE_SHORTAGE, text
        if len(self._channels) >= MAX_CHANNELS:
            text = f"no more than {MAX_CHANNELS} channels per connection"
            return PolicyReason.CHANNEL_LIMIT, OpenFailure.RESOURCE_SHORTAGE, text
        return PolicyReason.ALLOWED, 0, ""

    def _make_channel(self, message: ChannelOpen) -> OuterChannel:
        if self._free:
            number = self._free.pop()
        else:
            number, self._next = self._next, self._next + 1
        wide = self._wide < WIDE_CHANNELS
        self._wide += wide
        window = WIDE_WINDOW if wide else NARROW_WINDOW
        channel = OuterChannel(
            self, message.kind, number, message.sender, message.window, message.max_packet, window
        )
        self._channels[number] = self._peers[message.sender] = channel
        return channel

    def _refuse(
        self, message: ChannelOpen, reason: PolicyReason, code: int, text: str, detail: Detail
    ) -> None:
        assert self._router is not None
        self._router.refused("channel", message.kind, reason, text, detail)
        self.send([ChannelOpenFailure(message.sender, code, text).encode()])

    # -- global requests ---------------------------------------------------------------------------------

    def _global_request(self, payload: bytes) -> None:
        """Nothing is granted here: nothing is ever bound on the gateway (RFC 4254 section 7.1)."""
        request = GlobalRequest.parse(payload)
        if request.name == HOSTKEYS_PROVE and self._prove is not None and request.want_reply:
            prove, self._prove = self._prove, None
            self.send([prove(request.body) or RequestFailure().encode()])
            return
        self._spoken = True
        body = parse_body(GLOBAL_REQUESTS, request.name, request.body)
        if request.name == "no-more-sessions@openssh.com":
            self.no_more_sessions = True
        elif request.name != "keepalive@openssh.com":
            self._refuse_request(request.name, body)
        if request.want_reply:
            # OpenSSH's sshd answers keepalive@openssh.com with a failure too: it is an answer, that is enough.
            self.send([RequestFailure().encode()])

    def _refuse_request(self, name: str, body: Body | None) -> None:
        assert self._router is not None
        if body is None:
            reason, text = PolicyReason.UNKNOWN_REQUEST, "request is not known here"
        else:
            reason, text = PolicyReason.VERB_NOT_ALLOWED, "nothing is bound on the gateway"
        self._router.refused("request", name, reason, text, body.detail() if body is not None else {})

    def ask_alive(self, answered: Callable[[], None]) -> bool:
        """Ask the client whether it lives. False when it owes too many answers already."""
        if self._leg is None or len(self._asked) >= ASKED_LIMIT:
            return False
        self._asked.append(answered)
        self.send([GlobalRequest("keepalive@openssh.com", True).encode()])
        return True

    def _answered(self, payload: bytes) -> None:
        if payload[0] == numbers.MSG_REQUEST_SUCCESS:
            RequestSuccess.parse(payload)
        else:
            RequestFailure.parse(payload)
        if not self._asked:
            raise ProtocolError("answer to a request that was not asked")
        self._spoken = True
        self._asked.pop(0)()

    # -- bytes out: what channels use ----------------------------------------------------------------------

    @property
    def blocked(self) -> bool:
        return self._leg is None or self._corked_size > CORKED_LIMIT or self._leg.blocked

    def send(self, payloads: list[bytes]) -> None:
        """In the middle of a read the messages wait for its end, to leave in one burst."""
        if self._corked is not None:
            self._corked += payloads
            self._corked_size += sum(map(len, payloads))
        elif self._leg is not None:
            self._leg.send(payloads)

    def _uncork(self) -> None:
        corked, self._corked = self._corked, None
        self._corked_size = 0
        if corked and self._leg is not None:
            self._leg.send(corked)

    @property
    def overfull(self) -> bool:
        return self.queued > QUEUED_LIMIT or not self._hold()

    def _hold(self) -> bool:
        """Account for what waits in all channels; False when its engineer may not hold so much."""
        while self.queued + self.kept > (1 + len(self._holds)) * HOLD_SIZE:
            hold = None if self._router is None else self._router.hold(HOLD_SIZE)
            if hold is None:
                return False
            self._holds.append(hold)
        return True

    def ease(self) -> None:
        """Give back what is not needed any more, except one piece: a channel that goes up and down costs nothing."""
        while self._holds and self.queued + self.kept < (len(self._holds) - 1) * HOLD_SIZE:
            self._holds.pop().release()

    def wait(self, number: int) -> None:
        self._waiting[number] = None

    def _writable(self, yes: bool) -> None:
        """The connection takes data again. When it blocks, `blocked` says so to every channel that wants to write."""
        if yes:
            self._pump_waiting()

    def _pump_waiting(self) -> None:
        """Channels with queued data take turns until the connection blocks again."""
        waiting = self._waiting
        while waiting and not self.blocked:
            number = next(iter(waiting))
            del waiting[number]
            if self._channels[number].pump(PUMP):
                waiting[number] = None

    def resume_soon(self, number: int) -> None:
        self._resuming[number] = None
        if self._turn is None:
            self._turn = self._clock.callLater(0, self._resume)

    def _resume(self) -> None:
        """Owners that read again get some of what was kept for them, in one burst."""
        self._turn = None
        resuming, self._resuming = self._resuming, {}
        self._corked = []
        try:
            for number in resuming:
                channel = self._channels.get(number)  # one may have ended another
                if self._leg is not None and channel is not None and channel.hand_up_kept():
                    self.resume_soon(number)
        finally:
            self._uncork()
        if self._waiting:
            self._pump_waiting()

    def forget(self, number: int) -> None:
        """Free both numbers."""
        channel = self._channels.pop(number, None)
        if channel is None:
            return
        del self._peers[channel.peer]
        self._free.append(number)
        self._wide -= channel.window_size == WIDE_WINDOW
        self._waiting.pop(number, None)
        self._resuming.pop(number, None)

    def failed(self, doing: str) -> None:
        _log.failure("{doing} failed", doing=doing)

    # -- the end -------------------------------------------------------------------------------------------

    def lost(self, reason: Failure) -> None:
        """The connection is over: every channel's owner hears of it."""
        self._leg = None
        self._router = None
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        channels = list(self._channels.values())
        for table in (self._channels, self._peers, self._waiting, self._resuming):
            table.clear()
        self._asked.clear()
        for hold in self._holds:
            hold.release()
        self._holds.clear()
        for channel in channels:
            channel.lose(reason)


_ROUTES: Mapping[int, Callable[[OuterConnection, bytes], None]] = {
    numbers.MSG_GLOBAL_REQUEST: OuterConnection._global_request,
    numbers.MSG_REQUEST_SUCCESS: OuterConnection._answered,
    numbers.MSG_REQUEST_FAILURE: OuterConnection._answered,
    numbers.MSG_CHANNEL_OPEN: OuterConnection._open,
    numbers.MSG_CHANNEL_WINDOW_ADJUST: OuterConnection._window_adjust,
    numbers.MSG_CHANNEL_EXTENDED_DATA: OuterConnection._extended_data,
    numbers.MSG_CHANNEL_EOF: OuterConnection._eof,
    numbers.MSG_CHANNEL_CLOSE: OuterConnection._close,
    numbers.MSG_CHANNEL_REQUEST: OuterConnection._request,
}
"""Message number -> what takes it; CHANNEL_DATA goes before. What is missing answers nothing that was asked."""

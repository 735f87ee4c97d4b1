"""Raw peers of the jump door: an engineer's outer connection, and SSH spoken by hand inside its channels.

`Outer` is a raw peer whose channels are `Pipe`s; an `Inner` is a raw peer over one of them. Both work over a socket
and in memory. A pipe keeps the rules of windows as a client should, until a test sets `adjusting` to False or sends
what it likes with `Outer.carry`.
"""

from __future__ import annotations

from typing import Any

from bastion.wire.data import Reader, string, uint32
from bastion.wire.numbers import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_OPEN_CONFIRMATION,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_WINDOW_ADJUST,
)
from tests.hostile import memory_gateway as gate
from tests.hostile.memory_gateway import MemoryGateway, Peer
from tests.hostile.rawssh import Closed
from tests.unit.transport.parts import FAST

ENGINEER = b"alice"
STDIO = (b"127.0.0.1", 65535)
"""What OpenSSH says of a channel that is its own standard input (`doors.jump.STDIO_MARKS`)."""
OPENSSH = b"SSH-2.0-OpenSSH_9.2"
NO_MORE_SESSIONS = b"\x50" + string(b"no-more-sessions@openssh.com") + b"\0"
"""What OpenSSH says after the open of its standard input, when it is no ControlMaster."""
PACKET = 32 * 1024


class Refused(Exception):
    """The gateway refused a channel; the text is its own."""


def open_tcpip(
    number: int,
    host: bytes = b"web1",
    port: int = 22,
    *,
    window: int = 1 << 20,
    packet: int = PACKET,
    origin: tuple[bytes, int] = STDIO,
) -> bytes:
    place = string(host) + uint32(port) + string(origin[0]) + uint32(origin[1])
    return b"\x5a" + string(b"direct-tcpip") + uint32(number) + uint32(window) + uint32(packet) + place


class Pipe:
    """One granted channel of an outer connection, as the wire of what is spoken inside."""

    def __init__(self, outer: Outer, number: int, theirs: int, room: int, window: int) -> None:
        self.outer = outer
        self.number = number
        self.theirs = theirs
        self.room = room
        self.window = self._given = window
        self.adjusting = True
        self.incoming = bytearray()
        self.ended = False  # EOF or CLOSE has come
        self.closed = False  # CLOSE has come
        self.left = False  # CLOSE was said
        self.transport: Any = None  # in memory: the gateway's side of the SSH inside

    # -- what the gateway says

    def hear(self, payload: bytes) -> None:
        number, body = payload[0], Reader(payload, 5)
        if number == MSG_CHANNEL_DATA:
            data = body.string()
            self.window -= len(data)
            assert self.window >= 0, "the gateway overran our window"
            self.incoming += data
        elif number == MSG_CHANNEL_WINDOW_ADJUST:
            self.room += body.uint32()
        elif number in (MSG_CHANNEL_EOF, MSG_CHANNEL_CLOSE):
            self.ended = True
            self.closed = self.closed or number == MSG_CHANNEL_CLOSE

    # -- rawssh.Wire

    def send(self, data: bytes) -> None:
        """As data of the channel, within the gateway's window."""
        while data:
            while not self.room and not self.ended:
                self.outer.put_aside()
            size = min(len(data), self.room, PACKET)
            if not size:
                return  # nobody is there any more
            self.room -= size
            self.outer.carry(gate.data(self.theirs, data[:size]))
            data = data[size:]

    def receive(self) -> bytes:
        try:
            while not self.incoming and not self.ended:
                self.outer.put_aside()
        except Closed:
            return b""
        data = bytes(self.incoming)
        self.incoming.clear()
        if self.adjusting and not self.ended and self.window * 2 < self._given:
            self.adjust(self._given - self.window)
        return data

    # -- what a test says

    def adjust(self, size: int) -> None:
        self.window += size
        self.outer.carry(b"\x5d" + uint32(self.theirs) + uint32(size))

    def eof(self) -> None:
        self.outer.carry(b"\x60" + uint32(self.theirs))

    def close(self) -> None:
        """Twice is once."""
        if not self.left:
            self.left = True
            self.outer.carry(b"\x61" + uint32(self.theirs))


class Outer(Peer):
    """An engineer's outer connection. What comes for its channels goes to them, the rest is read as ever."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.pipes: dict[int, Pipe] = {}

    def log_in(self, user: bytes = ENGINEER) -> Outer:
        gate.log_in(self, user)
        self.read_until(52)
        return self

    def carry(self, payload: bytes) -> None:
        """Send what belongs to a channel."""
        self.send(payload)

    def read(self) -> bytes:
        while True:
            payload = self._step()
            if payload:
                return payload

    def _step(self) -> bytes:
        """The next payload; b"" when it went to a channel."""
        payload = super().read()
        if MSG_CHANNEL_WINDOW_ADJUST <= payload[0] <= MSG_CHANNEL_CLOSE:
            pipe = self.pipes.get(Reader(payload, 1).uint32())
            if pipe is not None:
                pipe.hear(payload)
                return b""
        return payload

    def put_aside(self) -> None:
        """Read one payload; what is for no channel is read later. Raises Closed."""
        aside = []
        try:
            while True:
                payload = self._step()
                if not payload:
                    return
                aside.append(payload)
        finally:
            self.inbox.extendleft(reversed(aside))

    def dial(self, number: int | None = None, **place: Any) -> Pipe:
        """Open a direct-tcpip channel and wait for the answer. Raises Refused."""
        if number is None:
            number = max(self.pipes, default=-1) + 1
        self.send(open_tcpip(number, **place))
        return self.granted(number, place.get("window", 1 << 20))

    def granted(self, number: int, window: int = 1 << 20) -> Pipe:
        """The channel that was asked for as `number`."""
        while True:
            payload = self.read()
            if payload[0] not in (MSG_CHANNEL_OPEN_CONFIRMATION, MSG_CHANNEL_OPEN_FAILURE):
                continue
            body = Reader(payload, 1)
            assert body.uint32() == number
            if payload[0] == MSG_CHANNEL_OPEN_FAILURE:
                body.uint32()
                raise Refused(body.text())
            pipe = self.pipes[number] = Pipe(self, number, body.uint32(), body.uint32(), window)
            return pipe


class Inner(Peer):
    """SSH by hand inside a channel. The other side is gone once the channel is, or what carries it."""

    wire: Pipe

    @property
    def outer(self) -> Outer:
        return self.wire.outer

    @property
    def transport(self) -> Any:
        return self.wire.transport

    @property
    def gone(self) -> bool:
        below = self.transport.below
        return below is None or not below.open


def jump(gateway: MemoryGateway, outer: Outer, kind: type[Inner] = Inner, **place: Any) -> Inner:
    """An SSH connection to web1 inside `outer`, nothing said yet: in memory, with the gateway's side at hand."""
    algorithms = place.pop("algorithms", FAST)
    inner = kind(outer.dial(**place), algorithms=algorithms)
    inner.wire.transport = inner_transport(gateway, outer, inner.wire.number)
    return inner


def inner_transport(gateway: MemoryGateway, outer: Outer, number: int) -> Any:
    """The gateway's side of what runs inside channel `number`."""
    (doors,) = [one._outer for one in gateway.front.connections if one.transport is outer.transport]
    assert doors is not None
    inside: list[Any] = [one.transport for one in doors._jump._inner]
    (found,) = [transport for transport in inside if transport.below.peer == number]
    return found

"""Conversations with an outer connection, without sockets: a leg that can block, a door that keeps its channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.internet.task import Clock
from twisted.python.failure import Failure

from bastion.auth.budget import Budget, Hold, Work
from bastion.clock import FixedClock
from bastion.endpoint.channel import OuterChannel
from bastion.endpoint.connection import OuterConnection
from bastion.endpoint.limits import MAX_PACKET
from bastion.errors import PolicyReason, Refused
from bastion.wire import messages as m
from bastion.wire.body import Detail
from bastion.wire.forwards import TcpipOpen
from bastion.wire.requests import Empty
from tests.support.conns import MemoryConn
from tests.support.declared import parse_message


class Leg(MemoryConn):
    """The authenticated transport below."""

    def said(self) -> list[m.Message]:
        """Everything that was sent since the last call, in order."""
        found = [parse_message(payload) for burst in self.bursts for payload in burst]
        self.bursts.clear()
        self.sent.clear()
        return found


@dataclass
class Owner:
    """What a channel leads to. `pause_at` bytes it stops reading, as a session does whose target is slow."""

    channel: OuterChannel | None = None
    pieces: list[bytes] = field(default_factory=list)
    ended: list[Failure] = field(default_factory=list)
    pause_at: int | None = None
    fails: bool = False
    eofs: int = 0
    paused = 0
    resumed = 0

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)

    def dataReceived(self, data: bytes) -> None:
        if self.fails:
            raise RuntimeError("a fault in one channel")
        self.pieces.append(data)
        if self.pause_at is not None and len(self.data) >= self.pause_at and self.channel is not None:
            self.channel.pauseProducing()

    def connectionLost(self, reason: Failure) -> None:
        self.ended.append(reason)

    def pauseProducing(self) -> None:
        self.paused += 1

    def resumeProducing(self) -> None:
        self.resumed += 1


class HalfOwner(Owner):
    """One that goes on after the client's EOF."""

    def readConnectionLost(self) -> None:
        self.eofs += 1


@dataclass
class Door:
    """Keeps every channel that is opened; answers as told."""

    answer: Callable[[OuterChannel], None] | None = None
    opened: list[OuterChannel] = field(default_factory=list)
    places: list[TcpipOpen] = field(default_factory=list)
    budget: Budget = field(default_factory=lambda: Budget(FixedClock()))
    turned_away: list[tuple[str, str, PolicyReason]] = field(default_factory=list)

    def open_session(self, channel: OuterChannel) -> None:
        self.opened.append(channel)
        if self.answer is not None:
            self.answer(channel)

    def open_direct_tcpip(self, channel: OuterChannel, place: TcpipOpen, first: bool) -> None:
        self.places.append(place)
        self.open_session(channel)

    def hold(self, size: int) -> Hold | None:
        try:
            hold = self.budget.identity("alice").take(Work.BUFFERED, size)
        except Refused:
            return None
        return hold

    def refused(self, what: str, name: str, reason: PolicyReason, text: str, detail: Detail) -> None:
        self.turned_away.append((what, name, reason))


class Link:
    """The connection below one channel: keeps what is sent. `waits` and `resumes` count what the channel asks for."""

    channel: OuterChannel

    def __init__(self) -> None:
        self.sent: list[m.Message] = []
        self.queued = self.kept = 0
        self.overfull = self.blocked = self.gone = False
        self.waits = self.resumes = 0

    def ease(self) -> None:
        """Something that waited has gone."""

    def send(self, payloads: list[bytes]) -> None:
        self.sent += [parse_message(payload) for payload in payloads]

    def wait(self, number: int) -> None:
        self.waits += 1

    def resume_soon(self, number: int) -> None:
        self.resumes += 1
        while self.channel.hand_up_kept():
            pass

    def forget(self, number: int) -> None:
        self.gone = True

    def failed(self, doing: str) -> None:
        raise AssertionError(f"{doing} failed")

    def said(self) -> list[m.Message]:
        """Everything that was sent since the last call."""
        said, self.sent = self.sent, []
        return said


class Outer:
    """An outer connection with everything around it."""

    def __init__(self) -> None:
        self.leg = Leg()
        self.door = Door()
        self.clock = Clock()
        self.connection = OuterConnection(self.leg, self.door, self.clock)
        self.connection.start()

    def hear(self, *lines: m.Message | bytes) -> list[m.Message]:
        """One read from the client; what is said to it."""
        self.connection.burst([line if isinstance(line, bytes) else line.encode() for line in lines])
        return self.leg.said()

    def turn(self) -> list[m.Message]:
        """One turn of the reactor; what is said in it."""
        self.clock.advance(0)
        return self.leg.said()

    def channel(
        self, peer: int = 0, window: int = 2 << 20, packet: int = 32768, owner: Owner | None = None
    ) -> tuple[OuterChannel, Owner]:
        """A granted direct-tcpip channel and its owner."""
        self.hear(opens_tcpip(peer, window, packet))
        channel = self.door.opened[-1]
        owner = owner or Owner()
        owner.channel = channel
        channel.attach(owner)
        channel.confirm()
        channel.registerProducer(owner, True)
        said = self.leg.said()
        assert [type(one) for one in said] == [m.ChannelOpenConfirmation]
        return channel, owner


def opens_tcpip(
    peer: int = 0, window: int = 2 << 20, packet: int = 32768, host: str = "web1", port: int = 22
) -> m.ChannelOpen:
    return m.ChannelOpen(
        "direct-tcpip", peer, window, packet, TcpipOpen(host, port, "127.0.0.1", 65535).encode()
    )


def opens_session(peer: int = 0) -> m.ChannelOpen:
    return m.ChannelOpen("session", peer, 2 << 20, 32768, Empty().encode())


def fill(outer: Outer, number: int, size: int) -> list[m.Message]:
    """`size` bytes of data on one channel; what is said to it."""
    said: list[m.Message] = []
    for at in range(0, size, MAX_PACKET):
        said += outer.hear(m.Data(number, bytes(min(MAX_PACKET, size - at))))
    return said

"""A session that breaks before any of its packets: the conversation, noise, the ways to break, and what must be left.

`test_every_break.py` has it through the front door, `test_every_break_jump.py` through the jump door, and
`test_gateway_breaks.py` a sample on real sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.internet.error import ConnectionRefusedError
from twisted.python.failure import Failure

from bastion.observe.meters import SESSIONS_STARTED
from bastion.wire.data import string, uint32
from tests.hostile import memory_gateway as gate
from tests.hostile.memory_gateway import MemoryGateway, Peer
from tests.hostile.rawssh import RawSsh, debug, ignore

PATIENCE = 65.0  # login grace is the longest timer before a session
FAR = 1 << 30
LIGHT = (ignore(), ignore(9), debug(), b"\x03\0\0\0\1")
UNKNOWN = (b"\x09", b"\x13\1", b"\x17\0", b"\x37", b"\x54abc", b"\x70", b"\x80\0", b"\xbf", b"\xff\1\2")
FULL = (*LIGHT, *UNKNOWN, b"\xc0" + string(b"ping"))
NOISE_ANSWERS = {2, 3, 4, 193}
GOODBYE = b"\x01\0\0\0\x0b\0\0\0\0\0\0\0\0"


class Broken(Exception):
    """The packet at which it breaks."""


class Noisy(Peer):
    """A peer that slips noise in wherever the protocol lets it, and does not listen to the answers."""

    dice: Random | None = None
    in_session = False
    exchanging = False

    def send(self, *payloads: bytes) -> None:
        for payload in payloads:
            if self.before_send is not None:
                self.before_send()
            if payload[0] == 20:
                self._noise()
                self.exchanging = True
                RawSsh.send(self, payload)
            else:
                self._noise()
                RawSsh.send(self, payload)

    def send_newkeys(self) -> None:
        super().send_newkeys()
        self.exchanging = False

    def _noise(self) -> None:
        if self.dice is None or not self.session_id or not self.kex_count:
            return
        choice = FULL if self.in_session and not self.exchanging else LIGHT
        for _ in range(self.dice.randrange(3)):
            RawSsh.send(self, self.dice.choice(choice))

    def send_version(self) -> None:
        if self.before_send is not None:
            self.before_send()
        super().send_version()

    def read(self) -> bytes:
        while True:
            payload = super().read()
            if payload[0] not in NOISE_ANSWERS:
                return payload


def conversation(
    client: Noisy,
    meet: Callable[[], Noisy],
    rekey: Callable[[Noisy], None],
    user: bytes = gate.USER,
    log_in: Callable[[RawSsh, bytes], None] = gate.log_in,
) -> None:
    """Login, a pty with a shell, a refused tunnel, key exchanges begun by all four, and the end.

    `meet` waits for the gateway at the target's door; `rekey` has the gateway begin a key exchange with a peer.
    """
    log_in(client, user)
    target = meet()
    gate.let_in(target)
    client.read_until(52)
    client.in_session = target.in_session = True
    client.send(gate.open_session())
    target.read_until(90)
    target.send(gate.confirm(0, 7))
    client.read_until(91)
    for name, body in ((b"pty-req", gate.PTY), (b"shell", b"")):
        client.send(gate.ask_channel(7, name, body))
        target.read_until(98)
        target.send(b"\x63" + uint32(0))
        client.read_until(99)
    target.send(gate.data(0, b"$ "))
    client.read_until(94)
    client.exchange()
    client.send(gate.data(7, b"ls\r"))
    target.read_until(94)
    target.exchange()
    target.send(gate.data(0, b"x" * 5000), b"\x5f" + uint32(0) + uint32(1) + string(b"oops"))
    client.read_until(95)
    rekey(client)
    rekey(target)
    client.send(b"\x5d" + uint32(7) + uint32(5000))
    tunnel = string(b"127.0.0.1") + uint32(80) + string(b"127.0.0.1") + uint32(1024)
    client.send(b"\x5a" + string(b"direct-tcpip") + uint32(1) + uint32(1 << 20) + uint32(32768) + tunnel)
    target.read_until(90)
    target.send(b"\x5c" + uint32(1) + uint32(2) + string(b"no") + string(b""))
    client.read_until(92)
    target.send(gate.ask_channel(0, b"exit-status", uint32(0), reply=False), b"\x60" + uint32(0))
    client.send(b"\x60" + uint32(7))
    target.send(b"\x61" + uint32(0))
    client.send(b"\x61" + uint32(7))
    target.read_until(97)
    client.send(GOODBYE)


Way = Callable[[Noisy], None]


class Play:
    """One run of a conversation until packet number `stop`, counted over all legs; `seed`: with noise."""

    def __init__(self, gateway: MemoryGateway, stop: int, seed: int | None) -> None:
        self.gateway = gateway
        self.stop = stop
        self.packets = 0
        self.dice = None if seed is None else Random(seed)
        self.target: Noisy | None = None

    @property
    def legs(self) -> list[Noisy]:
        """The peers that are there, the target last."""
        raise NotImplementedError

    def talk(self) -> None:
        """The whole conversation."""
        raise NotImplementedError

    def run(self) -> bool:
        """True when it came to its end unbroken."""
        try:
            self.talk()
        except Broken:
            return False
        finally:
            for peer in self.legs:
                peer.before_send = peer.dice = None
        return True

    def join(self, peer: Peer) -> Noisy:
        assert isinstance(peer, Noisy)
        peer.dice = self.dice
        peer.before_send = self._count
        return peer

    def meet(self) -> Noisy:
        """The target, when the gateway has reached it."""
        self._count()  # the TCP connection to the target may fail, too
        self.target = self.join(self.gateway.target(kind=Noisy))
        return self.target

    def break_target(self, way: Way) -> bool:
        """Do it to the target, or to the connection on its way there; False when there is neither yet."""
        if self.target is not None:
            way(self.target)
        elif self.gateway.links:
            link = self.gateway.links.pop()
            if way in (lose, hang_up):
                link.factory.clientConnectionFailed(link, Failure(ConnectionRefusedError()))
        else:
            return False
        return True

    def _count(self) -> None:
        if self.packets == self.stop:
            raise Broken
        self.packets += 1


def lose(peer: Noisy) -> None:
    peer.lose()


def hang_up(peer: Noisy) -> None:
    peer.hang_up()


def garble(peer: Noisy) -> None:
    peer.send_raw(bytes(range(256)) * 2)


def say_goodbye(peer: Noisy) -> None:
    RawSsh.send(peer, GOODBYE)


def stop_reading(peer: Noisy) -> None:
    peer.end.jam()
    if peer.in_session:
        RawSsh.send(peer, *[b"\xc0" + string(b"ping")] * 3)


def say_nothing(peer: Noisy) -> None:
    """Silence: the timers must find it."""


WAYS = (lose, hang_up, garble, say_goodbye, stop_reading, say_nothing)


def check_the_recordings(gateway: MemoryGateway, door: str) -> None:
    """Every session that began is there, with an end."""
    listed = list(gateway.gateway.store.sessions())
    assert len(listed) == gateway.gateway.meters.value(SESSIONS_STARTED, door)
    assert {str(entry.state) for entry in listed} == {"ended"}

"""A whole session through the jump door, broken before every packet on any of its three legs, in several ways.

As in `test_every_break.py`. Besides: whatever breaks inside or at the target, the outer connection lives on and
serves; whatever breaks the outer connection ends everything inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bastion.transport.states import State
from bastion.wire.data import string
from tests.hostile import memory_gateway as gate
from tests.hostile.breaks import (
    FAR,
    GOODBYE,
    PATIENCE,
    WAYS,
    Noisy,
    Play,
    check_the_recordings,
    conversation,
    garble,
    lose,
    say_goodbye,
    say_nothing,
    stop_reading,
)
from tests.hostile.jump_peers import OPENSSH, Inner, Outer, Refused, jump
from tests.hostile.memory_gateway import MemoryGateway, shared_gateway
from tests.hostile.rawssh import RawSsh

pytestmark = pytest.mark.usefixtures("nothing_in_the_log")

SAMPLE = 3
"""With noise every third packet is enough for `make test`; `make soak` takes them all."""
WINDOW = 16 * 1024
"""Of the inner leg: small, so that it is soon used up when nobody gives more."""


class NoisyOuter(Outer, Noisy):
    """Packets that only carry an inner one are counted there."""

    def carry(self, payload: bytes) -> None:
        self._noise()
        RawSsh.send(self, payload)


class NoisyInner(Inner, Noisy):
    pass


def with_proof(inner: RawSsh, login: bytes) -> None:
    """The inner login of a client that shares its connection: it opens sessions of the outer one later."""
    inner.handshake()
    inner.request_service()
    inner.read_until(6)
    inner.send(gate.prove(inner, login))


def whoami(gateway: MemoryGateway, outer: Outer) -> bytes:
    """What the lobby answers on a channel of its own."""
    number = max(outer.pipes, default=-1) + 1
    outer.send(gate.open_session(number))
    pipe = outer.granted(number)
    outer.send(gate.ask_channel(pipe.theirs, b"exec", string(b"whoami")))
    gateway.clock.advance(0)
    said = bytearray()
    while part := pipe.receive():
        said += part
    pipe.close()
    del outer.pipes[number]
    return bytes(said)


class JumpPlay(Play):
    """Through the jump door: an outer connection, an inner one and a target."""

    def __init__(self, gateway: MemoryGateway, stop: int, seed: int | None) -> None:
        super().__init__(gateway, stop, seed)
        outer = gateway.connect(kind=NoisyOuter, version=OPENSSH)
        assert isinstance(outer, NoisyOuter)
        self.outer = outer
        self.join(outer)
        self.inner: NoisyInner | None = None

    def _rekey(self, peer: Noisy) -> None:
        """The gateway begins an exchange with `peer`; inside, while it is in one with the outer connection."""
        outer = self.outer
        if peer is self.inner:
            outer.exchange()
            outer.transport.keys.rekey()
            peer.transport.keys.rekey()
            outer.answer_exchange()
        else:
            peer.transport.keys.rekey()
        peer.answer_exchange()

    def talk(self) -> None:
        outer = self.outer
        outer.log_in()
        outer.in_session = True
        inner = jump(self.gateway, outer, NoisyInner, window=WINDOW)
        assert isinstance(inner, NoisyInner)
        self.inner = inner
        self.join(inner)
        conversation(inner, self.meet, self._rekey, b"root", with_proof)
        inner.wire.close()
        assert b"alice" in whoami(self.gateway, outer)
        with pytest.raises(Refused):
            outer.dial(5, host=b"198.51.100.9", port=80)
        outer.send(GOODBYE)

    @property
    def legs(self) -> list[Noisy]:
        return [peer for peer in (self.outer, self.inner, self.target) if peer is not None]


# -- ways to break the inner leg -------------------------------------------------------------------------------


def eof(inner: NoisyInner) -> None:
    inner.wire.eof()


def close(inner: NoisyInner) -> None:
    inner.wire.close()


def half_a_packet_and_eof(inner: NoisyInner) -> None:
    """The channel ends in the middle of a packet."""
    sealed = inner.writer.seal([b"\x02" + string(bytes(400))])
    inner.send_raw(sealed[: len(sealed) // 2])
    inner.wire.eof()


def shut_window(inner: NoisyInner) -> None:
    """No window for what the gateway says, and much that it has to say."""
    inner.wire.adjusting = False
    if inner.in_session:
        RawSsh.send(inner, *[b"\xc0" + string(bytes(1000))] * (2 * WINDOW // 1000))


SILENT = (stop_reading, say_nothing, shut_window)
BREAKS: dict[str, tuple[Callable[..., None], ...]] = {
    "outer": WAYS,
    "inner": (garble, eof, half_a_packet_and_eof, close, say_goodbye, shut_window, say_nothing),
    "target": WAYS,
}


# -- the test --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryGateway]:
    yield from shared_gateway(tmp_path_factory.mktemp("breaks"))


def break_leg(play: JumpPlay, leg: str, way: Callable[..., None]) -> bool:
    """Do it; False when that leg is not there yet, or may not be spoken on."""
    outer = play.outer
    if leg == "outer":
        way(outer)
    elif leg == "inner":
        if play.inner is None or play.inner.wire.left or outer.transport.state is not State.AUTHENTICATED:
            return False
        way(play.inner)
    else:
        return play.break_target(way)
    return True


def in_step(outer: Outer) -> bool:
    """Both sides of the connection use the same keys, and no exchange runs."""
    ours = outer.transport
    return bool(
        ours.state is State.AUTHENTICATED and not ours.exchanging and ours.keys.count == outer.kex_count
    )


def check_the_end(play: JumpPlay, leg: str, way: Callable[..., None]) -> None:
    """Whoever depends on what broke ends, although the good peers do nothing but wait."""
    gateway, outer = play.gateway, play.outer
    gateway.wind_down(PATIENCE)
    dependent = [peer for peer in play.legs if leg == "outer" or peer is not outer]
    if way in SILENT and not all(peer.gone for peer in dependent):
        # A session whose peers are silent lives until somebody ends it: then all must end.
        assert play.outer.in_session and len(gateway.gateway.live) <= 1
        outer.lose()
        gateway.wind_down(5)
    elif leg != "outer" and outer.in_session:
        assert not outer.gone, "the outer connection was ended too"
        if in_step(outer):
            assert b"alice" in whoami(gateway, outer)
    for peer in dependent:
        assert peer.gone, "a leg was left open"
    check_nothing_is_left(play)


def check_nothing_is_left(play: JumpPlay) -> None:
    gateway = play.gateway
    for peer in (play.outer, play.target):
        if peer is not None:
            peer.hang_up()
    assert play.inner is None or play.inner.transport.below is None
    gateway.links.clear()
    assert gateway.left_over() == {}
    gateway.peers.clear()


def whole(gateway: MemoryGateway, seed: int | None) -> int:
    """The conversation unbroken, and how many packets it has."""
    play = JumpPlay(gateway, FAR, seed)
    assert play.run()
    gateway.wind_down(5)
    assert all(peer.gone for peer in play.legs)
    check_nothing_is_left(play)
    return play.packets


def break_all(gateway: MemoryGateway, leg: str, way: Callable[..., None], every: int, noise: bool) -> None:
    packets, broken = whole(gateway, None), 0
    stops = range(packets)[::every]
    for stop in stops:
        play = JumpPlay(gateway, stop, stop if noise else None)
        assert not play.run()
        done = break_leg(play, leg, way)
        if not done:
            play.outer.lose()
        broken += done
        check_the_end(play, leg if done else "outer", way if done else lose)
    assert broken > len(stops) // 2
    check_the_recordings(gateway, "jump")


CASES = [pytest.param(leg, way, id=f"{leg}-{way.__name__}") for leg, ways in BREAKS.items() for way in ways]


def test_the_conversation_itself(gateway: MemoryGateway) -> None:
    counted = {whole(gateway, seed) for seed in (None, *range(20))}
    assert len(counted) == 1 and counted.pop() > 60
    check_the_recordings(gateway, "jump")


@pytest.mark.parametrize(("leg", "way"), CASES)
def test_broken_before_every_packet(gateway: MemoryGateway, leg: str, way: Callable[..., None]) -> None:
    break_all(gateway, leg, way, every=1, noise=False)


@pytest.mark.parametrize("every", [SAMPLE, pytest.param(1, marks=pytest.mark.soak)])
@pytest.mark.parametrize(("leg", "way"), CASES)
def test_broken_with_noise(gateway: MemoryGateway, leg: str, way: Callable[..., None], every: int) -> None:
    break_all(gateway, leg, way, every, noise=True)

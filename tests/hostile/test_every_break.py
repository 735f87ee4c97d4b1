"""A whole session, broken on either leg before every packet, in several ways, with noise and without.

Whatever breaks where: the other leg ends in bounded time although its peer does nothing, the session is in the
recordings with an end, and nothing is left: no live session, no timer, no open file, no gauge that is not 0, no
line in the operator's log. In memory for every packet; a sample on real sockets is in `test_gateway_breaks.py`, the
jump door in `test_every_break_jump.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile.breaks import (
    FAR,
    PATIENCE,
    WAYS,
    Noisy,
    Play,
    Way,
    check_the_recordings,
    conversation,
    hang_up,
    say_nothing,
    stop_reading,
)
from tests.hostile.memory_gateway import MemoryGateway, shared_gateway

pytestmark = pytest.mark.usefixtures("nothing_in_the_log")


def rekey_in_memory(peer: Noisy) -> None:
    peer.transport.keys.rekey()
    peer.answer_exchange()


class FrontPlay(Play):
    """Through the front door: a client and a target."""

    def __init__(self, gateway: MemoryGateway, stop: int, seed: int | None) -> None:
        super().__init__(gateway, stop, seed)
        self.client = self.join(gateway.connect(kind=Noisy))

    @property
    def legs(self) -> list[Noisy]:
        return [peer for peer in (self.client, self.target) if peer is not None]

    def talk(self) -> None:
        conversation(self.client, self.meet, rekey_in_memory)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryGateway]:
    yield from shared_gateway(tmp_path_factory.mktemp("breaks"))


def break_leg(play: FrontPlay, leg: str, way: Way) -> bool:
    """Do it; False when that leg is not there yet."""
    if leg == "client":
        way(play.client)
        return True
    return play.break_target(way)


def check_the_end(gateway: MemoryGateway, play: FrontPlay, way: Way) -> None:
    """Both legs end although the good peer does nothing but wait."""
    gateway.wind_down(PATIENCE)
    legs = play.legs
    if way in (stop_reading, say_nothing) and not all(leg.gone for leg in legs):
        # A session whose peers are silent lives until somebody ends it: then both legs must end.
        assert play.client.in_session and len(gateway.gateway.live) == 1
        play.client.lose()
        gateway.wind_down(5)
    for peer in legs:
        assert peer.gone, "a leg was left open"
        peer.hang_up()
    gateway.links.clear()
    assert gateway.left_over() == {}
    gateway.peers.clear()


def test_the_conversation_itself(gateway: MemoryGateway) -> None:
    for seed in (None, *range(20)):
        play = FrontPlay(gateway, FAR, seed)
        assert play.run()
        gateway.wind_down(5)
        assert play.client.gone and play.target is not None and play.target.gone
        play.target.hang_up()
        play.client.hang_up()
        assert gateway.left_over() == {}
        gateway.peers.clear()
    assert play.packets > 40
    check_the_recordings(gateway, "direct")


@pytest.mark.parametrize("noise", [False, True], ids=["quiet", "noisy"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("leg", ["client", "target"])
def test_broken_before_every_packet(gateway: MemoryGateway, leg: str, way: Way, noise: bool) -> None:
    whole = FrontPlay(gateway, FAR, None)
    assert whole.run()
    check_the_end(gateway, whole, hang_up)
    broken = 0
    for stop in range(whole.packets):
        play = FrontPlay(gateway, stop, stop if noise else None)
        assert not play.run()
        broken += break_leg(play, leg, way)
        if play.target is None and leg == "target":
            play.client.lose()
        check_the_end(gateway, play, way)
    assert broken > whole.packets // 2
    check_the_recordings(gateway, "direct")

"""Every message number in every state of the jump door: on the outer connection and inside its channels.

As in `test_state_matrix.py`, against the same table. What breaks the outer connection ends everything inside and the
targets of it; what breaks an inner leg ends that leg and its target, and the outer connection serves on: all 256
inner connections of one state are opened one after the other in one outer connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from bastion.wire.data import string, uint32
from tests.hostile import memory_gateway as gate
from tests.hostile import test_state_matrix as direct
from tests.hostile.jump_peers import OPENSSH, Inner, Outer, jump
from tests.hostile.memory_gateway import MemoryGateway, Peer, shared_gateway
from tests.hostile.test_state_matrix import CLIENT_CHANNEL, NO_CHANNEL, TARGET_CHANNEL, clear

LOGIN = string(b"root") + string(b"ssh-connection")


@dataclass
class Scene(direct.Scene):
    """`inside`: who ends with the attacker."""

    inside: list[Peer] = field(default_factory=list)

    def message(self, number: int) -> bytes:
        peer = self.attacker
        if number == 50 and isinstance(peer, Inner):
            return b"\x32" + LOGIN + string(b"publickey") + b"\0" + string(b"ssh-ed25519") + string(b"")
        if number == 98 and isinstance(peer, Outer):
            return b"\x62" + uint32(self.channel) + string(b"auth-agent-req@openssh.com") + b"\1"
        return super().message(number)


Make = Callable[[MemoryGateway, Outer], Scene]


# -- the outer connection --------------------------------------------------------------------------------------


def nothing_open(gateway: MemoryGateway, outer: Outer) -> Scene:
    return Scene(outer)


def asked_for_life(gateway: MemoryGateway, outer: Outer) -> Scene:
    """The gateway has asked once whether this client lives."""
    gateway.wind_down(125)
    outer.read_until(80)
    return Scene(outer)


def in_the_lobby(gateway: MemoryGateway, outer: Outer) -> Scene:
    outer.send(gate.open_session(3))
    theirs = int.from_bytes(outer.read_until(91)[5:9], "big")
    return Scene(outer, theirs)


def inner_handshake(gateway: MemoryGateway, outer: Outer) -> Scene:
    inner = direct.offered(jump(gateway, outer))
    assert isinstance(inner, Inner)
    return Scene(outer, inner.wire.theirs, inside=[inner])


def inner_session(gateway: MemoryGateway, outer: Outer) -> Scene:
    inner, target = session(gateway, outer)
    return Scene(outer, inner.wire.theirs, inside=[inner, target])


def rekeying_outside(gateway: MemoryGateway, outer: Outer, done: bool = False) -> Scene:
    scene = inner_session(gateway, outer)
    direct.rekeying(outer, done)
    return scene


# -- inside ----------------------------------------------------------------------------------------------------


def log_in(inner: Inner) -> None:
    inner.handshake()
    inner.request_service()
    inner.read_until(6)
    inner.send(gate.prove(inner, b"root"))


def session(gateway: MemoryGateway, outer: Outer, channel: bool = True, **place: Any) -> tuple[Inner, Peer]:
    """A session through the jump door, and a channel of it."""
    inner = jump(gateway, outer, **place)
    log_in(inner)
    target = gateway.target()
    gate.let_in(target)
    inner.read_until(52)
    if channel:
        inner.send(gate.open_session(CLIENT_CHANNEL))
        target.read_until(90)
        target.send(gate.confirm(CLIENT_CHANNEL, TARGET_CHANNEL))
        inner.read_until(91)
    return inner, target


def alone(reach: Callable[[Inner], Peer]) -> Make:
    """An inner leg without a target, brought into its state by `reach`."""
    return lambda gateway, outer: Scene(reach(jump(gateway, outer)))


def prompted(inner: Inner) -> Peer:
    direct.asked_service(inner)
    inner.send(b"\x32" + LOGIN + string(b"keyboard-interactive") + string(b"") * 2)
    inner.read_until(60)
    return inner


def waiting(gateway: MemoryGateway, outer: Outer) -> Scene:
    inner = jump(gateway, outer)
    log_in(inner)
    target = gateway.target()
    target.handshake()
    return Scene(inner, inside=[target])


def in_session(channel: bool) -> Make:
    def make(gateway: MemoryGateway, outer: Outer) -> Scene:
        inner, target = session(gateway, outer, channel)
        return Scene(inner, TARGET_CHANNEL if channel else NO_CHANNEL, inside=[target])

    return make


def rekeying_inside(done: bool) -> Make:
    def make(gateway: MemoryGateway, outer: Outer) -> Scene:
        inner, target = session(gateway, outer)
        direct.rekeying(inner, done)
        return Scene(inner, TARGET_CHANNEL, inside=[target])

    return make


SCENES: dict[str, Make] = {
    "outer: no channel": nothing_open,
    "outer: asked whether it lives": asked_for_life,
    "outer: on a channel of the lobby": in_the_lobby,
    "outer: on the channel of an inner handshake": inner_handshake,
    "outer: on the channel of a session": inner_session,
    "outer: rekey, KEXINIT sent": rekeying_outside,
    "outer: rekey, before NEWKEYS": lambda gateway, outer: rekeying_outside(gateway, outer, True),
    "inner: identification sent": alone(direct.hello),
    "inner: KEXINIT sent": alone(direct.offered),
    "inner: before NEWKEYS": alone(direct.agreed),
    "inner: first after NEWKEYS": alone(direct.secured),
    "inner: userauth": alone(direct.asked_service),
    "inner: a question is open": alone(prompted),
    "inner: waiting for the target": waiting,
    "inner: in session, no channel": in_session(False),
    "inner: in session, on its channel": in_session(True),
    "inner: rekey, KEXINIT sent": rekeying_inside(False),
    "inner: rekey, before NEWKEYS": rekeying_inside(True),
}


# -- the test --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryGateway]:
    yield from shared_gateway(tmp_path_factory.mktemp("matrix"))


def outer_connection(gateway: MemoryGateway) -> Outer:
    made = gateway.connect(kind=Outer, version=OPENSSH)
    assert isinstance(made, Outer)
    return made.log_in()


def outside(gateway: MemoryGateway, state: str, number: int) -> str:
    """One message on an outer connection of its own; whoever is inside ends with it."""
    scene = SCENES[state](gateway, outer_connection(gateway))
    found = direct.verdict(scene, state, number)
    if scene.attacker.transport.close_reason is not None:
        gateway.wind_down(3)
        assert scene.attacker.gone
        assert all(peer.gone for peer in scene.inside), "somebody inside was left"
    clear(gateway)
    return found


def inside(gateway: MemoryGateway, outer: Outer, state: str, number: int) -> str:
    """One message on an inner leg; its target ends with it, the connection that carries it does not."""
    scene = SCENES[state](gateway, outer)
    inner = scene.attacker
    assert isinstance(inner, Inner)
    found = direct.verdict(scene, state, number)
    if inner.transport.close_reason is not None:
        gateway.wind_down(3)
        assert inner.gone
        assert all(peer.gone for peer in scene.inside), "the target was left open"
    leave(gateway, outer, inner, scene.inside)
    return found


def leave(gateway: MemoryGateway, outer: Outer, inner: Inner, targets: list[Peer]) -> None:
    """The channel is closed by both sides, and nothing of it is left in the connection, which lives."""
    inner.wire.close()
    direct.answers(outer)
    assert inner.wire.closed
    for peer in targets:
        peer.hang_up()
        gateway.peers.remove(peer)
    gateway.links.clear()
    gateway.wind_down(3)
    assert not outer.gone and inner.transport.below is None
    (doors,) = [connection._outer for connection in gateway.front.connections]
    assert doors is not None and len(doors._connection) == len(doors._jump) == len(gateway.gateway.live) == 0
    del outer.pipes[inner.wire.number]


@pytest.mark.parametrize("state", [state for state in SCENES if state.startswith("outer")])
def test_all_256_numbers_outside(gateway: MemoryGateway, state: str) -> None:
    assert direct.differences(lambda number: outside(gateway, state, number), SCENES, state) == {}


@pytest.mark.parametrize("state", [state for state in SCENES if state.startswith("inner")])
def test_all_256_numbers_inside(gateway: MemoryGateway, state: str) -> None:
    outer = outer_connection(gateway)
    assert direct.differences(lambda number: inside(gateway, outer, state, number), SCENES, state) == {}
    outer.hang_up()
    clear(gateway)


def test_the_table_is_whole() -> None:
    assert set(direct.written(SCENES)) == set(SCENES)

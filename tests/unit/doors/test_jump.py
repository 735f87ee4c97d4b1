"""The jump door: an SSH connection inside a channel, from its open to its end, the whole gateway in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bastion.doors.jump import opened_as_stdio
from bastion.errors import EndReason, HandshakeResult
from bastion.observe.meters import HANDSHAKES
from bastion.session.ending import End
from bastion.wire.forwards import TcpipOpen
from tests.hostile.jump_peers import NO_MORE_SESSIONS, OPENSSH, Inner, Outer
from tests.hostile.memory_gateway import MemoryGateway, let_in, prove
from tests.hostile.rawssh import Closed
from tests.unit.transport.parts import FAST

SHUTDOWN = End(EndReason.SHUTDOWN, "the gateway is closing down", ref="abcdef")


class World:
    """Alice's outer connection, and what the gateway keeps of it."""

    def __init__(self, gateway: MemoryGateway) -> None:
        self.gateway = gateway
        outer = gateway.connect(kind=Outer, version=OPENSSH)
        assert isinstance(outer, Outer)
        self.outer = outer.log_in()
        (connection,) = gateway.front.connections
        assert connection._outer is not None
        self.door = connection._outer._jump

    def inner(self, *, shared: bool = False) -> Inner:
        """SSH to web1, keys made; `shared`: by a client that may open more."""
        inner = Inner(self.outer.dial(), algorithms=FAST)
        if not shared:
            self.outer.send(NO_MORE_SESSIONS)
        inner.handshake()
        inner.request_service()
        inner.read_until(6)
        return inner

    @property
    def kept(self) -> Any:
        """The one inner connection of the door."""
        (found,) = self.door._inner
        return found

    def lines(self, event: str) -> list[dict[str, Any]]:
        text = (self.gateway.folder / "audit.jsonl").read_text()
        return [line for line in map(json.loads, text.splitlines()) if line["event"] == event]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    gateway = MemoryGateway(tmp_path, monkeypatch)
    yield World(gateway)
    for peer in gateway.peers:
        peer.hang_up()
    gateway.close()


def test_the_inner_user_name_is_the_login_and_the_identity_is_the_outer_one(world: World) -> None:
    inner = world.inner()
    inner.request_login(b"root")
    let_in(world.gateway.target())
    inner.read_until(52)
    (session,) = world.gateway.gateway.live
    assert (session.door, session.session_id) == ("jump", world.kept.id)
    (started,) = world.lines("session_started")
    assert (started["user"], started["login"], started["target"]) == ("alice", "root", "web1")
    assert world.kept._userauth is world.kept._opening is None, "who proved what is no longer kept"


def test_a_login_that_is_not_ones_own_is_told_with_the_command_that_works(world: World) -> None:
    inner = world.inner()
    inner.request_login(b"admin")
    text = inner.read_until(1)
    assert b'login "admin" is not yours on web1; use: ssh -J bastion root@web1 (ref ' in text
    assert world.gateway.links == []


def test_a_key_of_the_engineer_is_proof_enough_on_a_shared_connection(world: World) -> None:
    inner = world.inner(shared=True)
    inner.request_login(b"root")
    assert inner.read_until(51)  # `none` is not enough there
    inner.send(prove(inner, b"root"))
    let_in(world.gateway.target())
    inner.read_until(52)
    assert world.kept.proved


def test_who_leaves_without_a_proof_counts_against_the_next(world: World) -> None:
    inner = world.inner()
    assert len(world.door) == 1 and world.door._unproved._level == 0
    inner.wire.close()
    assert len(world.door) == 0 and world.door._unproved._level == 1


def test_who_has_proved_something_does_not(world: World) -> None:
    inner = world.inner()
    inner.request_login(b"admin")
    inner.wire.close()
    assert len(world.door) == 0 and world.door._unproved._level == 0


def test_a_handshake_that_fails_has_a_line_with_its_target(world: World) -> None:
    inner = Inner(world.outer.dial(), algorithms=FAST)
    inner.send_version()
    inner.wire.close()
    (line,) = world.lines("handshake_failed")
    assert (line["target"], line["user"], line["reason"]) == ("web1", "alice", "failed")
    assert world.gateway.gateway.meters.value(HANDSHAKES, "jump", HandshakeResult.FAILED) == 1


def test_who_leaves_while_the_target_is_dialled_stops_the_dial(world: World) -> None:
    inner = world.inner()
    inner.request_login(b"root")
    inner.wire.close()
    assert world.gateway.links.pop().factory.buildProtocol(None) is None
    assert len(world.door) == 0


@pytest.mark.parametrize("running", [False, True])
def test_a_stop_reaches_whoever_is_inside(world: World, running: bool) -> None:
    inner = world.inner()
    if running:
        inner.request_login(b"root")
        let_in(world.gateway.target())
        inner.read_until(52)
    world.door.shut_down(SHUTDOWN)
    world.gateway.clock.advance(1)
    assert b"bastion: the gateway is closing down (ref abcdef)" in inner.read_until(1)
    assert len(world.gateway.gateway.live) == 0


def test_the_end_of_the_outer_connection_ends_what_is_inside(world: World) -> None:
    inner = world.inner()
    inner.request_login(b"root")
    target = world.gateway.target()
    let_in(target)
    world.outer.hang_up()
    assert len(world.door) == 0 and len(world.gateway.gateway.live) == 0
    assert target.gone
    with pytest.raises(Closed):
        inner.read_until(1)


# -- whose channel it is ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "originator", "port", "number", "first", "own"),
    [
        (OPENSSH, "127.0.0.1", 65535, 0, True, True),
        (b"SSH-2.0-OpenSSH_for_Windows_9.5", "127.0.0.1", 65535, 0, True, True),
        (OPENSSH, "127.0.0.1", 65535, 1, True, False),  # something listens: it took number 0
        (OPENSSH, "127.0.0.1", 65535, 0, False, False),  # or did, or something was said before
        (OPENSSH, "127.0.0.1", 50000, 0, True, False),
        (OPENSSH, "::1", 65535, 0, True, False),
        (OPENSSH, "", 0, 0, True, False),
        (b"SSH-2.0-dropbear_2022.83", "127.0.0.1", 22, 0, True, False),
        (b"SSH-2.0-PuTTY_Release_0.78", "0.0.0.0", 0, 0, True, False),
        (b"SSH-2.0-AsyncSSH_2.24.1", "", 0, 0, True, False),
        (b"SSH-2.0-paramiko_5.1.0", "127.0.0.1", 65535, 0, True, False),
    ],
)
def test_what_only_openssh_s_own_stdio_looks_like(
    version: bytes, originator: str, port: int, number: int, first: bool, own: bool
) -> None:
    place = TcpipOpen("web1", 22, originator, port)
    assert opened_as_stdio(version, place, number, first) is own


def test_the_table_is_in_the_document() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "doors.md").read_text()
    assert "127.0.0.1 port 65535" in text and "trust_forwards" in text

"""Reaching a target through hops: each with its own host key and login, and every refusal with the hop's name."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from bastion.ca.known_hosts import KnownHosts
from bastion.clock import FixedClock
from bastion.errors import ProtocolError, Refused, UpstreamReason
from bastion.net import connect
from bastion.options import Source
from bastion.policy.grant import probe_grant
from bastion.policy.targets import Target, parse_targets
from bastion.upstream.dial import Dialler
from bastion.upstream.facts import HopPassed, UpstreamConnected
from bastion.upstream.keyscan import scan_behind_hops
from bastion.userauth.client import KeyCredential
from bastion.wire import messages as m
from bastion.wire.data import Reader, byte, string
from bastion.wire.forwards import TcpipOpen
from bastion.wire.keys import PrivateKey
from bastion.wire.numbers import (
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_OPEN,
    MSG_DISCONNECT,
    MSG_SERVICE_ACCEPT,
    MSG_SERVICE_REQUEST,
    MSG_USERAUTH_REQUEST,
    MSG_USERAUTH_SUCCESS,
)
from bastion.wire.userauth import UserauthBanner, UserauthFailure, UserauthRequest
from tests.hostile.rawssh import Closed, MemoryWire, RawSsh
from tests.unit.transport.parts import FAST, client_settings

EDGE, CORE, DB, OTHER, CLIENT = (PrivateKey.generate_ed25519() for _ in range(5))
INVENTORY = parse_targets(
    tomllib.loads(
        """
[targets.edge1]
host = "192.0.2.1"
hop_login = "jump"
[targets.core2]
host = "10.20.0.2"
port = 2222
hop_login = "pass"
via = "edge1"
[targets.db7]
host = "10.20.0.7"
via = ["edge1", "core2"]
[targets.db8]
host = "192.0.2.1"
via = "edge1"
"""
    ),
    Source("t"),
)
KNOWN = KnownHosts.parse(
    f"192.0.2.1 {EDGE.public.line()}\n[core2]:2222 {CORE.public.line()}\ndb7 {DB.public.line()}\n"
    f"[10.20.0.2]:2222,10.20.0.7 {OTHER.public.line()}\n"  # what is elsewhere under the same address
)
SERVER = replace(FAST, host_keys=("ssh-ed25519",))


class ChannelWire:
    """What a hop carries, as the wire of the next peer."""

    def __init__(self, hop: RawSsh, number: int) -> None:
        self.hop, self.number = hop, number

    def send(self, data: bytes) -> None:
        for at in range(0, len(data), 1000):
            self.hop.send(m.Data(self.number, data[at : at + 1000]).encode())

    def receive(self) -> bytes:
        said = [payload for payload in self.hop.read_all() if payload[0] == MSG_CHANNEL_DATA]
        return b"".join(Reader(payload, 5).string() for payload in said)


class World:
    """One dial; the test plays the hops and the target. `heard` is what the observer heard."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, target: str = "db7") -> None:
        self.reactor = Clock()
        self.connecting: list[Any] = []
        monkeypatch.setattr(connect, "connect", self._connect)
        self.heard: list[str] = []
        self.outcome: list[Any] = []
        self.logins: list[str] = []
        self.hops: list[HopPassed] = []
        self.first: Any = None
        self.dialler = Dialler(self.reactor, KNOWN, client_settings(login_grace=0.0), FixedClock(), 20.0)
        self.grant = probe_grant(INVENTORY, target, "root", 0.0, "id")

    def start(self) -> World:
        self.dial = Deferred.fromCoroutine(
            self.dialler.dial(self.grant, self._login, self, hop_login=self.hop_login)
        )
        self.dial.addBoth(self.outcome.append)
        return self

    def _connect(self, reactor: Any, address: str, port: int, factory: Any, timeout: float) -> World:
        self.connecting.append((address, port, factory))
        return self

    def disconnect(self) -> None: ...

    def _login(self) -> KeyCredential:
        self.logins.append("target")
        return KeyCredential(CLIENT, CLIENT.public, ("ssh-ed25519",))

    def hop_login(self, hop: Target) -> KeyCredential:
        self.logins.append(hop.name)
        return KeyCredential(CLIENT, CLIENT.public, ("ssh-ed25519",))

    # DialObserver
    def phase(self, name: str, seconds: float) -> None:
        self.heard.append(f"{name} {seconds:g}")

    def host_key(self, outcome: str, fingerprint: str) -> None:
        self.heard.append(str(outcome))

    def banner(self, text: str, missing: int) -> None:
        self.heard.append(text)

    def hop(self, passed: HopPassed) -> None:
        self.hops.append(passed)

    def connected(self, facts: UpstreamConnected) -> None:
        self.heard.append("connected")

    # the peers
    def peer(self, wire: Any, key: PrivateKey) -> RawSsh:
        return RawSsh(wire, server=True, host_key=key, algorithms=SERVER)

    def edge(self, key: PrivateKey = EDGE) -> RawSsh:
        """The first hop takes the connection."""
        address, port, factory = self.connecting.pop()
        assert (address, port) == ("192.0.2.1", 22)
        self.first = factory.buildProtocol(None)
        return self.peer(MemoryWire(self.first), key)

    @staticmethod
    def asked(peer: RawSsh) -> UserauthRequest:
        peer.read_until(MSG_SERVICE_REQUEST)
        peer.send(byte(MSG_SERVICE_ACCEPT) + string(b"ssh-userauth"))
        return UserauthRequest.parse(peer.read_until(MSG_USERAUTH_REQUEST))

    def pass_hop(self, peer: RawSsh, login: str = "jump") -> m.ChannelOpen:
        """Let the gateway in; what it asks for."""
        with suppress(Closed):
            peer.handshake()
        assert self.asked(peer).user == login
        peer.send(UserauthBanner(b"for nobody\n").encode())
        self.reactor.advance(1)
        peer.send(
            byte(MSG_USERAUTH_SUCCESS), m.GlobalRequest("hostkeys-00@openssh.com", False, b"x").encode()
        )
        return m.ChannelOpen.parse(peer.read_until(MSG_CHANNEL_OPEN))

    def grant_channel(self, peer: RawSsh, key: PrivateKey) -> RawSsh:
        """Confirm the open; the peer behind it."""
        peer.send(m.ChannelOpenConfirmation(0, 3, 1 << 20, 32768).encode())
        return self.peer(ChannelWire(peer, 0), key)

    @property
    def refusal(self) -> tuple[object, str]:
        (failure,) = self.outcome
        failure.trap(Refused)
        assert self.first is None or self.first.closed
        return failure.value.reason, failure.value.text


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(monkeypatch).start()
    yield made
    if made.first is not None:
        made.first.connectionLost(Failure(ConnectionLost()))
    made.reactor.advance(100)
    assert made.reactor.getDelayedCalls() == []


def test_two_hops_each_known_and_logged_in_to_and_then_the_target(world: World) -> None:
    edge = world.edge()
    opened = world.pass_hop(edge)
    assert TcpipOpen.parse(opened.body) == TcpipOpen("10.20.0.2", 2222, "127.0.0.1", 65535)
    core = world.grant_channel(edge, CORE)
    opened = world.pass_hop(core, "pass")
    assert TcpipOpen.parse(opened.body) == TcpipOpen("10.20.0.7", 22, "127.0.0.1", 65535)
    world.reactor.advance(2)
    database = world.grant_channel(core, DB)
    database.handshake()
    assert world.asked(database).user == "root"
    assert world.outcome == [] and world.logins == ["edge1", "core2", "target"]
    database.send(byte(MSG_USERAUTH_SUCCESS))
    (transport,) = world.outcome
    assert not transport.closed and transport.service is None
    assert world.heard == [
        "pinned_ok", "hop 1", "pinned_ok", "hop 1",
        "connect 2", "kex 0", "pinned_ok", "host_key 0", "login 0", "connected",
    ]  # fmt: skip
    assert [(hop.name, hop.host_key) for hop in world.hops] == [
        ("edge1", EDGE.public.fingerprint()),
        ("core2", CORE.public.fingerprint()),
    ]
    # the end of the target's connection is the end of the road
    transport.disconnect(11, "done")
    assert database.read_disconnect() == (11, "done")
    core.send(m.Eof(0).encode(), m.Close(0).encode())
    assert core.read_disconnect()[1] == "nothing goes through it any more"
    edge.send(m.Close(0).encode())
    assert edge.read_disconnect()[1] == "nothing goes through it any more"
    assert world.first.closed


@pytest.mark.parametrize("key", [OTHER, DB])
def test_no_login_is_made_for_a_hop_with_another_host_key(world: World, key: PrivateKey) -> None:
    edge = world.edge(key)
    with suppress(Closed, ProtocolError):
        edge.handshake()
    reason, text = world.refusal
    assert reason is UpstreamReason.HOST_KEY_CHANGED
    assert text.startswith("db7: its hop edge1: the host key has changed: known ")
    assert text.endswith(f"bastion target pin edge1 {key.public.fingerprint()}") and world.logins == []


def test_what_is_known_of_the_same_address_elsewhere_counts_for_nothing_behind_a_hop(world: World) -> None:
    edge = world.edge()
    world.pass_hop(edge)
    core = world.grant_channel(edge, OTHER)
    with suppress(Closed, ProtocolError):
        core.handshake()
    reason, text = world.refusal
    assert reason is UpstreamReason.HOST_KEY_CHANGED and text.startswith("db7: its hop core2: ")
    assert world.logins == ["edge1"]


def test_the_key_of_a_hop_is_none_for_what_is_behind_it_at_the_same_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, "db8").start()
    edge = world.edge()
    world.pass_hop(edge)
    target = world.grant_channel(edge, EDGE)
    with suppress(Closed, ProtocolError):
        target.handshake()
    reason, text = world.refusal
    assert reason is UpstreamReason.HOST_KEY_UNKNOWN and "bastion target pin db8 " in text


def test_a_hop_that_refuses_the_login_is_named(world: World) -> None:
    edge = world.edge()
    edge.handshake()
    world.asked(edge)
    edge.send(UserauthFailure(("password",), False).encode())
    assert world.refusal == (
        UpstreamReason.LOGIN_REFUSED,
        "db7: its hop edge1: login jump was refused with the gateway's key",
    )


def test_a_hop_that_leads_nowhere_is_named(world: World) -> None:
    edge = world.edge()
    world.pass_hop(edge)
    edge.send(m.ChannelOpenFailure(0, 1, "open failed").encode())
    assert world.refusal == (
        UpstreamReason.HOP_REFUSED,
        'db7: its hop edge1: it does not let the gateway go on from there: "open failed"',
    )


@pytest.mark.parametrize("why", ["leaves", "says goodbye", "breaks the protocol"])
def test_a_hop_that_goes_away_in_the_middle_is_named_not_the_target(world: World, why: str) -> None:
    edge = world.edge()
    world.pass_hop(edge)
    world.grant_channel(edge, CORE)
    if why == "leaves":
        world.first.connectionLost(Failure(ConnectionLost()))
        words = "it closed the connection"
    elif why == "says goodbye":
        edge.send(byte(MSG_DISCONNECT) + b"\0\0\0\x0b" + string(b"reboot") + string(b""))
        words = 'it closed the connection: "reboot"'
    else:
        edge.send(m.Data(9, b"x").encode())
        words = "it broke the connection: CHANNEL_DATA for an unknown channel"
    assert world.refusal == (UpstreamReason.CLOSED, f"db7: its hop edge1: {words}")


@pytest.mark.parametrize(
    ("step", "reason", "text"),
    [
        ("connect", UpstreamReason.CONNECT_TIMEOUT, "its hop edge1: no answer within 20 s (step: connect)"),
        ("kex", UpstreamReason.TIMEOUT, "its hop edge1: not ready within 20 s (step: kex)"),
        ("login", UpstreamReason.TIMEOUT, "its hop edge1: not ready within 20 s (step: login)"),
        ("channel", UpstreamReason.CONNECT_TIMEOUT, "its hop edge1: no answer within 20 s (step: connect)"),
        ("second", UpstreamReason.TIMEOUT, "its hop core2: not ready within 20 s (step: kex)"),
    ],
)
@pytest.mark.parametrize("cancelled", [False, True])
def test_one_timer_is_for_the_whole_way_and_names_where_it_was(
    monkeypatch: pytest.MonkeyPatch, step: str, reason: UpstreamReason, text: str, cancelled: bool
) -> None:
    world = World(monkeypatch).start()
    if step != "connect":
        edge = world.edge()
        if step == "login":
            edge.handshake()
            world.asked(edge)
        elif step != "kex":
            world.pass_hop(edge)
            if step == "second":
                world.grant_channel(edge, CORE)
    if cancelled:
        world.dial.cancel()
        assert world.outcome[0].check(CancelledError)
        assert world.first is None or world.first.closed
        return
    world.reactor.advance(20 - world.reactor.seconds() - 0.1)
    assert world.outcome == []
    world.reactor.advance(0.1)
    assert world.refusal == (reason, f"db7: {text}")


def test_who_has_no_login_for_hops_goes_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    Deferred.fromCoroutine(world.dialler.dial(world.grant, world._login, world)).addBoth(world.outcome.append)
    assert world.refusal == (
        UpstreamReason.CREDENTIAL_FAILED, "db7: nobody can log in to its hop edge1 here",
    ) and world.connecting == []  # fmt: skip


def test_the_keys_of_what_is_behind_a_hop_are_scanned_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question goes the whole way, and the target is not logged in to."""
    world = World(monkeypatch, "db8")
    scan = scan_behind_hops(world.dialler, world.grant, world.hop_login, client_settings(login_grace=0.0))
    found: list[Any] = []
    Deferred.fromCoroutine(scan).addBoth(found.append)
    while not found:
        edge = world.edge()
        world.pass_hop(edge)
        with suppress(Closed, ProtocolError):
            world.grant_channel(edge, DB).handshake()
        assert found or world.connecting, "the scan stands still"
    assert found == [[DB.public.blob]]
    assert set(world.logins) == {"edge1"}

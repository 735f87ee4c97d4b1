"""The front door: what becomes of a connection from its accept to its end, the whole gateway in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed

from bastion.auth.break_glass import BreakGlassRules, Opening
from bastion.auth.budget import LIMITS, Limit, Work
from bastion.auth.embedded import EmbeddedDirectory, parse_users
from bastion.auth.identity import Identity
from bastion.doors.listener import TURNED_AWAY
from bastion.errors import AuthReason, HandshakeResult, LimitReason, Refused
from bastion.observe.meters import (
    BREAK_GLASS,
    CONNECTIONS_ACCEPTED,
    CONNECTIONS_CLOSED,
    CONNECTIONS_LIVE,
    CONNECTIONS_REFUSED,
    DESCRIPTORS_EXHAUSTED,
    HANDSHAKES,
)
from bastion.session.gateway import Gateway
from bastion.sharing.rows import ROW_SIZE, Cell, Row
from bastion.transport.transport import Transport
from bastion.wire.data import string, uint32
from bastion.wire.keys import PrivateKey
from tests.hostile.memory_gateway import ALICE, MemoryGateway, let_in, log_in, prove

HERE = "198.51.100.4"


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryGateway]:
    made = MemoryGateway(tmp_path, monkeypatch)
    yield made
    for peer in made.peers:
        peer.hang_up()
    made.close()


def counted(gateway: MemoryGateway, family: Any, *labels: str) -> int:
    return gateway.gateway.meters.value(family, *labels)


def lines(gateway: MemoryGateway) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (gateway.folder / "audit.jsonl").read_text().splitlines()]


def test_who_is_refused_before_a_byte_has_a_line_and_no_transport(gateway: MemoryGateway) -> None:
    penalties: Any = gateway.gateway.services.auth.penalties
    penalties.allows_source = lambda source: False
    assert gateway.front.buildProtocol(IPv4Address("TCP", HERE, 1024)) is None
    assert counted(gateway, CONNECTIONS_ACCEPTED) == counted(gateway, CONNECTIONS_CLOSED) == 1
    assert counted(gateway, CONNECTIONS_REFUSED, LimitReason.PENALTY) == 1
    line = lines(gateway)[-1]
    assert (line["event"], line["source"], line["reason"]) == ("connection_refused", HERE, "penalty")


def test_who_has_more_connections_than_another_worker_lets_it_go_first(gateway: MemoryGateway) -> None:
    assert not hasattr(gateway.front, "gives_way"), "a process alone gives way to nobody"
    memory = memoryview(bytearray(2 * ROW_SIZE))
    gateway.gateway.others, other = (Row(memory, 2, own, b"k" * 16) for own in range(2))
    gateway.front.joins_others()
    gives_way: Any = gateway.front
    gateway.connect()
    assert other.elsewhere(Cell.CONNECTIONS) == 1
    assert not gives_way.gives_way(), "nobody else accepts"
    other.add(Cell.ACCEPTING, 1)
    assert gives_way.gives_way()
    other.add(Cell.CONNECTIONS, 1)
    assert not gives_way.gives_way(), "with as many as another it takes who comes"
    gateway.peers[0].hang_up()
    assert other.elsewhere(Cell.CONNECTIONS) == 0


def test_while_it_drains_a_newcomer_is_told_and_costs_no_key_exchange(gateway: MemoryGateway) -> None:
    gateway.gateway.draining = True
    peer = gateway.connect()
    gateway.clock.advance(0)
    assert peer.transport.closed and b"closing down, try again" in bytes(peer.end.written)
    assert counted(gateway, CONNECTIONS_REFUSED, LimitReason.DRAINING) == 1
    assert counted(gateway, CONNECTIONS_LIVE) == 0 and gateway.gateway.startups.waiting == 0
    line = lines(gateway)[-1]
    assert (line["event"], line["source"], line["reason"]) == ("connection_refused", HERE, "draining")


def test_so_many_newcomers_are_told_at_a_time(gateway: MemoryGateway) -> None:
    gateway.gateway.draining = True
    for _ in range(TURNED_AWAY):
        gateway.connect()
        gateway.clock.advance(0)
    assert gateway.front.buildProtocol(IPv4Address("TCP", HERE, 1024)) is None
    gateway.peers[0].hang_up()
    gateway.connect()
    assert counted(gateway, CONNECTIONS_REFUSED, LimitReason.DRAINING) == TURNED_AWAY + 2


def test_a_connection_is_counted_while_it_lives(gateway: MemoryGateway) -> None:
    peer = gateway.connect()
    assert (counted(gateway, CONNECTIONS_LIVE), len(gateway.front.connections)) == (1, 1)
    peer.hang_up()
    assert (counted(gateway, CONNECTIONS_LIVE), len(gateway.front.connections)) == (0, 0)
    assert counted(gateway, HANDSHAKES, "front", HandshakeResult.SILENT) == 1
    assert [line for line in lines(gateway) if line["event"] == "handshake_failed"] == []


def test_who_spoke_ssh_and_left_has_a_line(gateway: MemoryGateway) -> None:
    peer = gateway.connect()
    peer.send_version()
    peer.hang_up()
    line = lines(gateway)[-1]
    assert (line["event"], line["source"], line["reason"]) == ("handshake_failed", HERE, "failed")
    assert line["software"] == "SSH-2.0-raw"


def test_the_startup_place_is_free_at_the_last_factor(gateway: MemoryGateway) -> None:
    peer = gateway.connect()
    assert gateway.gateway.startups.waiting == 1
    log_in(peer)
    assert gateway.gateway.startups.waiting == 0
    peer.hang_up()
    assert gateway.gateway.startups.waiting == 0


def test_a_key_exchange_is_the_sources_until_somebody_is_known(gateway: MemoryGateway) -> None:
    purse = gateway.gateway.budget.source(HERE)
    gateway.gateway.budget.limits = dict.fromkeys(LIMITS, Limit(10**12, 10**13, 1, 1))
    peer = gateway.connect()
    peer.handshake()
    spent = purse._buckets[Work.KEY_EXCHANGE].level
    assert spent > 0
    other = gateway.connect()
    log_in(other)
    assert purse._buckets[Work.KEY_EXCHANGE].level == pytest.approx(spent, rel=0.01)


def test_who_is_displaced_is_gone_without_a_word(gateway: MemoryGateway) -> None:
    peer = gateway.connect()
    peer.handshake()
    (connection,) = gateway.front.connections
    connection._displaced()
    assert peer.end.aborted and gateway.front.connections == set()
    assert counted(gateway, CONNECTIONS_REFUSED, LimitReason.DISPLACED) == 1
    line = lines(gateway)[-1]
    assert (line["event"], line["reason"]) == ("refused", "displaced")


def test_a_name_with_a_target_is_the_direct_door(gateway: MemoryGateway) -> None:
    peer = gateway.connect()
    log_in(peer)
    let_in(gateway.target())
    peer.read_until(52)
    (session,) = gateway.gateway.live
    assert session.door == "direct"
    (connection,) = gateway.front.connections
    assert session.session_id == connection.id
    assert connection._userauth is connection._opening is connection._outer is None


def test_a_name_alone_is_an_outer_connection(gateway: MemoryGateway) -> None:
    peer = gateway.connect()
    log_in(peer, b"alice")
    peer.read_until(52)
    (connection,) = gateway.front.connections
    assert connection._outer is not None and connection._userauth is None
    assert gateway.links == []
    assert lines(gateway)[-1]["event"] == "outer_started"
    peer.hang_up()
    assert lines(gateway)[-1]["event"] == "outer_ended"


def test_who_leaves_while_the_target_is_dialled_stops_the_dial(gateway: MemoryGateway) -> None:
    peer = gateway.connect()
    log_in(peer)
    peer.hang_up()
    assert gateway.links.pop().factory.buildProtocol(None) is None
    assert [line["event"] for line in lines(gateway)][-2:] == ["auth", "authorise"]
    assert gateway.left_over() == {}


@pytest.mark.parametrize("user", [b"alice+root+web1", b"alice"])
def test_a_stop_says_why(gateway: MemoryGateway, user: bytes) -> None:
    peer = gateway.connect()
    log_in(peer, user)
    gateway.gateway.draining = True
    (connection,) = gateway.front.connections
    connection.shut_down("the gateway is closing down")
    gateway.clock.advance(0)
    assert b"bastion: the gateway is closing down" in peer.read_until(1)
    assert gateway.front.lingering  # its last words may be on their way
    peer.hang_up()
    assert not gateway.front.lingering


def test_no_descriptor_to_accept_with_is_counted(gateway: MemoryGateway) -> None:
    gateway.front.out_of_descriptors()
    assert counted(gateway, DESCRIPTORS_EXHAUSTED, "accept") == 1


def test_every_connection_has_an_id_and_settings_of_now(gateway: MemoryGateway) -> None:
    first, second = gateway.connect(), gateway.connect()
    ids = {connection.id for connection in gateway.front.connections}
    assert len(ids) == 2
    assert isinstance(first.transport, Transport)
    assert second.transport.settings is gateway.gateway.services.front_settings


# -- break-glass accounts --------------------------------------------------------------------------------------

EMERGENCY = f"""
[users.emergency]
id = "e-1"
break_glass = true
targets = ["web1"]
groups = ["ops"]
keys = ["{ALICE.public.line()}"]
"""
INTERACTIVE = b"\x32" + string(b"emergency") + string(b"ssh-connection") + string(b"keyboard-interactive")


@pytest.fixture
def emergency(gateway: MemoryGateway, monkeypatch: pytest.MonkeyPatch) -> MemoryGateway:
    """With an account for emergencies, whose code is 123456."""
    services = gateway.gateway.services
    services.auth.directory.close()
    directory = EmbeddedDirectory(parse_users(EMERGENCY, "users.toml"))
    rules = BreakGlassRules(frozenset({"emergency"}), 600.0)
    auth = replace(services.auth, directory=directory, break_glass=rules)
    gateway.gateway.services = replace(services, auth=auth)

    def check(uid: str, answer: str, asker: object) -> Deferred[bool]:
        assert uid == "e-1"
        return succeed(False) if answer == "123456" else fail(Refused(AuthReason.BAD_CODE, "no"))

    monkeypatch.setattr(Gateway, "codes", property(lambda self: check))
    return gateway


def tries(gateway: MemoryGateway) -> list[tuple[str, str]]:
    found = [line for line in lines(gateway) if line["event"] == "break_glass"]
    assert sum(counted(gateway, BREAK_GLASS, result) for result in ("ok", "refused", "closed")) == len(found)
    return [(line["result"], line.get("why") or line.get("reason", "")) for line in found]


def test_the_right_key_of_a_closed_break_glass_account_is_told_so(emergency: MemoryGateway) -> None:
    peer = emergency.connect()
    log_in(peer, b"emergency")
    assert "break-glass accounts are closed" in peer.read_disconnect()[1]
    assert tries(emergency) == [("closed", "")]


def test_another_key_for_a_break_glass_account_is_refused_like_any_and_told_of(
    emergency: MemoryGateway,
) -> None:
    peer = emergency.connect()
    peer.handshake()
    peer.request_service()
    peer.read_until(6)
    peer.send(prove(peer, b"emergency", PrivateKey.generate_ed25519()))
    emergency.clock.advance(10)
    assert peer.read_until(51) == b"\x33" + string(b"publickey,password,keyboard-interactive") + b"\0"
    assert tries(emergency) == [("refused", "key_not_authorised")]


def test_a_break_glass_account_that_was_opened_needs_a_code_and_a_reason(emergency: MemoryGateway) -> None:
    gateway = emergency.gateway
    gateway.break_glass.opening = Opening(gateway.clock.time() + 60, "INC-7", "root")
    peer = emergency.connect()
    log_in(peer, b"emergency")
    assert peer.read_until(51) == b"\x33" + string(b"keyboard-interactive") + b"\1"
    peer.send(INTERACTIVE + string(b"") + string(b""))
    assert b"One-time code of emergency: " in peer.read_until(60)
    peer.send(b"\x3d" + uint32(1) + string(b"123456"))
    assert b"Reason: " in peer.read_until(60)
    assert tries(emergency) == []
    peer.send(b"\x3d" + uint32(1) + string(b"INC-7 db1 is full"))
    peer.read_until(52)
    assert tries(emergency) == [("ok", "INC-7 db1 is full")]


def test_without_a_code_a_break_glass_account_stays_outside(emergency: MemoryGateway) -> None:
    gateway = emergency.gateway
    gateway.break_glass.opening = Opening(gateway.clock.time() + 60, "INC-7", "root")
    peer = emergency.connect()
    log_in(peer, b"emergency")
    peer.send(INTERACTIVE + string(b"") + string(b""))
    for _ in range(3):
        peer.read_until(60)
        peer.send(b"\x3d" + uint32(1) + string(b"000000"))
    assert "one-time code" in peer.read_disconnect()[1]
    assert tries(emergency) == [("refused", "factor_needed")]


def code_before_password(gateway: MemoryGateway) -> None:
    """What everybody else proves has no key in it."""
    services = gateway.gateway.services
    users = f'{EMERGENCY}[users.bob]\nkeys = ["{ALICE.public.line()}"]\n'
    directory = EmbeddedDirectory(parse_users(users, "users.toml"))
    auth = replace(services.auth, chains=(("totp", "password"),), directory=directory)
    gateway.gateway.services = replace(services, auth=auth)
    gateway.gateway.break_glass.opening = Opening(gateway.gateway.clock.time() + 60, "INC-7", "root")


def test_a_break_glass_account_proves_a_chain_of_its_own(emergency: MemoryGateway) -> None:
    code_before_password(emergency)
    peer = emergency.connect()
    log_in(peer, b"emergency")
    assert peer.read_until(51) == b"\x33" + string(b"keyboard-interactive") + b"\1"
    peer.send(INTERACTIVE + string(b"") + string(b""))
    peer.read_until(60)
    peer.send(b"\x3d" + uint32(1) + string(b"123456"))
    assert b"Reason: " in peer.read_until(60)


@pytest.mark.parametrize("name", [b"bob", b"nobody"])
def test_its_key_is_no_way_in_for_anybody_else_and_reads_alike(emergency: MemoryGateway, name: bytes) -> None:
    code_before_password(emergency)
    peer = emergency.connect()
    peer.handshake()
    peer.request_service()
    peer.read_until(6)
    for key in (ALICE, PrivateKey.generate_ed25519()):
        peer.send(prove(peer, name, key))
        emergency.clock.advance(10)
        assert peer.read_until(51) == b"\x33" + string(b"publickey,keyboard-interactive") + b"\0"
    reasons = [line["reason"] for line in lines(emergency) if line["event"] == "auth"]
    assert reasons == (
        ["factor_not_wanted", "key_not_authorised"] if name == b"bob" else ["unknown_user"] * 2
    )


def test_a_code_is_not_used_up_for_an_account_that_shows_its_key_first(
    emergency: MemoryGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    code_before_password(emergency)
    used: list[str] = []

    def check(uid: str, answer: str, asker: object) -> Deferred[bool]:
        used.append(uid)
        return fail(Refused(AuthReason.BAD_CODE, "no")) if not uid else succeed(False)

    monkeypatch.setattr(Gateway, "codes", property(lambda self: check))
    peer = emergency.connect()
    peer.handshake()
    peer.request_service()
    peer.read_until(6)
    peer.send(INTERACTIVE + string(b"") + string(b""))
    peer.read_until(60)
    peer.send(b"\x3d" + uint32(1) + string(b"123456"))
    emergency.clock.advance(10)
    assert peer.read_until(51)[-1] == 0
    assert tries(emergency) == [("refused", "factor_not_wanted")] and used == [""], "asked as of nobody"


def test_whoever_leaves_at_the_question_is_told_of_and_gone(emergency: MemoryGateway) -> None:
    gateway = emergency.gateway
    gateway.break_glass.opening = Opening(gateway.clock.time() + 60, "INC-7", "root")
    peer = emergency.connect()
    log_in(peer, b"emergency")
    peer.hang_up()
    assert tries(emergency) == [("refused", "abandoned")]
    assert emergency.front.connections == set()


# -- factors that others judge --------------------------------------------------------------------------------


class Judge:
    """An identity provider that answers when the test says so."""

    prompt, wait = "", 90.0

    def __init__(self) -> None:
        self.verdict: Deferred[None] = Deferred()

    async def prove(self, who: Identity, source: str, answer: str, ask: Any) -> None:
        assert who.factors == ("publickey",)
        await ask((), "open https://id.example.com", 5.0)
        await self.verdict

    def close(self) -> None:
        pass


@pytest.fixture
def judged(gateway: MemoryGateway) -> Judge:
    """A gateway whose logins are a key and somebody else's word."""
    services, made = gateway.gateway.services, Judge()
    auth = replace(services.auth, chains=(("publickey", "oidc"),), outside={"oidc": made})
    gateway.gateway.services = replace(services, auth=auth)
    return made


def to_the_provider(gateway: MemoryGateway) -> Any:
    peer = gateway.connect()
    log_in(peer, b"alice")
    assert peer.read_until(51) == b"\x33" + string(b"keyboard-interactive") + b"\1"
    interactive = b"\x32" + string(b"alice") + string(b"ssh-connection") + string(b"keyboard-interactive")
    peer.send(interactive + string(b"") + string(b""))
    asked = peer.read_until(60)
    assert b"open https://id.example.com" in asked and asked.endswith(uint32(0))
    return peer


def test_a_login_waits_for_somebody_elses_word(gateway: MemoryGateway, judged: Judge) -> None:
    peer = to_the_provider(gateway)
    peer.send(b"\x3d" + uint32(0))
    gateway.clock.advance(80)  # longer than the login grace: the wait has an end of its own
    assert [line["result"] for line in lines(gateway) if line["event"] == "auth"] == ["partial"]
    assert gateway.gateway.startups.in_all == 1
    judged.verdict.callback(None)
    peer.read_until(52)
    logged = [(line["method"], line["result"]) for line in lines(gateway) if line["event"] == "auth"]
    assert logged == [("publickey", "partial"), ("oidc", "ok")]
    assert gateway.gateway.startups.in_all == 0


def test_a_login_that_somebody_else_refuses_is_none(gateway: MemoryGateway, judged: Judge) -> None:
    peer = to_the_provider(gateway)
    peer.send(b"\x3d" + uint32(0))
    judged.verdict.errback(Refused(AuthReason.FACTOR_DENIED, "no"))
    assert "the sign-in was refused there" in peer.read_disconnect()[1]
    logged = [(line["method"], line["reason"]) for line in lines(gateway) if line["event"] == "auth"]
    assert logged == [("publickey", "partial"), ("oidc", "factor_denied")]


@pytest.mark.parametrize("answered", [False, True])
def test_nobody_opens_anything_while_somebody_else_is_asked(
    gateway: MemoryGateway, judged: Judge, answered: bool
) -> None:
    peer = to_the_provider(gateway)
    if answered:
        peer.send(b"\x3d" + uint32(0))
    peer.send(b"\x5a" + string(b"session") + uint32(0) + uint32(65536) + uint32(32768))
    peer.read_disconnect()
    assert judged.verdict.called is answered and gateway.front.connections == set()


def test_who_leaves_meanwhile_is_waited_for_no_longer(gateway: MemoryGateway, judged: Judge) -> None:
    peer = to_the_provider(gateway)
    peer.send(b"\x3d" + uint32(0))
    peer.hang_up()
    assert judged.verdict.called and gateway.front.connections == set()
    assert [line["reason"] for line in lines(gateway) if line["event"] == "auth"] == ["partial", "abandoned"]

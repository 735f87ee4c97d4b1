"""Where a channel of an outer connection leads: to a session, to the lobby, to a tunnel, or nowhere."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from bastion.auth.budget import Budget
from bastion.auth.identity import Identity
from bastion.auth.key_counters import KeyCounters
from bastion.auth.restrictions import Restrictions
from bastion.auth.revocation import NOTHING_REVOKED
from bastion.ca.front_keys import FrontKeys
from bastion.ca.host_certificates import InnerHostKeys
from bastion.ca.slots import Staged
from bastion.clock import FixedClock
from bastion.doors import outer as outer_door
from bastion.doors.door import Asked
from bastion.doors.jump import UNPROVED_BURST
from bastion.doors.outer import LAST_WORDS, OuterDoors
from bastion.errors import PolicyReason
from bastion.observe.audit import AuditFailed
from bastion.observe.events import About, AuditEvent
from bastion.observe.meters import CHANNELS, Meters
from bastion.observe.rationed import RationedLog
from bastion.options import Source
from bastion.policy.route import ToGateway
from bastion.policy.rules import parse_policy
from bastion.policy.targets import parse_targets
from bastion.session.gateway import Limits
from bastion.transport.settings import ClosedBy, CloseReason, TransportSettings
from bastion.wire import messages as m
from bastion.wire.forwards import TcpipForward
from bastion.wire.kexinit import FRONT
from bastion.wire.keys import PrivateKey
from tests.support.outer import Leg, opens_session, opens_tcpip

NOW = 1_800_000_000.0
RULES = """
[[rule]]
name = "web"
groups = ["ops"]
targets = ["web1", "edge"]
logins = ["deploy"]
verbs = ["shell"]
"""
TARGETS = """
[targets.web1]
host = "10.0.0.1"
aliases = ["www"]
[targets.web2]
host = "10.0.0.2"
[targets.edge]
host = "10.0.0.9"
kind = "gateway"
[targets.odd]
host = "10.0.0.1"
"""


class Door:
    """A door that grants every channel and keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Asked | None] = []
        self.visits: list[Any] = []
        self.ends: list[Any] = []
        self.gone = 0

    def open(self, outer: Any, channel: Any, asked: Asked | None) -> None:
        self.visits.append(outer)
        self.asked.append(asked)
        channel.confirm()

    def shut_down(self, end: Any) -> None:
        self.ends.append(end)

    def closed(self) -> None:
        self.gone += 1


class Outer:
    """One outer connection of alice; tunnels and the lobby only note that they were called."""

    def __init__(self, **limits: Any) -> None:
        self.reactor = Clock()
        self.clock = FixedClock(NOW)
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.audit_is_full = False
        policy = parse_policy(tomllib.loads(RULES), Source("p"))
        self.services = SimpleNamespace(
            policy=policy,
            inventory=parse_targets(tomllib.loads(TARGETS), Source("t")),
            limits=Limits(**limits),
            auth=SimpleNamespace(
                methods=("publickey",),
                chains_of=lambda break_glass: (("publickey",),),
                chains_of_anybody=(("publickey",),),
            ),
            inner_host_keys=InnerHostKeys(
                FrontKeys(TransportSettings(FRONT), [Staged(PrivateKey.generate_ed25519())], self.clock),
                FRONT,
                None,
                self.clock,
            ),
        )
        self.gateway: Any = SimpleNamespace(
            codes=None,
            list_in_force=lambda: NOTHING_REVOKED,
            reactor=self.reactor,
            clock=self.clock,
            meters=Meters(),
            services=self.services,
            draining=False,
            reloads=0,
            audit=self,
            budget=Budget(self.clock),
            rationed=RationedLog(self, self.reactor, Meters()),  # type: ignore[arg-type]
            key_counters=KeyCounters(),
            pays_key_exchanges=lambda name: lambda microseconds: None,
        )
        self.identity = Identity(
            "alice", "u-1", frozenset({"ops"}), "test", ("publickey",), None, "192.0.2.1", Restrictions(), NOW
        )
        self.leg: Any = Leg(peer_version=b"SSH-2.0-OpenSSH_9.2p1 Debian-2")
        self.doors = OuterDoors(self.gateway, self.leg, "abcdefghijklmnop", self.identity)
        self.doors.start()
        self.lobby, self.tunnel = Door(), Door()
        changed: Any = self.doors
        changed._lobby, changed._tunnel = self.lobby, self.tunnel

    @property
    def visits(self) -> list[Any]:
        return self.lobby.visits

    @property
    def tunnels(self) -> list[tuple[str, int, str | None]]:
        return [
            (one.place.host, one.place.port, one.way.target.name if isinstance(one.way, ToGateway) else None)
            for one in self.tunnel.asked
            if one is not None
        ]

    # the audit log
    def note(self, event: AuditEvent, about: About) -> None:
        self.append(event.event, about, about.fields() | event.fields())

    def emit(self, event: AuditEvent, about: About) -> None:
        if self.audit_is_full:
            raise AuditFailed
        self.note(event, about)

    def append(self, event: str, about: About, fields: Mapping[str, Any]) -> None:
        named = {"session": about.session, "ref": about.ref, **fields}
        self.lines.append((event, {key: value for key, value in named.items() if value != ""}))

    def said(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.lines if name == event]

    def hear(self, *lines: m.Message) -> list[m.Message]:
        self.leg.receiver([line.encode() for line in lines])
        return list(self.leg.said())


@pytest.fixture
def outer() -> Outer:
    return Outer()


def is_session(said: list[m.Message]) -> bool:
    """The channel was granted and our version line followed: the inner SSH is ended here."""
    return (
        len(said) == 2
        and isinstance(said[0], m.ChannelOpenConfirmation)
        and isinstance(said[1], m.Data)
        and said[1].data.startswith(b"SSH-2.0-")
    )


@pytest.mark.parametrize("host", ["web1", "WEB1.", "www", "10.0.0.1", "::ffff:10.0.0.1", "0x0a000001"])
def test_the_ssh_port_of_a_target_becomes_a_session(outer: Outer, host: str) -> None:
    assert is_session(outer.hear(opens_tcpip(0, host=host)))
    (jump,) = outer.said("jump")
    assert (jump["target"], jump["host"], jump["connection"]) == ("web1", host, "abcdefghijklmnop")
    assert outer.tunnels == []


@pytest.mark.parametrize(
    ("host", "port"), [("web2", 22), ("10.0.0.2", 22), ("WEB2.", 22), ("::ffff:10.0.0.2", 22)]
)
def test_a_target_that_is_not_ones_own_never_becomes_a_tunnel(outer: Outer, host: str, port: int) -> None:
    (said,) = outer.hear(opens_tcpip(0, host=host, port=port))
    assert isinstance(said, m.ChannelOpenFailure) and said.code == 1
    assert outer.tunnels == []
    assert outer.said("refused")[-1]["reason"] is PolicyReason.NO_RULE


def test_the_words_are_those_for_what_does_not_exist(outer: Outer) -> None:
    known, unknown = outer.doors.unreachable("web2", 22), outer.doors.unreachable("web9", 22)
    assert known.text.replace("web2", "web9") == unknown.text
    assert (known.reason, unknown.reason) == (PolicyReason.NO_RULE, PolicyReason.UNKNOWN_TARGET)


def test_a_name_at_another_port_is_told_its_port_only_when_it_is_ones_own(outer: Outer) -> None:
    assert "web1 is reached at port 22" in outer.doors.unreachable("web1", 2222).text
    assert "port 22:" not in outer.doors.unreachable("web2", 2222).text


def test_a_gateway_is_carried_as_it_is(outer: Outer) -> None:
    outer.hear(opens_tcpip(0, host="edge"))
    assert outer.tunnels == [("edge", 22, "edge")]
    assert outer.said("jump") == []


def test_what_is_no_target_is_the_tunnels_to_judge(outer: Outer) -> None:
    outer.hear(opens_tcpip(0, host="db1", port=5432), opens_tcpip(1, host="web1", port=8080))
    assert outer.tunnels == [("db1", 5432, None), ("web1", 8080, None)]


@pytest.mark.parametrize("port", [0, 65536, 4_294_967_295])
def test_ports_that_are_none_go_nowhere(outer: Outer, port: int) -> None:
    (said,) = outer.hear(opens_tcpip(0, host="db1", port=port))
    assert isinstance(said, m.ChannelOpenFailure)
    assert outer.tunnels == []


def test_a_session_channel_is_the_lobbys(outer: Outer) -> None:
    outer.hear(opens_session())
    assert outer.visits == [outer.doors]


def test_a_refusal_has_a_line_a_count_and_a_reference(outer: Outer) -> None:
    (said,) = outer.hear(opens_tcpip(5, host="web2"))
    assert isinstance(said, m.ChannelOpenFailure)
    assert said.text.endswith("(ref abcdef)")
    assert outer.gateway.meters.value(CHANNELS, "direct-tcpip", PolicyReason.NO_RULE) == 1
    line = outer.said("refused")[-1]
    assert (line["what"], line["kind"], line["user"], line["host"]) == (
        "channel",
        "direct-tcpip",
        "alice",
        "web2",
    )


def test_hidden_letters_of_a_client_are_written_out(outer: Outer) -> None:
    outer.hear(opens_tcpip(0, host="a\x1b]0;x\x07\u202e", port=0))
    assert outer.said("refused")[-1]["host"] == "a\\x1b]0;x\\x07\\u202e"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("old", "too old to open anything new"),
        ("draining", "closing down"),
        ("log", "audit log cannot be written"),
    ],
)
def test_when_nothing_new_may_be_opened(change: str, text: str) -> None:
    outer = Outer()
    outer.gateway.draining = change == "draining"
    outer.audit_is_full = change == "log"
    if change == "old":
        outer.clock.advance(13 * 3600)
    if change != "log":
        said = outer.hear(opens_session(0), opens_tcpip(1, host="db1", port=5432))
        assert [isinstance(one, m.ChannelOpenFailure) and text in one.text for one in said] == [True, True]
        assert outer.visits == outer.tunnels == []
    else:
        (refused,) = outer.hear(opens_tcpip(2))
        assert isinstance(refused, m.ChannelOpenFailure) and text in refused.text


@pytest.mark.parametrize("state", ["full", "old", "draining"])
def test_what_is_forbidden_reads_like_what_is_unknown_whatever_else_is_wrong(state: str) -> None:
    """With all channels in use a target that is not alice's was refused in other words than a name that is none."""
    outer = Outer(channels=2)
    if state == "full":
        outer.hear(opens_session(0), opens_session(1))
    elif state == "old":
        outer.clock.advance(13 * 3600)
    outer.gateway.draining = state == "draining"
    for port in (22, 0, 99):
        words = []
        for number, host in ((7, "web2"), (8, "nope")):
            (refused,) = outer.hear(opens_tcpip(number, host=host, port=port))
            assert isinstance(refused, m.ChannelOpenFailure)
            words.append((refused.code, refused.text.replace(host, "HOST")))
        assert words[0] == words[1]


def test_sessions_and_other_channels_have_limits_of_their_own() -> None:
    outer = Outer(channels=2, sessions_per_connection=3)
    for number in range(3):
        assert is_session(outer.hear(opens_tcpip(number)))
    (full,) = outer.hear(opens_tcpip(3))
    assert (
        isinstance(full, m.ChannelOpenFailure) and "no more than 3 sessions" in full.text and full.code == 4
    )
    outer.hear(opens_session(4), opens_tcpip(5, host="db1", port=1))
    (refused,) = outer.hear(opens_session(6))
    assert isinstance(refused, m.ChannelOpenFailure) and "no more than 2 channels" in refused.text


def test_the_place_of_a_session_is_free_when_it_ended() -> None:
    outer = Outer(sessions_per_connection=1)
    said = outer.hear(opens_tcpip(0))
    assert isinstance(said[0], m.ChannelOpenConfirmation)
    outer.hear(m.Eof(said[0].sender), m.Close(said[0].sender))
    assert is_session(outer.hear(opens_tcpip(0)))


# -- endings ----------------------------------------------------------------------------------------------------


def test_a_silent_client_is_asked_and_then_ended() -> None:
    outer = Outer(keepalive_interval=10.0, keepalive_count=2)
    outer.hear(opens_session(0))
    outer.reactor.advance(10)  # something was heard
    assert outer.leg.said() == []
    for _ in range(2):
        outer.reactor.advance(10)
        assert outer.leg.said() == [m.GlobalRequest("keepalive@openssh.com", True)]
    outer.reactor.advance(10)
    assert outer.leg.disconnected is not None
    assert "does not answer" in outer.leg.disconnected[1]


def test_an_answer_is_a_sign_of_life() -> None:
    outer = Outer(keepalive_interval=10.0, keepalive_count=1)
    for _ in range(20):
        outer.reactor.advance(10)
        if outer.leg.said():
            outer.hear(m.RequestFailure())
    assert outer.leg.disconnected is None


def test_no_interval_no_question() -> None:
    outer = Outer(keepalive_interval=0.0)
    assert outer.reactor.getDelayedCalls() == []


def test_the_end_of_the_connection_stops_every_timer(outer: Outer) -> None:
    outer.hear(opens_tcpip(0))
    outer.doors.closed(CloseReason(ClosedBy.NETWORK))
    assert outer.reactor.getDelayedCalls() == []
    assert outer.said("outer_ended")[-1]["channels"] == 1
    assert outer.lobby.gone == outer.tunnel.gone == 1


def test_a_stop_lets_the_last_words_inside_arrive_first(outer: Outer) -> None:
    outer.hear(opens_tcpip(0))
    outer.doors.shut_down("the gateway is closing down")
    assert [end.text for end in outer.tunnel.ends] == ["the gateway is closing down"]
    inside = b"".join(one.data for one in outer.leg.said() if isinstance(one, m.Data))
    assert b"bastion: the gateway is closing down" in inside  # still in plain text: no keys were made
    assert outer.leg.disconnected is None
    outer.reactor.advance(LAST_WORDS)
    assert outer.leg.disconnected == (11, "bastion: the gateway is closing down")


def test_a_stop_does_not_wait_for_nobody(outer: Outer) -> None:
    outer.doors.shut_down("the gateway is closing down")
    outer.reactor.advance(0)
    assert outer.leg.disconnected is not None


# -- whose channel it is ------------------------------------------------------------------------------------------


def test_a_second_channel_is_never_the_first(outer: Outer) -> None:
    first = outer.hear(opens_tcpip(0))
    assert isinstance(first[0], m.ChannelOpenConfirmation)
    outer.hear(m.Eof(first[0].sender), m.Close(first[0].sender))
    outer.hear(opens_tcpip(0))
    assert [line["stdio"] for line in outer.said("jump")] == [1, 0]


@pytest.mark.parametrize(
    "before",
    [
        m.GlobalRequest("no-more-sessions@openssh.com", False),
        m.GlobalRequest("keepalive@openssh.com", True),
        m.GlobalRequest("tcpip-forward", True, TcpipForward("localhost", 0).encode()),
        opens_tcpip(0, packet=1),
        opens_session(0),
    ],
    ids=["no-more-sessions", "keepalive", "-R", "a refused channel", "a session"],
)
def test_nor_is_one_after_anything_else(outer: Outer, before: m.Message) -> None:
    outer.hear(before)
    outer.hear(m.Close(0)) if isinstance(before, m.ChannelOpen) and before.kind == "session" else None
    outer.hear(opens_tcpip(0))
    assert outer.said("jump")[-1]["stdio"] == 0


def test_a_client_that_is_refused_for_ever_is_ended(outer: Outer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each refusal is a line in the audit log: without an end one peer would fill the disk."""
    monkeypatch.setattr(outer_door, "REFUSALS", 3)
    ended: list[str] = []
    monkeypatch.setattr(outer.leg, "disconnect", lambda code, text: ended.append(text))
    for number in range(3):
        outer.hear(opens_tcpip(number, host="web2"))
    assert ended == []
    outer.hear(m.ChannelOpen("what@example.com", 3, 1000, 1000, b""))
    assert ended == ["bastion: too many refused requests"]


def test_time_before_the_end_of_unfinished_logins_does_not_count_for_them(outer: Outer) -> None:
    """They were held open for a while, and only then there was anything that time could wear off."""
    numbers = range(UNPROVED_BURST + 20)
    granted = [outer.hear(opens_tcpip(number))[0] for number in numbers]
    outer.reactor.advance(19)
    for one in granted:
        assert isinstance(one, m.ChannelOpenConfirmation)
        outer.hear(m.Close(one.sender))
    outer.reactor.advance(5)
    assert isinstance(outer.hear(opens_tcpip(0))[0], m.ChannelOpenFailure)
    outer.reactor.advance(17)
    assert is_session(outer.hear(opens_tcpip(0)))

"""RADIUS servers: asked in turn, answered through datagrams of this test, and never believed without a proof."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock

from bastion.auth.identity import Identity
from bastion.auth.radius import CHALLENGES, SILENT, RadiusFactor, RadiusTerms
from bastion.auth.radius_packets import Attribute
from bastion.clock import FixedClock
from bastion.errors import AuthReason, LimitReason, Refused
from bastion.observe.meters import FACTOR_FAULTS, FACTORS_WAITING, Meters
from bastion.options.kinds import Address
from bastion.wire.userauth import Prompt

from .test_radius_packets import answer, revealed

SECRET = b"a secret of sixteen"
FIRST, SECOND = Address("192.0.2.8", 1812), Address("2001:db8::8", 1812)
ALICE = Identity("alice", "u-1", frozenset(), "test", ("publickey",), None, "198.51.100.4")
ACCEPT, REJECT, CHALLENGE = 2, 3, 11


class Port:
    """A UDP socket in memory, connected to one server."""

    def __init__(self, net: Net, protocol: Any, interface: str) -> None:
        self.net, self.protocol, self.interface = net, protocol, interface
        self.server: Address | None = None
        self.open = True
        protocol.makeConnection(self)

    def connect(self, host: str, port: int) -> None:
        self.server = Address(host, port)

    def write(self, data: bytes) -> None:
        assert self.open and self.server is not None
        self.net.sent.append((self.server, data))
        self.net.last = self
        self.net.on_sent()

    def stopListening(self) -> None:
        self.open = False


class Net(Clock):
    """The reactor: time, and sockets that keep what was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[Address, bytes]] = []
        self.ports: list[Port] = []
        self.last: Any = None
        self.full = False
        self.on_sent: Callable[[], None] = lambda: None

    def listenUDP(self, port: int, protocol: Any, interface: str, maxPacketSize: int) -> Port:
        if self.full:
            raise CannotListenError(interface, port, OSError("full"))
        made = Port(self, protocol, interface)
        self.ports.append(made)
        return made


class Site:
    def __init__(self, *servers: Address, **terms: Any) -> None:
        self.net, self.clock, self.meters = Net(), FixedClock(), Meters()
        self.terms = RadiusTerms(servers or (FIRST,), SECRET, **terms)
        self.factor = RadiusFactor(self.terms, self.net, self.clock, self.meters)
        self.questions: list[tuple[Prompt, float]] = []
        self.waiting: Deferred[tuple[bytes, ...]] = Deferred()
        self.ended: list[Any] = []

    def ask(self, prompts: tuple[Prompt, ...], text: str, seconds: float) -> Deferred[tuple[bytes, ...]]:
        (prompt,) = prompts
        self.questions.append((prompt, seconds))
        self.waiting = Deferred()
        return self.waiting

    def begin(self, typed: str = "123456") -> Deferred[None]:
        running = Deferred.fromCoroutine(self.factor.prove(ALICE, "198.51.100.4", typed, self.ask))
        running.addBoth(self.ended.append)
        return running

    @property
    def packet(self) -> bytes:
        return self.net.sent[-1][1]

    def attributes(self) -> dict[int, bytes]:
        found, at, data = {}, 20, self.packet
        while at < len(data):
            found[data[at]] = data[at + 2 : at + data[at + 1]]
            at += data[at + 1]
        return found

    def says(
        self, code: int, *attributes: tuple[int, bytes], secret: bytes = SECRET, signed: bool = True
    ) -> None:
        packet = self.packet
        made = answer(
            code, *attributes, identifier=packet[1], authenticator=packet[4:20], secret=secret, signed=signed
        )
        self.net.last.protocol.datagramReceived(made, ("192.0.2.8", 1812))

    @property
    def reason(self) -> Any:
        (failure,) = self.ended
        assert isinstance(failure.value, Refused)
        return failure.value.reason

    def faults(self) -> dict[str, int]:
        kinds = ("unreachable", "malformed", "unverified")
        found = {kind: self.meters.value(FACTOR_FAULTS, "radius", kind) for kind in kinds}
        return {kind: count for kind, count in found.items() if count}

    def is_tidy(self) -> bool:
        closed = not any(port.open for port in self.net.ports)
        return closed and not self.net.getDelayedCalls() and not self.meters.value(FACTORS_WAITING, "radius")


def test_a_yes_of_the_server() -> None:
    site = Site(suffix="@example.com", nas="gw1")
    site.begin()
    assert site.net.sent[0][0] == FIRST and site.net.ports[0].interface == "0.0.0.0"
    found = site.attributes()
    assert found[Attribute.USER_NAME] == b"alice@example.com" and found[Attribute.NAS_IDENTIFIER] == b"gw1"
    assert found[Attribute.CALLING_STATION_ID] == b"198.51.100.4"
    assert revealed(found[Attribute.USER_PASSWORD], SECRET, site.packet[4:20]) == b"123456"
    site.says(ACCEPT)
    assert site.ended == [None] and site.is_tidy() and site.faults() == {}


def test_a_no_is_a_wrong_code() -> None:
    site = Site(FIRST, SECOND)
    site.begin()
    site.says(REJECT, (18, b"go away"))
    assert site.reason is AuthReason.BAD_CODE and len(site.net.sent) == 1, "nobody else is asked"
    assert site.is_tidy()


def test_the_same_packet_is_sent_again_and_then_the_next_server_is_asked() -> None:
    site = Site(FIRST, SECOND, timeout=3.0)
    site.begin()
    site.net.advance(3)
    assert [server for server, _ in site.net.sent] == [FIRST, FIRST]
    assert site.net.sent[0] == site.net.sent[1]
    site.net.advance(3)
    assert site.net.sent[2][0] == SECOND and site.net.last.interface == "::"
    assert site.net.sent[2][1][4:20] != site.net.sent[0][1][4:20], "another request"
    site.says(ACCEPT)
    assert site.ended == [None] and site.faults() == {"unreachable": 1} and site.is_tidy()


def test_who_was_silent_is_asked_last_for_a_while() -> None:
    site = Site(FIRST, SECOND, timeout=3.0, tries=1)
    site.begin()
    site.net.advance(3)
    site.says(ACCEPT)
    site.begin()
    assert site.net.sent[-1][0] == SECOND
    site.says(ACCEPT)
    site.clock.advance(SILENT)
    site.begin()
    assert site.net.sent[-1][0] == FIRST
    site.says(ACCEPT)
    assert site.ended == [None] * 3


def test_where_nobody_answers_nobody_is_let_in() -> None:
    site = Site(FIRST, SECOND, timeout=3.0)
    site.begin()
    for _ in range(4):
        assert site.ended == []
        site.net.advance(3)
    assert (
        site.reason is AuthReason.FACTOR_UNAVAILABLE
        and site.faults() == {"unreachable": 2}
        and site.is_tidy()
    )


def test_a_port_where_nobody_listens_is_not_waited_for() -> None:
    site = Site(FIRST, SECOND)
    site.net.on_sent = lambda: site.net.last.protocol.connectionRefused()
    site.begin()
    assert site.reason is AuthReason.FACTOR_UNAVAILABLE and site.net.seconds() == 0 and site.is_tidy()


def test_answers_that_prove_nothing_are_dropped() -> None:
    site = Site(timeout=3.0, tries=1)
    site.begin()
    site.says(ACCEPT, secret=b"another secret here")
    site.says(ACCEPT, signed=False)
    site.net.last.protocol.datagramReceived(b"garbage", ("192.0.2.8", 1812))
    assert site.ended == []
    site.says(ACCEPT)
    assert site.ended == [None] and site.faults() == {}
    other = Site(timeout=3.0, tries=1)
    other.begin()
    other.says(ACCEPT, signed=False)
    other.net.advance(3)
    assert other.reason is AuthReason.FACTOR_UNAVAILABLE and other.faults() == {"unverified": 1}


def test_a_challenge_is_asked_on_and_answered_to_who_asked() -> None:
    site = Site(FIRST, SECOND, timeout=3.0, tries=1)
    site.begin()
    site.net.advance(3)
    site.says(CHALLENGE, (24, b"state-1"), (18, b"Next \x1b[2J code"), (76, bytes((0, 0, 0, 1))))
    prompt, seconds = site.questions[0]
    assert prompt == Prompt("RADIUS server: Next \\x1b[2J code: ", echo=True) and seconds == 60
    site.waiting.callback((b"654321",))
    assert site.net.sent[-1][0] == SECOND and site.attributes()[Attribute.STATE] == b"state-1"
    assert revealed(site.attributes()[Attribute.USER_PASSWORD], SECRET, site.packet[4:20]) == b"654321"
    site.says(CHALLENGE, (24, b"state-2"))
    assert site.questions[1][0] == Prompt("RADIUS server: More: ")
    site.waiting.callback((b"",))
    assert site.attributes()[Attribute.STATE] == b"state-2"
    site.says(ACCEPT)
    assert site.ended == [None] and site.is_tidy()


def test_a_challenge_without_end_has_one() -> None:
    site = Site()
    site.begin()
    for _ in range(CHALLENGES):
        site.says(CHALLENGE)
        site.waiting.callback((b"again",))
    site.says(CHALLENGE)
    assert site.reason is AuthReason.FACTOR_DENIED and site.is_tidy()


def test_a_challenge_that_nobody_answers() -> None:
    site = Site()
    site.begin()
    site.says(CHALLENGE)
    site.waiting.errback(Refused(LimitReason.LOGIN_GRACE, "late"))
    assert site.reason is AuthReason.FACTOR_TIMEOUT and site.is_tidy()


@pytest.mark.parametrize("challenged", [False, True])
def test_who_leaves_is_waited_for_no_longer(challenged: bool) -> None:
    site = Site()
    running = site.begin()
    if challenged:
        site.says(CHALLENGE)
    running.cancel()
    assert site.ended[0].check(CancelledError) and site.is_tidy()


def test_what_no_server_could_be_asked() -> None:
    site = Site()
    site.begin("x" * 129)
    assert site.reason is AuthReason.BAD_CODE and site.net.sent == []
    full = Site(FIRST, SECOND)
    full.net.full = True
    full.begin()
    assert full.reason is AuthReason.FACTOR_UNAVAILABLE and full.faults() == {"unreachable": 2}


def test_one_proof_takes_as_long_as_all_servers_and_all_questions() -> None:
    assert Site(FIRST, SECOND, timeout=3.0, tries=2).factor.wait == 12 + CHALLENGES * 66
    assert Site().factor.prompt == "Code"
    assert "a secret" not in repr(replace(Site().terms, tries=1))

"""Behind a load balancer: who may say for whom it connects, what it must say, and what of it reaches the gateway."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from bastion.doors.balancer import (
    HEADER_WAIT,
    PROBE_WAIT,
    VERSION_MOST,
    WAITING_MOST,
    Doorway,
    HeaderWait,
    Probe,
    balancers_of,
    unserved,
)
from bastion.errors import HeaderResult, LimitReason
from bastion.observe.meters import (
    CONNECTIONS_ACCEPTED,
    CONNECTIONS_CLOSED,
    CONNECTIONS_LIVE,
    CONNECTIONS_REFUSED,
    HANDSHAKES,
    PROXY_HEADERS,
)
from bastion.options.kinds import Network
from bastion.wire.proxy_header import SIGNATURE
from tests.hostile.memory_gateway import FAST, MemoryGateway, Peer, let_in, log_in
from tests.hostile.rawssh import MemoryWire, PipeEnd
from tests.support.proxy_headers import LOCAL, binary, checked, line

BALANCER, ENGINEER = "10.0.0.2", "198.51.100.77"
LISTED: tuple[Network, ...] = (ipaddress.ip_network("10.0.0.0/30"), ipaddress.ip_network("2001:db8::/64"))
PLACE = ("127.0.0.1", 2222)


class End(PipeEnd):
    """A socket that can be given to another protocol, as `net.socket.Server` can."""

    above: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def give_to(self, protocol: Any) -> None:
        self.above = protocol
        protocol.makeConnection(self)

    def loseConnection(self) -> None:
        self.closed = True


class Wire(MemoryWire):
    """Bytes go to whoever has the socket."""

    def __init__(self, first: Any) -> None:
        end = End()
        end.above = first
        super().__init__(first, end)

    @property
    def above(self) -> Any:
        assert isinstance(self.end, End)
        return self.end.above

    @property
    def closed(self) -> bool:
        assert isinstance(self.end, End)
        return self.end.closed

    def send(self, data: bytes) -> None:
        self.above.dataReceived(memoryview(data))

    def lose(self) -> None:
        self.above.connectionLost(Failure(ConnectionDone()))


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryGateway]:
    made = MemoryGateway(tmp_path, monkeypatch)
    made.gateway.balancers = {PLACE: LISTED}
    yield made
    for peer in made.peers:
        peer.hang_up()
    assert made.front.waiting == set()
    made.close()


def came(gateway: MemoryGateway, peer: str = BALANCER) -> Any:
    """What the socket is given at accept."""
    kind = IPv6Address if ":" in peer else IPv4Address
    return Doorway(gateway.front, *PLACE).buildProtocol(kind("TCP", peer, 40000))


def wire(gateway: MemoryGateway) -> Wire:
    return Wire(came(gateway))


def count(gateway: MemoryGateway, family: Any, *labels: str) -> int:
    return gateway.gateway.meters.value(family, *labels)


def lines(gateway: MemoryGateway) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (gateway.folder / "audit.jsonl").read_text().splitlines()]


def refusal(gateway: MemoryGateway) -> tuple[str, str]:
    """Who was refused for a header, and why: the one line, counted once, with everything closed."""
    (found,) = [one for one in lines(gateway) if one["event"] == "proxy_header"]
    assert count(gateway, PROXY_HEADERS, found["reason"]) == 1
    assert gateway.front.waiting == set() and gateway.gateway.startups.waiting == 0
    assert not gateway.clock.getDelayedCalls() or found["reason"] == "nobody"
    return found["source"], found["reason"]


@pytest.mark.parametrize(
    "header",
    [
        line(ENGINEER),
        binary(ENGINEER, "192.0.2.10", 1, 22),
        checked(binary(ENGINEER, "192.0.2.10", 1, 22)),
        binary(f"::ffff:{ENGINEER}", "::ffff:192.0.2.10", 1, 22),
        line(f"::ffff:{ENGINEER}", destination="::1"),
    ],
)
def test_a_login_is_one_from_the_address_of_the_header(gateway: MemoryGateway, header: bytes) -> None:
    made = wire(gateway)
    made.send(header)
    peer = Peer(made, algorithms=FAST)
    log_in(peer)
    let_in(gateway.target())
    peer.read_until(52)
    assert isinstance(peer.end, End) and not isinstance(peer.end.above, HeaderWait)
    assert {one["event"] for one in lines(gateway) if one.get("source") == ENGINEER} >= {
        "auth",
        "session_started",
    }
    assert {one["source"] for one in lines(gateway) if "source" in one} == {ENGINEER}
    assert count(gateway, PROXY_HEADERS, HeaderResult.OK) == 1
    assert count(gateway, CONNECTIONS_ACCEPTED) == count(gateway, CONNECTIONS_LIVE) == 1
    made.lose()
    gateway.peers[-1].hang_up()


def test_what_comes_behind_the_header_in_the_same_read_is_the_clients(gateway: MemoryGateway) -> None:
    made = wire(gateway)
    made.send(line(ENGINEER) + b"SSH-2.0-eager\r\n")
    (connection,) = gateway.front.connections
    assert connection.transport.keys.peer_version == b"SSH-2.0-eager"
    assert bytes(made.end.written).startswith(b"SSH-2.0-")
    made.lose()


def test_a_header_may_come_byte_by_byte_and_not_for_ever(gateway: MemoryGateway) -> None:
    made, late = wire(gateway), wire(gateway)
    header = line(ENGINEER)
    for at in range(len(header) - 1):
        made.send(header[at : at + 1])
        late.send(header[at : at + 1])
        gateway.clock.advance(HEADER_WAIT * 0.99 / len(header))
    made.send(header[-1:])
    assert len(gateway.front.connections) == 1 and made.end.written
    gateway.clock.advance(HEADER_WAIT * 0.1)
    assert late.closed and not late.end.written
    made.lose()
    late.send(header[-1:])  # what was on its way is nobody's
    late.lose()
    assert refusal(gateway) == (BALANCER, "late")


def test_who_is_not_listed_says_nothing_and_gets_nothing(gateway: MemoryGateway) -> None:
    assert came(gateway, "10.0.0.4") is None
    assert refusal(gateway) == ("10.0.0.4", "not_listed")
    assert count(gateway, CONNECTIONS_ACCEPTED) == count(gateway, CONNECTIONS_CLOSED) == 1


@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8::7"])
def test_who_is_listed(gateway: MemoryGateway, peer: str) -> None:
    assert isinstance(came(gateway, peer), HeaderWait)
    for stranger in ("10.0.0.5", "::ffff:10.0.0.5", "2001:db8:0:1::7", "", "/run/x.sock"):
        assert came(gateway, stranger) is None


def test_other_listeners_are_as_they_were(gateway: MemoryGateway) -> None:
    other = Doorway(gateway.front, "127.0.0.1", 2223).buildProtocol(IPv4Address("TCP", BALANCER, 1))
    made = MemoryWire(other)
    made.send(line(ENGINEER))
    assert made.end.half_closed or made.end.aborted
    assert count(gateway, PROXY_HEADERS, HeaderResult.OK) == 0
    other.connectionLost(Failure(ConnectionDone()))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "missing"),
        (b"GET / HTTP/1.0\r\n\r\n", "missing"),
        (b"PROXY TCP4 1.2.3.4\r\n", "malformed"),
        (b"PROXY TCP4 198.51.100.4 192.0.2.10 1 22" + b" " * 200, "too_long"),
        (SIGNATURE + b"\x21\x11\xff\xff" + bytes(65535), "too_long"),
        (SIGNATURE + b"\x21\x31\0\xd8" + bytes(216), "not_tcp"),
        (checked(binary(ENGINEER, "192.0.2.10", 1, 22))[:-1] + b"\0", "checksum"),
    ],
)
def test_what_is_no_header_ends_it_before_a_byte_of_ssh(
    gateway: MemoryGateway, data: bytes, reason: str
) -> None:
    made = wire(gateway)
    made.send(data)
    assert made.closed and not made.end.written
    made.lose()
    assert refusal(gateway) == (BALANCER, reason)


def test_a_header_and_garbage_is_garbage_of_that_address(gateway: MemoryGateway) -> None:
    made = wire(gateway)
    made.send(line(ENGINEER) + b"\0\1\2garbage\r\n" * 100)
    assert made.end.half_closed or made.end.aborted
    made.lose()
    assert count(gateway, HANDSHAKES, "front", "no_version") == 1
    assert [one for one in lines(gateway) if one["event"] == "proxy_header"] == []


def test_a_second_header_is_no_ssh(gateway: MemoryGateway) -> None:
    made = wire(gateway)
    made.send(line(ENGINEER) + line("203.0.113.9"))
    assert made.end.half_closed or made.end.aborted
    made.lose()
    assert count(gateway, HANDSHAKES, "front", "no_version") == 1


def test_who_leaves_without_a_byte_is_a_number_and_in_the_middle_a_line(gateway: MemoryGateway) -> None:
    wire(gateway).lose()
    assert lines(gateway) == [] and count(gateway, PROXY_HEADERS, HeaderResult.SILENT) == 1
    made = wire(gateway)
    made.send(b"PROXY TC")
    made.lose()
    assert refusal(gateway) == (BALANCER, "cut_short")


# -- limits --------------------------------------------------------------------------------------------------------


def test_the_clients_address_is_judged_and_not_the_balancers(gateway: MemoryGateway) -> None:
    penalties: Any = gateway.gateway.services.auth.penalties
    penalties.allows_source = lambda source: source != ENGINEER
    good, bad = wire(gateway), wire(gateway)
    good.send(line("198.51.100.78"))
    bad.send(line(ENGINEER))
    assert bad.closed and not bad.end.written and not good.closed
    assert count(gateway, CONNECTIONS_REFUSED, LimitReason.PENALTY) == 1
    found = lines(gateway)[-1]
    assert (found["event"], found["source"], found["reason"]) == ("connection_refused", ENGINEER, "penalty")
    good.lose()
    bad.lose()


def test_one_balancer_may_bring_more_than_one_source_may(gateway: MemoryGateway) -> None:
    most = 5
    gateway.gateway.startups.set_limits(100, 30, 1000, most)
    wires = [wire(gateway) for _ in range(2 * most)]
    for number, made in enumerate(wires):
        made.send(line(f"198.51.{number}.7"))
    assert gateway.gateway.startups.waiting == 2 * most
    crowd = [wire(gateway) for _ in range(most + 1)]
    for made in crowd:
        made.send(line(ENGINEER))
    assert [made.closed for made in crowd] == [False] * most + [True]
    for made in (*wires, *crowd):
        made.lose()


def test_so_many_wait_for_their_header_at_a_time(gateway: MemoryGateway) -> None:
    wires = [wire(gateway) for _ in range(WAITING_MOST)]
    assert came(gateway) is None
    assert lines(gateway)[-1]["reason"] == "too_many"
    wires.pop().lose()
    wires.append(wire(gateway))
    for made in wires:
        made.lose()


def test_a_stop_ends_those_that_wait(gateway: MemoryGateway) -> None:
    made, probe = wire(gateway), wire(gateway)
    probe.send(LOCAL)
    for waiting in list(gateway.front.waiting):
        waiting.drop()
    assert made.closed and probe.end.half_closed
    made.lose()
    probe.lose()


# -- health checks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        LOCAL,
        b"PROXY UNKNOWN\r\n",
        SIGNATURE + b"\x21\0\0\0",
        line(BALANCER),
        line(f"::ffff:{BALANCER}", 1, "::1"),
    ],
)
@pytest.mark.parametrize("says", [b"", b"SSH-2.0-check\r\n", b"SSH-2.0-che"])
def test_a_health_check_sees_our_version_and_is_no_login(
    gateway: MemoryGateway, header: bytes, says: bytes
) -> None:
    made = wire(gateway)
    made.send(header + says)
    assert isinstance(made.above, Probe)
    assert bytes(made.end.written).startswith(b"SSH-2.0-") and bytes(made.end.written).count(b"\n") == 1
    made.lose()
    assert lines(gateway) == [] and count(gateway, PROXY_HEADERS, HeaderResult.LOCAL) == 1
    assert count(gateway, CONNECTIONS_ACCEPTED) == count(gateway, CONNECTIONS_CLOSED) == 1
    assert count(gateway, CONNECTIONS_LIVE) == count(gateway, HANDSHAKES, "front", "silent") == 0
    assert gateway.gateway.startups.waiting == 0 and not gateway.clock.getDelayedCalls()


@pytest.mark.parametrize("says", [b"SSH-2.0-ssh\r\n\0\0\1", b"x" * (VERSION_MOST + 1), bytes(70000)])
def test_a_login_behind_a_header_that_names_nobody_is_refused_with_words(
    gateway: MemoryGateway, says: bytes
) -> None:
    made = wire(gateway)
    made.send(b"PROXY UNKNOWN\r\n")
    made.send(says)
    made.send(says)
    assert b"does not say which address" in bytes(made.end.written)
    assert made.end.half_closed
    made.lose()
    assert refusal(gateway) == (BALANCER, "nobody")


def test_a_health_check_does_not_stay(gateway: MemoryGateway) -> None:
    made = wire(gateway)
    made.send(LOCAL)
    gateway.clock.advance(PROBE_WAIT)
    assert made.end.half_closed or made.end.aborted
    made.lose()
    assert lines(gateway) == []


def test_while_the_gateway_drains_a_health_check_fails(gateway: MemoryGateway) -> None:
    gateway.gateway.draining = True
    made, engineer = wire(gateway), wire(gateway)
    made.send(LOCAL)
    assert made.closed and not made.end.written
    engineer.send(line(ENGINEER))
    gateway.clock.advance(0)
    assert b"closing down, try again" in bytes(engineer.end.written)
    made.lose()
    engineer.lose()


# -- which listener ------------------------------------------------------------------------------------------------


def test_a_listener_is_found_by_its_address_and_port_0_is_any() -> None:
    assert balancers_of({}, PLACE) is None
    assert balancers_of({PLACE: LISTED}, PLACE) == LISTED
    assert balancers_of({PLACE: LISTED}, ("127.0.0.1", 2223)) is None
    assert balancers_of({("127.0.0.1", 0): LISTED}, PLACE) == LISTED
    assert balancers_of({("127.0.0.2", 0): LISTED}, PLACE) is None


def test_what_is_meant_for_balancers_is_served_or_named() -> None:
    wanted = {PLACE: LISTED, ("::1", 0): LISTED}
    assert unserved(wanted, [PLACE, ("::1", 4711)]) == ""
    assert unserved(wanted, [("0.0.0.0", 2222)]) == "127.0.0.1:2222, [::1]:0"


def test_a_doorway_gives_way_as_the_front_does(gateway: MemoryGateway) -> None:
    doorway = Doorway(gateway.front, *PLACE)
    assert doorway.gives_way is None
    gateway.front.joins_others()
    assert doorway.gives_way() is False

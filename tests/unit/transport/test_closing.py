"""How connections end: words, timers, and that nothing is left behind."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from bastion.errors import LimitReason, ProtocolError
from bastion.transport.settings import LINGER, LINGER_INPUT, LINGER_TOTAL, ClosedBy, CloseReason
from bastion.transport.states import State
from tests.unit.transport.parts import DATA, Bench, Joined, log_in, raw_side, server_and_raw, shake

BOTH = pytest.mark.parametrize("server", [True, False], ids=["server", "client"])


@BOTH
def test_our_disconnect_is_said_then_our_side_closed_then_aborted(server: bool) -> None:
    bench, raw = raw_side(server)
    log_in(bench, raw)
    bench.transport.disconnect(11, "the session has ended")
    assert bench.reason == CloseReason(ClosedBy.US, 11, "the session has ended")
    assert raw.read_disconnect() == (11, "the session has ended")
    assert bench.end.half_closed and not bench.end.aborted
    bench.clock.advance(LINGER - 0.1)
    assert not bench.end.aborted
    bench.clock.advance(0.2)
    assert bench.end.aborted


@BOTH
def test_a_peer_that_closes_first_ends_the_wait(server: bool) -> None:
    bench, raw = raw_side(server)
    log_in(bench, raw)
    bench.transport.disconnect(11, "bye")
    bench.transport.connectionLost(Failure(ConnectionDone()))
    assert bench.clock.getDelayedCalls() == []
    assert len(bench.closed) == 1 and bench.transport.below is None


def test_c24_a_peer_that_never_reads_cannot_keep_us() -> None:
    bench, raw = server_and_raw()
    log_in(bench, raw)
    bench.end.jam()
    bench.transport.send([DATA])
    bench.transport.disconnect(11, "bye")
    assert bench.closed
    bench.clock.advance(LINGER)
    assert bench.end.aborted


def test_a_peer_that_still_takes_what_is_queued_is_waited_for() -> None:
    bench, raw = server_and_raw()
    log_in(bench, raw)
    bench.end.jam()
    bench.transport.send([DATA] * 100)
    bench.transport.disconnect(11, "bye")
    for _ in range(20):
        bench.clock.advance(LINGER - 0.6)
        bench.end.take(100)
    assert not bench.end.aborted
    bench.end.free()
    assert raw.read_disconnect() == (11, "bye")
    bench.clock.pump([0.1] * 26)
    assert bench.end.aborted  # and it never closed
    assert bench.clock.getDelayedCalls() == []


def test_a_peer_that_takes_a_byte_now_and_then_is_not_waited_for_without_end() -> None:
    bench, raw = server_and_raw()
    log_in(bench, raw)
    bench.end.jam()
    bench.transport.send([DATA] * 1000)
    bench.transport.disconnect(11, "bye")
    for second in range(int(LINGER_TOTAL)):
        assert not bench.end.aborted, second
        bench.end.take(1)
        bench.clock.advance(1)
    assert bench.end.aborted


def test_a_peer_that_proved_nothing_is_not_waited_for() -> None:
    bench, raw = server_and_raw()
    shake(bench, raw)
    bench.end.jam()
    raw.send(DATA)
    assert bench.closed and bench.end.queue
    for _ in range(int(LINGER)):
        bench.end.take(1)
        bench.clock.advance(1)
    assert bench.end.aborted


def test_reading_goes_on_so_that_the_peers_close_is_seen() -> None:
    bench, raw = server_and_raw()
    log_in(bench, raw)
    bench.transport.set_reading(False)
    bench.transport.disconnect(11, "bye")
    assert bench.end.reading


def test_what_comes_after_the_end_is_thrown_away_up_to_a_limit() -> None:
    bench, raw = server_and_raw()
    log_in(bench, raw)
    bench.transport.disconnect(11, "bye")
    raw.send(DATA)
    assert bench.receiver.payloads == []
    bench.transport.dataReceived(bytes(LINGER_INPUT))
    assert bench.end.aborted


def test_nothing_is_sent_after_the_end() -> None:
    bench, raw = server_and_raw()
    log_in(bench, raw)
    bench.transport.disconnect(11, "bye")
    raw.read_all()
    bench.transport.send([DATA])
    bench.transport.send_any(b"\x02\0\0\0\0")
    bench.transport.disconnect(11, "again")
    assert raw.read_all() == [] and len(bench.closed) == 1


@BOTH
def test_the_peers_disconnect_is_kept_with_its_words(server: bool) -> None:
    bench, raw = raw_side(server)
    log_in(bench, raw)
    raw.send(b"\x01\0\0\0\x0b\0\0\0\x04byeX\0\0\0\0", DATA)
    assert bench.reason == CloseReason(ClosedBy.PEER, 11, "byeX")
    assert bench.receiver.payloads == []


def test_a_mangled_disconnect_is_still_one() -> None:
    bench, raw = server_and_raw()
    shake(bench, raw)
    raw.send(b"\x01\xff")
    assert bench.reason.by is ClosedBy.PEER and bench.reason.text == ""


@pytest.mark.parametrize(
    ("why", "by"), [(ConnectionDone(), ClosedBy.PEER), (ConnectionLost(), ClosedBy.NETWORK)]
)
def test_a_lost_connection_says_how(why: Exception, by: ClosedBy) -> None:
    bench, raw = server_and_raw()
    log_in(bench, raw)
    bench.transport.connectionLost(Failure(why))
    assert bench.reason == CloseReason(by)
    assert bench.clock.getDelayedCalls() == []


def test_a_peer_that_leaves_during_the_handshake_counts_as_a_failed_one() -> None:
    bench, raw = server_and_raw()
    raw.send_version()
    bench.transport.connectionLost(Failure(ConnectionDone()))
    assert bench.reason.reason is LimitReason.HANDSHAKE_FAILED


def test_a_protocol_error_of_a_service_is_the_peers() -> None:
    bench, raw = server_and_raw()
    shake(bench, raw)

    def fail() -> None:
        raise ProtocolError("that makes no sense", 7)

    bench.service.answers[50] = fail
    raw.send(b"\x32")
    assert raw.read_disconnect() == (7, "that makes no sense")
    assert bench.reason.reason is LimitReason.PROTOCOL_ERROR


def test_a_fault_of_ours_ends_the_connection_and_is_logged() -> None:
    bench, raw = server_and_raw()
    log_in(bench, raw)

    def broken(payloads: list[bytes]) -> None:
        raise RuntimeError("a fault")

    bench.transport.receiver = broken
    raw.send(DATA)
    assert bench.reason.by is ClosedBy.US and bench.reason.text == "internal error"


@BOTH
def test_an_owner_may_disconnect_from_within_a_burst(server: bool) -> None:
    bench, raw = raw_side(server)
    log_in(bench, raw)

    got: list[bytes] = []

    def leaving(payloads: list[bytes]) -> None:
        got.extend(payloads)
        bench.transport.disconnect(11, "enough")

    bench.transport.receiver = leaving
    raw.send(DATA, b"\x02\0\0\0\0", DATA)
    assert len(got) == 1 and bench.reason.text == "enough"


# -- nothing is left behind --------------------------------------------------------------------------------


class Owner:
    """Somebody who holds a transport and is held by it, as a session is."""

    def __init__(self, bench: Bench) -> None:
        self.transport: Any = bench.transport
        self.transport.on_closed = self.gone
        self.transport.on_writable = self.transport.set_reading
        self.transport.other = self.transport
        self.transport.receiver = self.burst
        self.transport.service = self.service

    def burst(self, payloads: list[bytes]) -> None:
        """Take connection messages."""

    def service(self, payload: bytes) -> None:
        """Take service messages."""

    def gone(self, reason: CloseReason) -> None:
        del self.transport


ENDINGS = {
    "ours": lambda transport: (
        transport.disconnect(11, "bye"),
        transport.connectionLost(Failure(ConnectionDone())),
    ),
    "theirs": lambda transport: transport.connectionLost(Failure(ConnectionDone())),
    "a limit": lambda transport: (
        transport.give_up("enough", LimitReason.WRITE_STALL),
        transport.connectionLost(Failure(ConnectionDone())),
    ),
    "garbage": lambda transport: (
        transport.dataReceived(bytes(100_000)),
        transport.connectionLost(Failure(ConnectionDone())),
    ),
}


@pytest.mark.parametrize("rekeying", [False, True])
@pytest.mark.parametrize("ending", ENDINGS)
@BOTH
def test_a_closed_transport_is_freed_without_the_collector(server: bool, ending: str, rekeying: bool) -> None:
    gc.disable()
    try:
        bench, raw = raw_side(server)
        log_in(bench, raw)
        owner = Owner(bench)
        if rekeying:
            bench.transport.keys.rekey()
            bench.transport.send([DATA])
        alive = weakref.ref(bench.transport)
        ENDINGS[ending](bench.transport)
        assert bench.transport.state is State.CLOSED
        assert bench.clock.getDelayedCalls() == []
        del raw, owner, bench
        assert alive() is None
    finally:
        gc.enable()


def two_closed_legs() -> list[weakref.ref[Any]]:
    """Two legs that held each other, as in a session, both closed."""
    pair = Joined()
    pair.log_in()
    one, other = pair.server.transport, pair.client.transport
    one.other, other.other = other, one
    one.on_closed = lambda reason: other.disconnect(11, "the session has ended")
    one.connectionLost(Failure(ConnectionDone()))
    assert other.closed
    other.connectionLost(Failure(ConnectionDone()))
    return [weakref.ref(one), weakref.ref(other)]


def test_two_joined_legs_are_freed_without_the_collector() -> None:
    gc.disable()
    try:
        assert [reference() for reference in two_closed_legs()] == [None, None]
    finally:
        gc.enable()

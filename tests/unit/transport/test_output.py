"""What the peer does not read: back-pressure, limits, the stall timer."""

from __future__ import annotations

import pytest

from bastion.errors import LimitReason
from bastion.transport.settings import OUTPUT_LIMIT, OUTPUT_LIMIT_BEFORE_AUTH
from bastion.transport.stalls import STALLS
from bastion.transport.states import Role
from tests.unit.transport.parts import DATA, log_in, raw_side, server_and_raw, server_settings, shake


def test_one_burst_is_one_write() -> None:
    bench, raw = server_and_raw()
    log_in(bench, raw)
    raw.read_all()
    writes: list[int] = []
    write = bench.end.write
    bench.end.write = lambda data: (writes.append(len(data)), write(data))  # type: ignore[method-assign, assignment]
    bench.transport.send([DATA] * 50)
    assert len(writes) == 1
    assert raw.read_all() == [DATA] * 50


def test_a_peer_that_does_not_read_blocks_the_source_at_the_first_byte() -> None:
    bench, raw = server_and_raw()
    log_in(bench, raw)
    raw.read_all()
    bench.end.jam()
    bench.transport.send([DATA])
    bench.transport.send([DATA])
    assert bench.said == ["blocked"] and bench.transport.blocked
    bench.end.free()
    assert bench.said == ["blocked", "drained"] and not bench.transport.blocked
    assert raw.read_all() == [DATA, DATA]


def test_a_stall_is_known_to_whoever_counts_them_until_it_is_over_or_the_connection_is() -> None:
    stalls = STALLS[Role.SERVER]
    for end in ("free", "close"):
        bench, raw = server_and_raw()
        log_in(bench, raw)
        raw.read_all()
        before, clock = stalls.seconds(bench.clock.seconds()), bench.clock
        bench.end.jam()
        bench.transport.send([DATA])
        bench.transport.send([DATA])
        clock.advance(2.0)
        assert len(stalls) == 1 and stalls.waiting() > 2 * len(DATA)
        if end == "free":
            bench.end.free()
        else:
            bench.transport.connectionLost()
        assert (len(stalls), stalls.waiting()) == (0, 0)
        assert stalls.seconds(clock.seconds()) == pytest.approx(before + 2.0)


def test_blocked_below_and_by_a_key_exchange_is_said_once_and_drained_when_both_are_over() -> None:
    bench, raw = server_and_raw()
    log_in(bench, raw)
    bench.transport.keys.rekey()
    while not bench.said:
        bench.transport.send([b"\x5e" + bytes(30000)])
    bench.end.jam()
    raw.read_kexinit()
    raw.send_kexinit()
    raw.settle()
    raw.send_method()
    assert bench.said == ["blocked"]  # the queue went out, and the transport below took nothing
    assert bench.transport.blocked
    bench.end.free()
    assert bench.said == ["blocked", "drained"]


def test_c12_answers_that_nobody_reads_end_the_connection() -> None:
    bench, raw = server_and_raw()
    log_in(bench, raw)
    bench.end.jam()
    asked = 0
    while not bench.closed:
        raw.send(*[b"\xc0\0\0\1\0" + bytes(256)] * 100)  # PING
        asked += 1
        assert asked * 100 * 256 < 2 * OUTPUT_LIMIT
    assert bench.reason.reason is LimitReason.WRITE_STALL
    assert bench.end.aborted and len(bench.end.queue) <= OUTPUT_LIMIT


def test_c12_the_bound_is_small_before_authentication() -> None:
    bench, raw = server_and_raw()
    shake(bench, raw)
    bench.service.answers[50] = lambda: bench.transport.send_any(b"\x33" + bytes(1000))
    bench.end.jam()
    for _ in range(OUTPUT_LIMIT_BEFORE_AUTH // 1000 + 2):
        raw.send(b"\x32")
    assert bench.reason.reason is LimitReason.WRITE_STALL
    assert bench.end.aborted and len(bench.end.queue) <= OUTPUT_LIMIT_BEFORE_AUTH


def test_a_peer_that_reads_nothing_is_given_up() -> None:
    bench, raw = raw_side(True, server_settings(write_stall=180.0))
    log_in(bench, raw)
    bench.end.jam()
    bench.transport.send([DATA])
    bench.clock.advance(179)
    assert not bench.closed
    bench.clock.advance(1.1)
    assert bench.reason.reason is LimitReason.WRITE_STALL and bench.end.aborted


def test_a_slow_peer_is_not() -> None:
    bench, raw = raw_side(True, server_settings(write_stall=180.0, rekey_seconds=0))
    log_in(bench, raw)
    bench.end.jam()
    bench.transport.send([b"\x5e" + bytes(30000)])
    for _ in range(20):
        bench.clock.advance(100)
        bench.end.take(1000)
    assert not bench.closed
    for _ in range(4):
        bench.clock.advance(121)
    assert bench.reason.reason is LimitReason.WRITE_STALL


def test_a_new_stall_has_its_whole_time() -> None:
    bench, raw = raw_side(True, server_settings(write_stall=180.0))
    log_in(bench, raw)
    bench.end.jam()
    bench.transport.send([DATA])
    bench.clock.advance(1)
    bench.end.free()
    bench.clock.advance(178)
    bench.end.jam()
    bench.transport.send([DATA])
    bench.clock.advance(10)  # the first stall's timer has looked meanwhile
    assert not bench.closed
    bench.clock.advance(169)
    assert not bench.closed
    bench.clock.advance(2)
    assert bench.reason.reason is LimitReason.WRITE_STALL


def test_no_timer_is_left_when_the_peer_reads_again() -> None:
    bench, raw = raw_side(True, server_settings(write_stall=180.0, rekey_seconds=0))
    log_in(bench, raw)
    bench.end.jam()
    bench.transport.send([DATA])
    bench.end.free()
    bench.clock.advance(181)
    assert not bench.closed and bench.clock.getDelayedCalls() == []


def test_bytes_are_counted() -> None:
    bench, raw = server_and_raw()
    log_in(bench, raw)
    sent, received = bench.transport.bytes_sent, bench.transport.bytes_received
    assert sent == bench.end.bytes_taken and received > 0
    raw.send(DATA)
    assert bench.transport.bytes_received > received


def test_the_handshake_answers_each_read_with_one_write() -> None:
    bench, raw = server_and_raw()
    writes: list[bytes] = []
    write = bench.end.write
    bench.end.write = lambda data: (writes.append(bytes(data)), write(data))  # type: ignore[method-assign, assignment]
    shake(bench, raw)
    # The version stood there before; KEXINIT; then the method's reply, NEWKEYS and EXT_INFO together.
    assert [data[5] for data in writes] == [20, 31]
    assert raw.read_all()[0][0] == 7


def test_what_was_collected_leaves_before_the_end() -> None:
    bench, raw = server_and_raw()
    shake(bench, raw)
    raw.read_all()
    raw.send(b"\x5e\0\0\0\0\0\0\0\x01x")  # a connection message before authentication
    assert bench.closed and raw.read_all()[0][0] == 1

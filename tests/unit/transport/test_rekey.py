"""Key exchanges after the first: who begins them, what waits meanwhile, what ends them."""

from __future__ import annotations

import random
import tracemalloc
from types import SimpleNamespace

import pytest

from bastion.errors import LimitReason
from bastion.transport.settings import KEX_QUEUE_LIMIT, KEX_QUEUE_PAUSE
from bastion.transport.states import State
from bastion.wire.keys import PrivateKey
from bastion.wire.numbers import MSG_DISCONNECT, MSG_KEXINIT, MSG_NEWKEYS
from tests.hostile.rawssh import Closed, ignore
from tests.unit.transport.parts import (
    HOST_KEY,
    Joined,
    client_and_raw,
    client_settings,
    log_in,
    raw_side,
    server_and_raw,
    server_settings,
)

BOTH = pytest.mark.parametrize("server", [True, False], ids=["server", "client"])
KIB = 1024


def data(size: int, tag: int = 0) -> bytes:
    return b"\x5e" + bytes([tag]) * size


# -- what begins one ---------------------------------------------------------------------------------------


@BOTH
def test_bytes_sent_begin_one(server: bool) -> None:
    make = server_settings if server else client_settings
    bench, raw = raw_side(server, make(rekey_bytes=100 * KIB))
    log_in(bench, raw)
    for _ in range(4):
        bench.transport.send([data(30 * KIB)])
    assert bench.transport.exchanging
    assert [raw.read_until(94)[0] for _ in range(4)] == [94] * 4
    raw.answer_exchange()
    assert not bench.transport.exchanging and bench.transport.keys.count == 2


@BOTH
def test_bytes_received_begin_one(server: bool) -> None:
    make = server_settings if server else client_settings
    bench, raw = raw_side(server, make(rekey_bytes=100 * KIB))
    log_in(bench, raw)
    raw.send(*[data(30 * KIB)] * 3)
    assert not bench.transport.exchanging
    raw.send(data(30 * KIB))
    assert bench.transport.exchanging
    raw.send(data(10, 7))  # what the peer sends before its own KEXINIT is still delivered
    assert bench.receiver.payloads[-1] == data(10, 7)
    raw.answer_exchange()
    assert bench.transport.keys.count == 2


def test_packets_begin_one() -> None:
    bench, raw = raw_side(True, server_settings(rekey_packets=10))
    log_in(bench, raw)
    raw.send(*[data(1)] * 9)
    assert not bench.transport.exchanging
    raw.send(data(1))
    assert bench.transport.exchanging


def test_time_begins_one() -> None:
    bench, raw = raw_side(True, server_settings(rekey_seconds=3600))
    log_in(bench, raw)
    bench.clock.advance(3599)
    assert not bench.transport.exchanging
    bench.clock.advance(2)
    assert bench.transport.exchanging
    raw.answer_exchange()
    bench.clock.advance(3599)
    assert not bench.transport.exchanging
    bench.clock.advance(2)
    assert bench.transport.exchanging


def test_none_begins_before_authentication() -> None:
    bench, raw = raw_side(True, server_settings(rekey_packets=3, rekey_seconds=10))
    raw.handshake()
    raw.send(*[ignore()] * 5)
    bench.clock.advance(20)
    assert not bench.transport.exchanging and bench.transport.keys.rekey() is False


def test_none_begins_while_the_other_leg_is_in_one() -> None:
    bench, raw = raw_side(True, server_settings(rekey_packets=3, rekey_seconds=10))
    log_in(bench, raw)
    other = bench.transport.other = SimpleNamespace(exchanging=True)
    raw.send(*[data(1)] * 5)
    bench.clock.advance(11)
    assert not bench.transport.exchanging
    other.exchanging = False
    bench.clock.advance(1.1)  # asked again soon, without any traffic
    assert bench.transport.exchanging


@BOTH
def test_asking_twice_begins_one(server: bool) -> None:
    bench, raw = raw_side(server)
    log_in(bench, raw)
    assert bench.transport.keys.rekey() is True
    assert bench.transport.keys.rekey() is False
    raw.answer_exchange()
    assert bench.transport.keys.count == 2


@BOTH
def test_both_sides_may_begin_at_once(server: bool) -> None:
    bench, raw = raw_side(server)
    log_in(bench, raw)
    bench.transport.keys.rekey()
    raw.send_kexinit()
    raw.read_kexinit()
    raw.finish_exchange()
    assert bench.transport.keys.count == 2 and not bench.closed


# -- what waits meanwhile ----------------------------------------------------------------------------------


@BOTH
def test_messages_wait_in_order_and_none_is_lost(server: bool) -> None:
    bench, raw = raw_side(server)
    log_in(bench, raw)
    bench.transport.keys.rekey()
    sent = [data(100, tag) for tag in range(20)]
    bench.transport.send(sent[:10])
    bench.transport.send(sent[10:])
    raw.send_kexinit()
    assert raw.read()[0] == MSG_KEXINIT
    raw.theirs = bench.transport.keys._exchange.ours
    raw.settle()
    if not raw.server:
        raw.send_method()
    raw.read_method()
    raw.read_newkeys()
    assert [raw.read() for _ in sent] == sent  # right behind our NEWKEYS, before the peer's
    raw.send_newkeys()
    assert bench.transport.state is State.AUTHENTICATED


@BOTH
def test_the_peers_messages_behind_its_newkeys_in_one_read_are_delivered(server: bool) -> None:
    bench, raw = raw_side(server)
    log_in(bench, raw)
    raw.send_kexinit()
    raw.read_kexinit()
    raw.settle()
    if not raw.server:
        raw.send_method()
    raw.read_method()
    raw.read_newkeys()
    wire = raw.writer.seal([bytes([MSG_NEWKEYS])])
    raw.writer.switch(raw._keys(not raw.server), raw.strict)
    raw.send_raw(wire + raw.writer.seal([data(5, 1), data(5, 2)]))
    assert bench.receiver.bursts == [[data(5, 1), data(5, 2)]]


@BOTH
def test_a_full_queue_asks_the_source_to_stop_and_says_when_it_may_go_on(server: bool) -> None:
    bench, raw = raw_side(server)
    log_in(bench, raw)
    bench.transport.keys.rekey()
    while bench.said == []:
        bench.transport.send([data(32 * KIB)])
    assert KEX_QUEUE_PAUSE < bench.transport._output._queue.size <= KEX_QUEUE_PAUSE + 33 * KIB
    assert bench.said == ["blocked"] and bench.transport.blocked
    raw.answer_exchange()
    assert bench.said == ["blocked", "drained"] and not bench.transport.blocked


@BOTH
def test_c11_a_queue_beyond_all_bounds_ends_the_connection(server: bool) -> None:
    bench, raw = raw_side(server)
    log_in(bench, raw)
    bench.transport.keys.rekey()
    sent = 0
    while not bench.closed:
        bench.transport.send([b"\x64\0\0\0\0"] * 1000)
        sent += 5000
        assert sent <= KEX_QUEUE_LIMIT + 5000
    assert bench.reason.reason is LimitReason.KEX_QUEUE
    assert bench.end.aborted


@pytest.mark.slow
def test_the_smallest_answers_behind_a_key_exchange_hold_no_more_memory_than_their_limit() -> None:
    """A peer that asks, and does not send the KEXINIT that would let the answers go."""
    bench, raw = server_and_raw()
    log_in(bench, raw)
    bench.transport.keys.rekey()
    questions = raw.writer.seal([b"\xc0\0\0\0\0"] * (KEX_QUEUE_LIMIT // 32))
    tracemalloc.start()
    try:
        for at in range(0, len(questions), 64 * KIB):
            if not bench.closed:
                bench.transport.dataReceived(questions[at : at + 64 * KIB])
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert bench.reason.reason is LimitReason.KEX_QUEUE
    assert held < 2 * KEX_QUEUE_LIMIT


@BOTH
def test_disconnect_and_ignore_do_not_wait(server: bool) -> None:
    bench, raw = raw_side(server)
    log_in(bench, raw)
    bench.transport.keys.rekey()
    bench.transport.send([data(5)])
    bench.transport.send_any(ignore(3))
    bench.transport.disconnect(11, "bye")
    assert [payload[0] for payload in raw.read_all()][-3:] == [MSG_KEXINIT, 2, MSG_DISCONNECT]


# -- what ends one -----------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("peer_began", [True, False])
def test_an_exchange_that_does_not_end_is_ended(server: bool, peer_began: bool) -> None:
    make = server_settings if server else client_settings
    bench, raw = raw_side(server, make(kex_timeout=120.0))
    log_in(bench, raw)
    if peer_began:
        raw.send_kexinit()
    else:
        bench.transport.keys.rekey()
    bench.clock.advance(119)
    assert not bench.closed
    bench.clock.advance(1.1)
    assert bench.reason.reason is LimitReason.KEX_TIMEOUT


def test_time_in_which_we_did_not_read_does_not_count() -> None:
    bench, raw = raw_side(True, server_settings(kex_timeout=120.0))
    log_in(bench, raw)
    bench.transport.keys.rekey()
    bench.clock.advance(60)
    bench.transport.set_reading(False)
    bench.clock.advance(1000)
    bench.transport.set_reading(True)
    bench.clock.advance(59)
    assert not bench.closed
    bench.clock.advance(1.1)
    assert bench.reason.reason is LimitReason.KEX_TIMEOUT


def test_a_pause_before_the_exchange_does_not_lengthen_it() -> None:
    bench, raw = raw_side(True, server_settings(kex_timeout=120.0))
    log_in(bench, raw)
    bench.transport.set_reading(False)
    bench.clock.advance(1000)
    bench.transport.keys.rekey()
    bench.transport.set_reading(True)
    bench.clock.advance(121)
    assert bench.reason.reason is LimitReason.KEX_TIMEOUT


def test_reading_goes_on_once_the_peer_has_sent_kexinit() -> None:
    """Two legs whose exchanges wait for each other must not wait for ever."""
    bench, raw = raw_side(True)
    log_in(bench, raw)
    bench.transport.set_reading(False)
    assert not bench.end.reading
    bench.transport.set_reading(True)
    raw.send_kexinit()
    bench.transport.set_reading(False)
    assert bench.end.reading
    raw.read_kexinit()
    raw.finish_exchange()
    assert not bench.end.reading  # the wish holds again
    bench.transport.set_reading(True)
    assert bench.end.reading


def test_another_host_key_within_a_connection_is_refused() -> None:
    asked: list[bytes] = []
    bench, raw = client_and_raw(check=asked.append)
    log_in(bench, raw)
    raw.host_key = PrivateKey.generate_ed25519()
    raw.host_key_blob = raw.host_key.public.blob
    with pytest.raises(Closed):
        raw.exchange()
    assert bench.reason.text == "the host key changed within the connection"
    assert asked == [HOST_KEY.public.blob]


# -- all together ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_data_both_ways_through_many_exchanges(seed: int) -> None:
    """Two of ours, rekeys begun by both, reads cut anywhere: every message arrives once, in order."""
    dice = random.Random(seed)
    pair = Joined(
        server_settings(rekey_bytes=20_000),
        client_settings(rekey_bytes=31_000),
        piece=dice.choice([0, 1, 97]),
    )
    pair.log_in()
    sent: dict[str, list[bytes]] = {"server": [], "client": []}
    for _ in range(120):
        side = dice.choice(["server", "client"])
        burst = [b"\x5e" + dice.randbytes(dice.randrange(1, 900)) for _ in range(dice.randrange(1, 4))]
        sent[side] += burst
        bench = pair.server if side == "server" else pair.client
        bench.transport.send(burst)
        if dice.random() < 0.05:
            bench.transport.keys.rekey()
        if dice.random() < 0.5:
            pair.pump()
    pair.pump()
    assert pair.client.receiver.payloads == sent["server"]
    assert pair.server.receiver.payloads == sent["client"]
    assert pair.server.transport.keys.count == pair.client.transport.keys.count > 2
    assert not pair.server.closed and not pair.client.closed

"""The jump door, attacked by somebody with a valid login and by targets: every packet by hand, the gateway in memory.

What one channel does may cost that channel or the whole outer connection, never another engineer, and never a
recording its end. The same over real sockets, with figures: `test_gateway_jump.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest

from bastion.doors.jump import UNPROVED_BURST, UNPROVED_RATE
from bastion.endpoint.limits import QUEUE_LIMIT
from bastion.errors import EndReason, PolicyReason
from bastion.observe.meters import CHANNELS, SESSIONS_ENDED
from bastion.wire.data import string, uint32
from tests.hostile import memory_gateway as gate
from tests.hostile.breaks import GOODBYE
from tests.hostile.jump_peers import OPENSSH, Inner, Outer, Refused, jump
from tests.hostile.memory_gateway import MemoryGateway, Peer
from tests.hostile.test_state_matrix import TARGET_CHANNEL
from tests.hostile.test_state_matrix_jump import log_in, session

SESSIONS = 256
MIB = 1 << 20
SMALL = 64 * 1024
FLOOD = gate.data(0, bytes(32 * 1024))


@pytest.fixture
def outer(gateway: MemoryGateway) -> Outer:
    made = gateway.connect(kind=Outer, version=OPENSSH)
    assert isinstance(made, Outer)
    return made.log_in()


def ended(gateway: MemoryGateway, reason: EndReason) -> int:
    return gateway.gateway.meters.value(SESSIONS_ENDED, "jump", reason)


def recordings(gateway: MemoryGateway) -> int:
    return len(list(gateway.gateway.store.sessions()))


def flood(target: Peer) -> None:
    """Output until the gateway reads no more of it."""
    sent = 0
    while target.end.reading:
        target.send(FLOOD)
        sent += len(FLOOD)
        assert sent < MIB, "the gateway reads on"


def works(inner: Inner, target: Peer) -> bool:
    """Bytes pass both ways."""
    inner.send(gate.data(TARGET_CHANNEL, b"ping"))
    target.send(gate.data(0, b"pong"))
    return target.read_until(94).endswith(b"ping") and inner.read_until(94).endswith(b"pong")


# -- many ------------------------------------------------------------------------------------------------------


def test_256_sessions_at_once_and_the_257th(gateway: MemoryGateway, outer: Outer) -> None:
    held = [session(gateway, outer) for _ in range(SESSIONS)]
    for _ in range(3):
        with pytest.raises(Refused, match="no more than 256 sessions per connection"):
            outer.dial()
    assert gateway.gateway.meters.value(CHANNELS, "direct-tcpip", PolicyReason.CHANNEL_LIMIT) == 3
    inner, target = held.pop()
    inner.wire.close()
    gateway.wind_down(3)
    assert target.gone
    held.append(session(gateway, outer))
    assert all(works(inner, target) for inner, target in held)
    outer.send(GOODBYE)
    gateway.wind_down(3)
    assert all(peer.gone for pair in held for peer in pair)
    assert recordings(gateway) == ended(gateway, EndReason.CLIENT_CLOSED) == SESSIONS + 1


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_disconnect_outside_while_20_sessions_run(gateway: MemoryGateway, outer: Outer, busy: bool) -> None:
    """Also with output under way, half a packet of input in each, and a key exchange in every second one."""
    held = [session(gateway, outer) for _ in range(20)]
    if busy:
        for number, (inner, target) in enumerate(held):
            target.send(FLOOD)
            if number % 2:
                inner.transport.keys.rekey()
            inner.send_raw(inner.writer.seal([gate.data(TARGET_CHANNEL, bytes(500))])[:100])
    outer.send(GOODBYE)
    gateway.wind_down(3)
    assert all(peer.gone for pair in held for peer in pair)
    assert recordings(gateway) == ended(gateway, EndReason.CLIENT_CLOSED) == 20


Unfinished = Callable[[Inner], object]
UNFINISHED: dict[str, Unfinished] = {
    "opened": lambda inner: None,
    "greeted": lambda inner: inner.send_version(),
    "keyed": lambda inner: inner.handshake(),
    "refused": lambda inner: refused_login(inner),
}


def refused_login(inner: Inner) -> None:
    """Without proof, on a channel that is not the engineer's own input."""
    inner.handshake()
    inner.request_service()
    inner.read_until(6)
    inner.request_login(b"root")
    inner.read_until(51)


def drop(gateway: MemoryGateway, outer: Outer, number: int, reach: Unfinished) -> None:
    inner = jump(gateway, outer, number=number)
    reach(inner)
    inner.wire.close()
    del outer.pipes[number]


@pytest.mark.parametrize("reach", UNFINISHED.values(), ids=UNFINISHED)
def test_connections_that_prove_nothing_are_bounded(
    gateway: MemoryGateway, outer: Outer, reach: Unfinished
) -> None:
    """Whoever is behind a listening socket may open and drop them: a burst, then one a second."""
    kept = session(gateway, outer)
    for number in range(1, UNPROVED_BURST + 1):
        drop(gateway, outer, number, reach)
    for _ in range(5):
        with pytest.raises(Refused, match="too many unfinished logins"):
            outer.dial(1)
    refused = gateway.gateway.meters.value(CHANNELS, "direct-tcpip", PolicyReason.CHANNEL_RATE)
    assert refused == 5
    assert works(*kept)
    gateway.clock.advance(3 / UNPROVED_RATE)
    for _ in range(3):
        drop(gateway, outer, 1, reach)
    with pytest.raises(Refused, match="too many unfinished logins"):
        outer.dial(1)
    assert works(*kept)


def test_connections_that_prove_who_they_are_are_not_counted(gateway: MemoryGateway, outer: Outer) -> None:
    """A target that is down, and short sessions: however many there are."""
    for number in range(2 * UNPROVED_BURST):
        inner = jump(gateway, outer, number=number)
        log_in(inner)
        if number % 10:
            gateway.links.pop()
        else:
            target = gateway.target()
            gate.let_in(target)
            inner.read_until(52)
        inner.wire.close()
        del outer.pipes[number]
    assert gateway.gateway.meters.value(CHANNELS, "direct-tcpip", PolicyReason.CHANNEL_RATE) == 0


# -- windows ---------------------------------------------------------------------------------------------------


def test_a_window_that_stays_shut_while_the_target_floods(gateway: MemoryGateway, outer: Outer) -> None:
    """The target is not read any more, another session goes on, and the stalled one ends by its timer."""
    stalled, flooding = session(gateway, outer, window=SMALL)
    other = session(gateway, outer)
    stalled.wire.adjusting = False
    flood(flooding)
    ours = stalled.transport.below
    assert 0 < ours.queued < MIB < QUEUE_LIMIT
    assert works(*other)
    gateway.clock.advance(stalled.transport.settings.write_stall - 1)
    assert not stalled.gone and works(*other)
    gateway.wind_down(10)
    assert stalled.gone and flooding.gone and not outer.gone
    assert works(*other)
    assert ended(gateway, EndReason.CLIENT_ERROR) + ended(gateway, EndReason.CLIENT_CLOSED) == 1


def test_a_window_that_is_given_byte_by_byte(gateway: MemoryGateway, outer: Outer) -> None:
    """That is progress, however slow: the session lives, the target stays unread, and nothing piles up."""
    stalled, flooding = session(gateway, outer, window=SMALL)
    stalled.wire.adjusting = False
    flood(flooding)
    kept = stalled.transport.below.queued
    for _ in range(2):
        gateway.clock.advance(stalled.transport.settings.write_stall * 0.6)
        stalled.wire.adjust(1)
    assert not stalled.gone and not flooding.end.reading
    assert stalled.transport.below.queued < kept + 1024  # some questions whether it lives


def test_answers_that_nobody_reads(
    gateway: MemoryGateway, outer: Outer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Questions in many sessions whose windows are shut: each is bounded, and all of them together."""
    monkeypatch.setattr(
        "bastion.endpoint.connection.QUEUED_LIMIT", 8 * MIB
    )  # an eighth of the sessions is enough
    reading = session(gateway, outer)
    asking = [session(gateway, outer, window=SMALL) for _ in range(16)]
    highest = 0
    for _ in range(1000):
        for inner, _target in asking:
            if not inner.gone:
                inner.wire.adjusting = False
                inner.send(b"\xc0" + string(bytes(1000)))
        highest = max(highest, sum(one.transport.below.queued for one, _ in asking if not one.gone))
    assert 7 * MIB < highest <= 8 * MIB
    assert not outer.gone and works(*reading)
    gateway.wind_down(3)
    gone = [inner.gone for inner, _ in asking]
    assert any(gone) and [target.gone for _, target in asking] == gone


@pytest.mark.parametrize("adjusts", [[0xFFFFFFFF], [0x7FFFFFFF] * 3, [1 << 20] * 5000], ids=len)
def test_adjusts_that_overflow_the_window(gateway: MemoryGateway, outer: Outer, adjusts: list[int]) -> None:
    """They end the connection and all that is inside, told why."""
    pairs = [session(gateway, outer) for _ in range(3)]
    pipe = pairs[0][0].wire
    outer.send(*[b"\x5d" + uint32(pipe.theirs) + uint32(size) for size in adjusts])
    assert outer.read_disconnect() == (2, "CHANNEL_WINDOW_ADJUST overflows the window")
    gateway.wind_down(3)
    assert all(peer.gone for pair in pairs for peer in pair)
    assert recordings(gateway) == 3


def test_data_beyond_the_window_of_a_session_that_is_not_read(gateway: MemoryGateway, outer: Outer) -> None:
    """The target takes nothing: the engineer's window runs out, and one byte more ends the connection."""
    inner, target = session(gateway, outer)
    other = session(gateway, outer)
    target.end.jam()
    inner.transport.below.pauseProducing()  # as the relay does once the target's socket is full
    while inner.wire.room:
        inner.send(gate.data(TARGET_CHANNEL, bytes(min(16 * 1024, max(1, inner.wire.room - 200)))))
        if inner.wire.room < 400:
            break
    assert works(*other)
    outer.carry(gate.data(inner.wire.theirs, bytes(inner.wire.room + 1)))
    assert "overruns the window" in outer.read_disconnect()[1]
    gateway.wind_down(3)
    assert all(peer.gone for peer in (inner, target, *other))


# -- key exchanges in key exchanges ------------------------------------------------------------------------------


STARTS: dict[str, Callable[[Outer, Inner], object]] = {
    "ours outside": lambda outer, inner: outer.transport.keys.rekey(),
    "ours inside": lambda outer, inner: inner.transport.keys.rekey(),
    "theirs inside": lambda outer, inner: inner.send_kexinit(),
    "theirs outside": lambda outer, inner: outer.send_kexinit(),
}


ORDERS = [
    order for order in permutations(STARTS) if order.index("theirs inside") < order.index("theirs outside")
]
"""After its KEXINIT outside, a client may send nothing that lies inside (RFC 4253 section 7.1)."""


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_both_exchange_keys_at_once(gateway: MemoryGateway, outer: Outer, order: tuple[str, ...]) -> None:
    """Begun by anybody in any order that a client may keep, with output of the target in between."""
    if order.index("theirs outside") < order.index("theirs inside"):
        pytest.skip(
            "after its KEXINIT outside, a client may send nothing that lies inside (RFC 4253 section 7.1)"
        )
    inner, target = session(gateway, outer)
    for number, start in enumerate(order):
        target.send(gate.data(0, b"%d" % number))
        STARTS[start](outer, inner)
    target.send(gate.data(0, b"4"))
    outer.read_kexinit()
    outer.finish_exchange()
    inner.read_kexinit()
    inner.finish_exchange()
    while inner.read_until(94)[9:] != b"4":
        pass
    assert works(inner, target)


def test_exchanges_of_many_sessions_end_in_one_read_while_one_begins_outside(
    gateway: MemoryGateway, outer: Outer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waited in each, 300 KiB, goes out at once, and waits again for the exchange outside: nothing ends by it."""
    monkeypatch.setattr(
        "bastion.wire.packets.BACKLOG_LIMIT", 8 * MIB
    )  # the engineer's side gets all in one read
    held = [session(gateway, outer) for _ in range(10)]
    for inner, target in held:
        inner.transport.keys.rekey()
        flood(target)
        inner.read_kexinit()
    answers: list[bytes] = []
    with monkeypatch.context() as patch:
        patch.setattr(outer, "carry", answers.append)
        for inner, _ in held:
            inner.send_kexinit()
            inner.settle()
            inner.send_method()
    outer.transport.keys.rekey()
    outer.send_raw(outer.writer.seal(answers))
    assert not outer.gone
    outer.answer_exchange()
    for inner, target in held:
        inner.read_method()
        inner.send_newkeys()
        inner.read_newkeys()
        target.send(gate.data(0, b"last"))
        while not inner.read_until(94).endswith(b"last"):
            pass
        assert works(inner, target)


# -- endings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("close", [False, True], ids=["EOF", "CLOSE"])
def test_the_channel_ends_in_the_middle_of_an_inner_packet(
    gateway: MemoryGateway, outer: Outer, close: bool
) -> None:
    """At every byte of it: the session ends, what came before has crossed, half a packet has not."""
    whole = 0
    at = 1
    while at < (whole or 2):
        inner, target = session(gateway, outer)
        inner.send(gate.data(TARGET_CHANNEL, b"whole"))
        sealed = inner.writer.seal([gate.data(TARGET_CHANNEL, b"half")])
        whole = len(sealed)
        inner.send_raw(sealed[:at])
        inner.wire.close() if close else inner.wire.eof()
        gateway.wind_down(3)
        assert target.gone and inner.gone
        said = [payload for payload in target.read_all() if payload[0] == 94]
        assert [payload[9:] for payload in said] == [b"whole"]
        inner.wire.close()
        target.hang_up()
        gateway.peers.remove(target)
        del outer.pipes[inner.wire.number]
        at += 1
    assert recordings(gateway) == whole - 1 and not outer.gone

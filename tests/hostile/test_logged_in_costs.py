"""What somebody who is logged in, or a target, may cost the others: every packet by hand, the gateway in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bastion.auth.budget import KIB, LIMITS, MIB, Budget, Limit, Payer, Work
from bastion.clock import FixedClock
from bastion.observe.meters import BUDGET_REFUSALS
from bastion.relay.paying import OPEN_LINES, OPEN_NOTES, REQUEST_NOTES
from bastion.session.paying import LINE_BYTES, TARGET_BURST
from bastion.transport.rekeys import COSTS, LEG_BURST
from bastion.wire.data import string, uint32
from tests.hostile import memory_gateway as gate
from tests.hostile.jump_peers import OPENSSH, Outer, Refused
from tests.hostile.memory_gateway import MemoryGateway, Peer
from tests.hostile.rawssh import Closed, RawSsh

MOST = LEG_BURST // COSTS["curve25519-sha256"]


def session(gateway: MemoryGateway) -> tuple[Peer, Peer]:
    """An engineer and a target with nothing open between them yet."""
    engineer = gateway.connect()
    gate.log_in(engineer)
    target = gateway.target()
    gate.let_in(target)
    engineer.read_until(52)
    return engineer, target


def audit(gateway: MemoryGateway, event: str) -> list[dict[str, Any]]:
    lines = (gateway.folder / "audit.jsonl").read_text().splitlines()
    return [found for found in map(json.loads, lines) if found["event"] == event]


def exchanges(peer: RawSsh, most: int) -> int:
    """How many key exchanges the gateway does for `peer`."""
    for count in range(most):
        try:
            peer.exchange()
        except Closed:
            return count
    return most


# -- key exchanges ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["engineer", "target"])
def test_key_exchanges_without_end_end_the_session(gateway: MemoryGateway, side: str) -> None:
    """150 a second were done for whoever asked."""
    engineer, target = session(gateway)
    count = exchanges(engineer if side == "engineer" else target, 2 * MOST)
    assert MOST // 2 < count <= MOST
    if side == "target":
        with pytest.raises(Closed):
            engineer.read_until(1)
            engineer.read()
    (ended,) = audit(gateway, "session_ended")
    assert "too many key exchanges" in ended["text"]


def test_key_exchanges_of_an_outer_connection_too(gateway: MemoryGateway) -> None:
    outer = gateway.connect(kind=Outer, version=OPENSSH)
    assert isinstance(outer, Outer)
    outer.log_in()
    assert exchanges(outer, 2 * MOST) <= MOST
    (refused,) = audit(gateway, "refused")
    assert refused["reason"] == "budget_key_exchange"


def test_an_exchange_that_bytes_have_paid_is_free(gateway: MemoryGateway) -> None:
    engineer, target = session(gateway)
    engineer.send(gate.open_session(window=1 << 30))
    target.read_until(90)
    target.send(gate.confirm(0, 0))
    transport = engineer.transport
    for _ in range(3):
        for _ in range(40):
            target.send(gate.data(0, bytes(32 * 1024)))
        engineer.exchange()
    assert transport.keys.rekeys._owed == 0


# -- notes and audit lines -------------------------------------------------------------------------------------


def small(gateway: MemoryGateway, work: Work, limit: Limit) -> FixedClock:
    """Let an engineer have little of one kind of work."""
    clock = FixedClock()
    counted = gateway.gateway.budget.on_refused
    gateway.gateway.budget = Budget(clock, {**LIMITS, (Payer.IDENTITY, work): limit}, counted)
    return clock


def channel(gateway: MemoryGateway) -> tuple[Peer, Peer]:
    engineer, target = session(gateway)
    engineer.send(gate.open_session())
    target.read_until(90)
    target.send(gate.confirm(0, 0))
    engineer.read_until(91)
    return engineer, target


def spool(gateway: MemoryGateway) -> int:
    """Bytes of all recordings."""
    return sum(file.stat().st_size for file in (gateway.folder / "recordings").rglob("*.rec*"))


def env(value: bytes) -> bytes:
    return gate.ask_channel(0, b"env", string(b"LC_ALL") + string(value), reply=False)


@pytest.mark.parametrize(
    "value", [b"C" * 1000, b"\xff" * 1000, b"\0" * 1000], ids=["text", "bytes", "controls"]
)
def test_notes_without_end_are_refused_and_counted(gateway: MemoryGateway, value: bytes) -> None:
    """60 MB of recording were written in 0.9 s."""
    clock = small(gateway, Work.NOTES, Limit(64 * KIB, MIB, 4 * KIB, MIB))
    engineer, target = channel(gateway)
    for _ in range(1000):
        engineer.send(env(value))
    assert spool(gateway) < 80 * KIB
    (refused,) = audit(gateway, "refused")
    assert (refused["what"], refused["reason"], refused["name"]) == ("request", "record_rate", "env")
    clock.advance(10)
    engineer.send(env(b"C"))
    (more,) = [line for line in audit(gateway, "refused") if line["what"] == "more"]
    assert 900 < more["count"] < 1000 and more["by"] == "client"
    seen = []
    while not seen or b"LC_ALL" + string(b"C") not in seen[-1]:
        seen.append(target.read_until(98))
    assert 1 < len(seen) < 100, "what was paid has crossed, in order"


def test_audit_lines_of_channels_without_end_are_refused(gateway: MemoryGateway) -> None:
    """329 bytes for each channel that was opened and closed."""
    small(gateway, Work.LOG, Limit(8 * KIB, MIB, KIB, MIB))
    engineer, target = session(gateway)
    log = gateway.folder / "audit.jsonl"
    before, opened = log.stat().st_size, 0
    for _ in range(200):
        engineer.send(gate.open_session())
        refused = [answer for answer in engineer.read_all() if answer[0] == 92]
        if refused:
            assert b"too many requests to record" in refused[0]
            continue
        target.read_until(90)
        opened += 1
        target.send(gate.confirm(0, 0))
        for peer in (engineer, target):
            peer.send(b"\x61" + uint32(0))
        engineer.read_until(97)
        target.read_until(97)
    assert 5 < opened < 20 and log.stat().st_size - before < 12 * KIB
    assert audit(gateway, "session_ended") == []


def test_refused_channels_of_an_outer_connection_are_counted(gateway: MemoryGateway) -> None:
    small(gateway, Work.LOG, Limit(8 * KIB, MIB, KIB, MIB))
    outer = gateway.connect(kind=Outer, version=OPENSSH)
    assert isinstance(outer, Outer)
    outer.log_in()
    log = gateway.folder / "audit.jsonl"
    before = log.stat().st_size
    for number in range(300):
        with pytest.raises(Refused):
            outer.dial(number, host=b"nobody.test", port=5432)
    assert log.stat().st_size - before < 12 * KIB
    gateway.clock.advance(60)
    (summed,) = audit(gateway, "lines_summed")
    assert summed["identity"] == "alice" and summed["lines"] + len(audit(gateway, "refused")) == 300
    assert gateway.gateway.meters.value(BUDGET_REFUSALS, "log", "identity") >= 270


def test_what_a_target_repeats_is_not_its_engineers_to_pay(gateway: MemoryGateway) -> None:
    gateway.gateway.clock = FixedClock()
    _, target = channel(gateway)
    purse = gateway.gateway.budget.identity("alice")
    before = purse._buckets[Work.NOTES].level
    for _ in range(2 * TARGET_BURST // REQUEST_NOTES):
        target.send(gate.ask_channel(0, b"exit-status", uint32(1), reply=False))
    assert purse._buckets[Work.NOTES].level <= before
    assert spool(gateway) < 2 * TARGET_BURST
    (refused,) = audit(gateway, "refused")
    assert (refused["by"], refused["reason"]) == ("target", "record_rate")


def test_what_tools_do_is_far_below_the_limits() -> None:
    """Numbers of docs/security.md: what fits at once, and each second after it."""
    notes, lines = LIMITS[Payer.IDENTITY, Work.NOTES], LIMITS[Payer.IDENTITY, Work.LOG]
    ansible = OPEN_NOTES + 8 * REQUEST_NOTES + 1024, OPEN_LINES + 8
    forward = OPEN_NOTES + 40, OPEN_LINES
    for (size, count), burst, rate in ((ansible, 1_900, 37), (forward, 9_900, 187)):
        assert notes.each // size >= burst and notes.each_rate // size >= rate
        assert lines.each // (count * LINE_BYTES) >= burst and lines.each_rate // (count * LINE_BYTES) >= rate

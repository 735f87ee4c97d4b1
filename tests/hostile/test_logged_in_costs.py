"""What somebody who is logged in, or a target, may cost the others: every packet by hand, the gateway in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bastion.ssh.rekeys import COSTS, LEG_BURST
from tests.hostile import memory_gateway as gate
from tests.hostile.jump_peers import OPENSSH, Outer
from tests.hostile.memory_gateway import MemoryGateway, Peer
from tests.hostile.rawssh import Closed, RawSsh
from tests.support.reactor import logged_failures

MOST = LEG_BURST // COSTS["curve25519-sha256"]


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryGateway]:
    made = MemoryGateway(tmp_path, monkeypatch)
    with logged_failures() as failures:
        yield made
        made.wind_down(3)
        for peer in made.peers:
            peer.hang_up()
        assert made.left_over() == {}
    assert failures == []
    made.close()


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
    assert transport.rekeys._owed == 0

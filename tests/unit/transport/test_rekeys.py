"""Key exchanges that a peer asks for: paid by bytes, by time, and then by whoever the connection belongs to."""

from __future__ import annotations

import pytest

from bastion.errors import LimitReason, Refused
from bastion.transport.rekeys import BYTES_A_MICROSECOND, COSTS, LEG_BURST, LEG_RATE, SECONDS_PAY, Rekeys
from bastion.wire.kex import COMPAT_KEX
from bastion.wire.legacy import LEGACY_KEX

CURVE = "curve25519-sha256"
GROUP = "diffie-hellman-group-exchange-sha256"
MIB = 1 << 20


def test_every_method_has_its_price() -> None:
    assert set(COSTS) == {*COMPAT_KEX, *LEGACY_KEX}


def exchanges(kex: str, moved: int, every: float, most: int = 2000) -> int:
    """How many a peer gets that asks for one each `every` seconds, after `moved` bytes each."""
    rekeys, now = Rekeys(0.0), 0.0
    for count in range(most):
        now += every
        try:
            rekeys.pay(kex, moved, now)
        except Refused as refusal:
            assert refusal.reason is LimitReason.BUDGET_KEY_EXCHANGE
            return count
        rekeys.keyed(now)
    return most


def test_a_peer_that_moves_nothing_gets_few() -> None:
    assert exchanges(CURVE, 0, 0.0) == LEG_BURST // COSTS[CURVE] == 250
    assert exchanges(GROUP, 0, 0.0) == LEG_BURST // COSTS[GROUP] == 6
    assert exchanges(CURVE, 0, 1 / 150) < 300, "150 a second"
    assert exchanges(CURVE, 0, 1.1 * COSTS[CURVE] / LEG_RATE) == 2000, "slowly enough"


@pytest.mark.parametrize("kex", ["curve25519-sha256", "mlkem768x25519-sha256"])
def test_new_keys_every_few_megabytes_are_paid_by_the_bytes(kex: str) -> None:
    assert exchanges(kex, MIB, 0.001) == exchanges(kex, 5 * MIB, 0.01) == 2000


def test_what_costs_much_needs_more_bytes() -> None:
    assert exchanges(GROUP, 5 * MIB, 0.01) < 20
    assert exchanges(GROUP, COSTS[GROUP] * BYTES_A_MICROSECOND, 0.01) == 2000


def test_time_pays_too() -> None:
    assert exchanges(CURVE, 0, COSTS[CURVE] / SECONDS_PAY) == 2000
    spent: list[int] = []
    rekeys = Rekeys(0.0, spent.append)
    rekeys.pay(CURVE, 0, 5.0)
    assert spent == [COSTS[CURVE] - 5 * SECONDS_PAY]
    rekeys.keyed(5.0)
    rekeys.pay(CURVE, 0, 3605.0)
    assert len(spent) == 1, "the exchange of every hour is free"


def test_a_payer_who_has_nothing_left() -> None:
    def broke(microseconds: int) -> None:
        raise Refused(LimitReason.BUDGET_KEY_EXCHANGE, "nothing left")

    rekeys = Rekeys(0.0, broke)
    rekeys.pay(CURVE, MIB, 0.0)
    with pytest.raises(Refused, match="nothing left"):
        rekeys.pay(CURVE, 0, 0.0)

"""The two legs, and counts by leg."""

from __future__ import annotations

import pytest

from bastion.sides import Side, counted


def test_each_side_is_the_other_of_the_other() -> None:
    assert Side.CLIENT.other is Side.TARGET and Side.TARGET.other is Side.CLIENT


@pytest.mark.parametrize(("side", "after"), [(Side.CLIENT, (8, 2)), (Side.TARGET, (1, 9))])
def test_one_side_is_counted_and_the_pair_is_replaced(side: Side, after: tuple[int, int]) -> None:
    before = (1, 2)
    assert counted(before, side, 7) == after and before == (1, 2)
    assert counted(before, side)[side] == before[side] + 1

"""The limits of a relay, and the lists that its messages are put in."""

from __future__ import annotations

import pytest

from bastion.relay.limits import RESERVE, RESERVE_SHARE, Actions, RelayLimits
from bastion.sides import Side


@pytest.mark.parametrize(
    ("window", "kept"),
    [(0, 0), (7, 0), (8, 1), (8000, 1000), (RESERVE * RESERVE_SHARE, RESERVE), (1 << 31, RESERVE)],
)
def test_the_reserve_is_a_share_of_the_window_up_to_its_limit(window: int, kept: int) -> None:
    assert RelayLimits().reserve_of(window) == kept
    assert RelayLimits(reserve=100).reserve_of(window) == min(kept, 100)


@pytest.mark.parametrize("side", Side)
def test_onward_and_back_are_the_two_legs_as_a_side_sees_them(side: Side) -> None:
    out = Actions()
    out.onward[side].append(b"on")
    out.back[side].append(b"back")
    legs = (out.to_client, out.to_target)
    assert legs[side.other] == [b"on"] and legs[side] == [b"back"]
    out.clear()
    assert out.to_client == out.to_target == [] and out.onward[side] is legs[side.other]

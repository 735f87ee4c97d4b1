"""How many are asked at once."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from bastion.auth.outside import MOST, MOST_OF_ONE, Places
from bastion.errors import AuthReason, Refused
from bastion.observe.meters import FACTORS_WAITING, Meters


def test_places_are_bounded_for_one_and_for_all_and_given_back() -> None:
    meters = Meters()
    places = Places("radius", meters)
    with ExitStack() as held:
        for number in range(MOST):
            held.enter_context(places.place(f"u-{number // MOST_OF_ONE}"))
        assert meters.value(FACTORS_WAITING, "radius") == MOST
        with pytest.raises(Refused) as refused, places.place("u-new"):
            pass
        assert refused.value.reason is AuthReason.FACTOR_BUSY
    assert meters.value(FACTORS_WAITING, "radius") == 0
    with ExitStack() as held:
        for _ in range(MOST_OF_ONE):
            held.enter_context(places.place("u-1"))
        with pytest.raises(Refused), places.place("u-1"):
            pass
        held.enter_context(places.place("u-2"))


def test_a_place_is_given_back_whatever_happens() -> None:
    places = Places("oidc", Meters())
    for _ in range(MOST_OF_ONE + 1):
        with pytest.raises(ValueError), places.place("u-1"):
            raise ValueError

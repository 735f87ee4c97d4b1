"""Challenges: of this browser, for this purpose, in time, and once."""

from __future__ import annotations

import pytest

from bastion.clock import FixedClock
from bastion.console import challenges
from bastion.console.challenges import LIFE, SIZE, Challenges


def test_one_fits_its_browser_and_purpose_until_it_is_too_old() -> None:
    clock = FixedClock()
    made = Challenges(clock)
    one = made.make("sign-in", b"browser")
    assert len(one) == SIZE and one != made.make("sign-in", b"browser")
    assert made.fits(one, "sign-in", b"browser")
    assert not made.fits(one, "register", b"browser") and not made.fits(one, "sign-in", b"another")
    assert not made.fits(one[:-1], "sign-in", b"browser") and not made.fits(b"", "sign-in", b"browser")
    assert not Challenges(clock).fits(one, "sign-in", b"browser"), "after a restart"
    clock.advance(LIFE)
    assert not made.fits(one, "sign-in", b"browser")


@pytest.mark.parametrize("place", range(0, SIZE, 5))
def test_every_byte_is_sealed(place: int) -> None:
    made = Challenges(FixedClock())
    one = bytearray(made.make("sign-in", b"browser"))
    one[place] ^= 1
    assert not made.fits(bytes(one), "sign-in", b"browser")


def test_one_is_used_once_and_forgotten_when_it_would_be_too_old_anyway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(challenges, "MOST_SPENT", 2)
    clock = FixedClock()
    made = Challenges(clock)
    one, two, three = (made.make("sign-in", b"browser") for _ in range(3))
    assert made.spend(one) and not made.spend(one) and not made.fits(one, "sign-in", b"browser")
    assert made.spend(two) and not made.spend(three), "no more can be remembered, so none is good"
    clock.advance(LIFE)
    assert not made.fits(one, "sign-in", b"browser")
    assert made.spend(made.make("sign-in", b"browser"))

"""Who pays for the notes and lines of a session: the engineer's purse, or a target's own allowance."""

from __future__ import annotations

import pytest

from bastion.auth.budget import LIMITS, Budget, Limit, Payer, Work
from bastion.clock import FixedClock
from bastion.session.paying import LINE_BYTES, TARGET_BURST, TARGET_RATE, SessionPayer
from bastion.sides import Side


class World:
    """Alice's purse with room for so many bytes of notes and of lines."""

    def __init__(self, notes: int = 1 << 20, log: int = 1 << 20) -> None:
        self.clock = FixedClock()
        limits = {
            (Payer.IDENTITY, Work.NOTES): Limit(notes, 1 << 30, 1, 1),
            (Payer.IDENTITY, Work.LOG): Limit(log, 1 << 30, 1, 1),
        }
        self.budget = Budget(self.clock, {**LIMITS, **limits})
        self.payer = SessionPayer(self.budget, "alice", self.clock.monotonic)

    def held(self, work: Work) -> int:
        return self.budget.held(Payer.IDENTITY, work)


def test_the_engineer_pays_for_notes_and_lines() -> None:
    world = World()
    assert world.payer.pay(Side.CLIENT, 100, 2)
    assert (world.held(Work.NOTES), world.held(Work.LOG)) == (100, 2 * LINE_BYTES)


def test_no_line_costs_nothing_of_the_log() -> None:
    world = World(log=0)
    assert world.payer.pay(Side.CLIENT, 100, 0)


@pytest.mark.parametrize("limits", [{"notes": 99}, {"log": LINE_BYTES - 1}])
def test_an_empty_purse_says_no(limits: dict[str, int]) -> None:
    assert not World(**limits).payer.pay(Side.CLIENT, 100, 1)


def test_a_target_uses_up_nothing_of_the_engineer_s() -> None:
    world = World(notes=0, log=0)
    assert world.payer.pay(Side.TARGET, 100, 3)
    assert (world.held(Work.NOTES), world.held(Work.LOG)) == (0, 0)


def test_a_target_has_a_burst_and_then_a_rate() -> None:
    world = World()
    assert world.payer.pay(Side.TARGET, TARGET_BURST, 0)
    assert not world.payer.pay(Side.TARGET, 1, 0)
    world.clock.advance(1)
    assert not world.payer.pay(Side.TARGET, TARGET_RATE + 1, 0)
    assert world.payer.pay(Side.TARGET, TARGET_RATE, 0)
    world.clock.advance(3600)
    assert world.payer.pay(Side.TARGET, TARGET_BURST, 0), "it never saves up more than a burst"
    assert not world.payer.pay(Side.TARGET, 1, 0)


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    world = World()
    assert world.payer.pay(Side.TARGET, TARGET_BURST, 0)
    world.clock.advance(-100)
    assert not world.payer.pay(Side.TARGET, 1, 0)

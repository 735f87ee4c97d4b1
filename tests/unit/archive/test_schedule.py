"""Pauses of the store double and end; a recording with a fault of its own waits alone."""

from __future__ import annotations

from bastion.archive.schedule import OWN_FIRST, OWN_LONGEST, STORE_FIRST, STORE_LONGEST, Schedule
from bastion.clock import FixedClock
from bastion.errors import StoreReason

AWAY = StoreReason.UNREACHABLE


def test_a_store_that_is_away_is_asked_by_one_at_a_time_and_less_often() -> None:
    clock = FixedClock()
    schedule = Schedule(clock, 4)
    assert schedule.at_once == 4
    pauses = []
    for number in range(12):
        assert schedule.failed("a", AWAY, "no route") is (number == 0)
        assert schedule.at_once == 0 and schedule.trouble == "no route"
        pauses.append(schedule.next)
        clock.advance(schedule.next)
        assert schedule.at_once == 1
    assert pauses[:3] == [STORE_FIRST, 2 * STORE_FIRST, 4 * STORE_FIRST] and pauses[-1] == STORE_LONGEST
    assert schedule.worked("a") and not schedule.worked("b")
    assert (schedule.at_once, schedule.trouble, schedule.reason, schedule.next) == (4, "", StoreReason.OK, 0)


def test_those_that_fail_together_are_one_fault() -> None:
    clock = FixedClock()
    schedule = Schedule(clock, 4)
    for name in "abcd":
        schedule.failed(name, AWAY, "no route")
    assert schedule.next == STORE_FIRST


def test_one_with_a_fault_of_its_own_holds_up_no_other() -> None:
    clock = FixedClock()
    schedule = Schedule(clock, 4)
    pauses = []
    for _ in range(14):
        assert not schedule.failed("a", StoreReason.CHECKSUM, "other bytes")
        assert schedule.at_once == 4 and schedule.may("b") and not schedule.may("a")
        began = clock.now
        while not schedule.may("a"):
            clock.advance(OWN_FIRST)
        pauses.append(clock.now - began)
    assert pauses[:3] == [OWN_FIRST, 2 * OWN_FIRST, 4 * OWN_FIRST] and pauses[-1] == OWN_LONGEST
    assert schedule.failing == 1
    schedule.forget(frozenset("b"))
    assert schedule.failing == 0 and schedule.may("a")

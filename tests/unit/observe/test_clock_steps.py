"""A clock that is set is noticed; one that drifts, or a gateway that was busy, is not."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from bastion.observe.clock_steps import INTERVAL, ClockSteps
from bastion.observe.meters import CLOCK_STEPS, Meters


class TwoClocks:
    """The wall clock is `ahead` of the monotonic one."""

    def __init__(self, timers: Clock) -> None:
        self.timers, self.ahead = timers, 1_800_000_000.0

    def monotonic(self) -> float:
        return self.timers.seconds()

    def time(self) -> float:
        return self.timers.seconds() + self.ahead


def test_steps_are_counted_told_and_only_once() -> None:
    timers, meters, told = Clock(), Meters(), list[float]()
    clock = TwoClocks(timers)
    steps = ClockSteps(timers, clock, meters, told.append)
    steps.start()
    timers.pump([INTERVAL] * 3)
    clock.ahead -= 3600
    timers.pump([INTERVAL] * 3)
    clock.ahead += 1.5
    timers.pump([INTERVAL] * 3)
    assert told == [pytest.approx(-3600), pytest.approx(1.5)]
    assert (meters.value(CLOCK_STEPS, "back"), meters.value(CLOCK_STEPS, "forward")) == (1, 1)
    steps.stop()
    assert timers.getDelayedCalls() == []


def test_drift_and_a_late_look_are_no_steps() -> None:
    timers, told = Clock(), list[float]()
    clock = TwoClocks(timers)
    ClockSteps(timers, clock, Meters(), told.append).start()
    for _ in range(1000):
        clock.ahead += 0.0025
        timers.advance(INTERVAL)
    timers.advance(600)
    assert told == []

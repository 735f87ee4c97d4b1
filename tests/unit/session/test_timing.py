"""The way into a session is timed from the last proof on, and never counts what a person took."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from bastion.clock import FixedClock
from bastion.observe.exemplars import SessionMeters
from bastion.observe.families.opening import FIRST_OUTPUT_SECONDS, OPENING_SECONDS, OPENING_STEP_SECONDS
from bastion.observe.meters import MICROSECONDS, Meters
from bastion.session.timing import OpeningTimes


class Bench:
    def __init__(self) -> None:
        self.clock, self.meters = Clock(), Meters()
        self.times = OpeningTimes(SessionMeters(self.meters, FixedClock(), "k3v2m5q7p2r4t6wa"), self.clock)

    def seconds(self, family: object, *values: str) -> list[float]:
        """[how many, their sum in seconds]"""
        cell = self.meters.cell(family, *values)  # type: ignore[arg-type]
        return [sum(cell[:-1]), cell[-1] / MICROSECONDS]


def test_a_session_that_nobody_waited_for() -> None:
    bench = Bench()
    bench.clock.advance(0.25)
    bench.times.opened()
    told = bench.times.first_output()
    assert told is not None and bench.seconds(OPENING_SECONDS) == [1, 0.25]
    bench.clock.advance(0.5)
    told()
    assert bench.seconds(FIRST_OUTPUT_SECONDS) == [1, 0.75]


def test_the_time_begins_again_with_each_answer() -> None:
    bench = Bench()
    bench.clock.advance(3600.0)
    bench.times.begin()
    bench.clock.advance(0.5)
    bench.times.opened()
    assert bench.seconds(OPENING_SECONDS) == [1, 0.5]


def test_of_a_session_in_which_a_person_was_asked_only_the_steps_count() -> None:
    bench = Bench()
    bench.times.asked()
    with bench.times.step("record"):
        bench.clock.advance(0.125)
    bench.times.opened()
    assert bench.times.first_output() is None
    assert bench.seconds(OPENING_SECONDS) == [0, 0.0]
    assert bench.seconds(OPENING_STEP_SECONDS, "record") == [1, 0.125]


def test_a_step_that_fails_took_time_all_the_same() -> None:
    bench = Bench()
    with pytest.raises(ValueError), bench.times.step("policy"):
        bench.clock.advance(0.25)
        raise ValueError
    assert bench.seconds(OPENING_STEP_SECONDS, "policy") == [1, 0.25]

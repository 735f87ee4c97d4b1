"""The two clocks, and the one of the tests."""

from __future__ import annotations

import time

from bastion.clock import FixedClock, SystemClock


def test_the_machines_clocks_are_the_machines() -> None:
    before, clock = time.monotonic(), SystemClock()
    assert before <= clock.monotonic() <= time.monotonic()
    assert SystemClock.time is vars(time)["time"]


def test_a_fixed_clock_moves_only_when_it_is_told_to() -> None:
    clock = FixedClock(5.0)
    assert clock.time() == clock.monotonic() == clock.time() == 5.0
    clock.advance(2.5)
    assert clock.time() == clock.monotonic() == 7.5

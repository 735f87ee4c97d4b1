"""How often somebody may ask."""

from __future__ import annotations

from bastion.clock import FixedClock
from bastion.console.throttle import Throttle


def test_a_burst_and_then_a_rate() -> None:
    clock = FixedClock()
    throttle = Throttle(clock, burst=3, rate=1.0)
    assert [throttle.allows("a") for _ in range(5)] == [True, True, True, False, False]
    assert throttle.allows("b")
    clock.advance(1)
    assert [throttle.allows("a") for _ in range(2)] == [True, False]
    clock.advance(100)
    assert [throttle.allows("a") for _ in range(4)] == [True, True, True, False]


def test_so_many_are_remembered() -> None:
    clock = FixedClock()
    throttle = Throttle(clock, burst=1, rate=0.001, most=2)
    assert throttle.allows("a") and not throttle.allows("a")
    assert throttle.allows("b") and throttle.allows("c")
    assert throttle.allows("a"), "whoever asked longest ago is forgotten"
    assert not throttle.allows("c")

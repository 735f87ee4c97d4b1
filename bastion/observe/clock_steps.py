"""Notices that the machine's clock was set: certificates and calendars are judged by it, timers are not.

The wall clock and the monotonic one run side by side; when they have moved apart between two looks, somebody set the
clock, or the machine slept (which stops the monotonic one).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bastion.clock import Clock, DelayedCall, Timers
from bastion.observe.meters import CLOCK_STEPS, Meters

INTERVAL: Final = 5.0
"""Seconds between two looks."""

STEP: Final = 1.0
"""Seconds of difference that count. A clock that is slewed, not set, moves at most 2.5 ms in an interval (500 ppm)."""


class ClockSteps:
    """Start it once per process; `on_step` is told how many seconds forward (back when negative) the clock was set."""

    def __init__(
        self, timers: Timers, clock: Clock, meters: Meters, on_step: Callable[[float], None]
    ) -> None:
        self._timers, self._clock, self._meters = timers, clock, meters
        self._on_step = on_step
        self._apart = 0.0
        self._timer: DelayedCall | None = None

    def start(self) -> None:
        self._apart = self._difference()
        self._timer = self._timers.callLater(INTERVAL, self._look)

    def stop(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _difference(self) -> float:
        return self._clock.time() - self._clock.monotonic()

    def _look(self) -> None:
        before, self._apart = self._apart, self._difference()
        self._timer = self._timers.callLater(INTERVAL, self._look)
        step = self._apart - before
        if abs(step) >= STEP:
            self._meters.add(CLOCK_STEPS, "forward" if step > 0 else "back")
            self._on_step(step)

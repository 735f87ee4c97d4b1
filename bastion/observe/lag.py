"""How late the event loop is (L2): a timer that measures its own lateness.

A keystroke waits behind whatever runs in the reactor turn before it; this is the figure that shows it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from bastion.clock import Clock, DelayedCall, Timers
from bastion.observe.meters import LAG_MAX_SECONDS, LAG_SECONDS, MICROSECONDS, Meters

INTERVAL: Final = 0.25  # seconds between probes: 4 wake-ups a second, about 20 us of CPU each
WINDOW: Final = 60.0  # seconds that the maximum looks back: longer than a usual scrape interval


class LagProbe:
    """Start it once per process. `stop()` leaves no timer behind."""

    def __init__(self, reactor: Timers, clock: Clock, meters: Meters) -> None:
        self._reactor, self._clock, self._meters = reactor, clock, meters
        self._timer: DelayedCall | None = None
        self._due = 0.0
        # (time, lag) with strictly falling lags: the first is the maximum of the window.
        # At most WINDOW / INTERVAL = 240 entries.
        self._peaks: deque[tuple[float, float]] = deque()

    def start(self) -> None:
        if self._timer is None:
            self._schedule()

    def stop(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _schedule(self) -> None:
        self._due = self._clock.monotonic() + INTERVAL
        self._timer = self._reactor.callLater(INTERVAL, self._fire)

    def _fire(self) -> None:
        now = self._clock.monotonic()
        lag = max(now - self._due, 0.0)
        self._meters.observe(LAG_SECONDS, lag)
        self._keep_peak(now, lag)
        self._meters.set(LAG_MAX_SECONDS, round(self._peaks[0][1] * MICROSECONDS))
        self._schedule()

    def _keep_peak(self, now: float, lag: float) -> None:
        while self._peaks and self._peaks[-1][1] <= lag:
            self._peaks.pop()
        self._peaks.append((now, lag))
        while self._peaks[0][0] < now - WINDOW:
            self._peaks.popleft()

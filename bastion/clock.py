"""Time as an argument (L0).

Everything that asks for the time takes a `Clock`; everything that waits takes Twisted's `IReactorTime`
(`twisted.internet.task.Clock` in tests). Nothing else in the package reads the wall clock, which a lint
rule sees to.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one for durations, one for the calendar. Both in seconds."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back. For durations, buckets and offsets."""
        ...

    def time(self) -> float:
        """Seconds since the Unix epoch. For certificates, log lines and headers."""
        ...

    def boot(self) -> float:
        """As `monotonic`, and it goes on while the machine is suspended."""
        ...


def slept(clock: Clock) -> float:
    """Seconds that the machine was suspended, which timers and `monotonic` know nothing of; and some constant."""
    return clock.boot() - clock.monotonic()


class SystemClock:
    """The machine's clocks."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    @staticmethod
    def boot() -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)


class FixedClock:
    """A clock that stands still until told otherwise: for tests."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now
        self.asleep = 0.0  # seconds for which the machine was suspended

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def boot(self) -> float:
        return self.now + self.asleep

    def advance(self, seconds: float) -> None:
        self.now += seconds


class DelayedCall(Protocol):
    """What `Timers.callLater` gives back; Twisted's IDelayedCall as far as it is used."""

    def cancel(self) -> None: ...

    def active(self) -> bool: ...


class Timers(Protocol):
    """Twisted's IReactorTime as a typed protocol: the reactor, or `twisted.internet.task.Clock` in tests."""

    def seconds(self) -> float:
        """Monotonic seconds."""
        ...

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> DelayedCall:
        """Call `callable(*args)` after `delay` seconds."""
        ...

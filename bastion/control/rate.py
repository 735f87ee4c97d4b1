"""How often something may be done: so many at once, and so many a second after that."""

from __future__ import annotations

from bastion.clock import Timers


class Rate:
    """Full at first."""

    __slots__ = ("_at", "_burst", "_left", "_second", "_timers")

    def __init__(self, timers: Timers, second: float, burst: float) -> None:
        self._timers, self._second, self._burst = timers, second, burst
        self._left, self._at = burst, timers.seconds()

    def allows(self, count: int = 1) -> bool:
        """Take so many, or none when there are not so many left."""
        now = self._timers.seconds()
        self._left = min(self._burst, self._left + (now - self._at) * self._second)
        self._at = now
        if self._left < count:
            return False
        self._left -= count
        return True

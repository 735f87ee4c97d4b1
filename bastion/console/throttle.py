"""How often one address, and one person, may ask (L4, pure): buckets that run empty by themselves, bounded in number.

It bounds what pages cost; guessing passwords is the business of `auth.throttle`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from bastion.clock import Clock

BURST: Final = 120
"""Requests at once: a page has two or three."""

RATE: Final = 10.0
"""Requests a second after that."""

MOST: Final = 4096
"""Payers that are remembered; the one that has asked longest ago is forgotten first. 100 bytes each."""


class Throttle:
    """One for addresses, one for people."""

    def __init__(self, clock: Clock, burst: float = BURST, rate: float = RATE, most: int = MOST) -> None:
        self._clock, self._burst, self._rate, self._most = clock, burst, rate, most
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # level, and when

    def has_room(self, payer: str) -> bool:
        """Might it ask now? Nothing is charged."""
        level, at = self._levels.get(payer, (0.0, 0.0))
        return level - self._rate * (self._clock.monotonic() - at) + 1 <= self._burst

    def allows(self, payer: str) -> bool:
        """May it ask now? Then it has."""
        now = self._clock.monotonic()
        level, at = self._levels.pop(payer, (0.0, now))
        level = max(0.0, level - self._rate * (now - at))
        allowed = level + 1 <= self._burst
        self._levels[payer] = (level + 1 if allowed else level, now)
        if len(self._levels) > self._most:
            self._levels.popitem(last=False)
        return allowed

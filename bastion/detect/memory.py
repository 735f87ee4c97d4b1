"""What is remembered, bounded and decaying (L1, pure): names, hours, the highest day, what happened just now.

Invariant: none of these grows beyond its limit, whatever comes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isfinite
from typing import Final

HALF_LIFE: Final = 30 * 86400.0  # a habit weighs half as much after a month
FORGET: Final = 120 * 86400.0  # a name that was not seen for so long is new again
LONGEST_NAME: Final = 128  # characters of a name; longer ones are cut, and may be mistaken for each other
LARGEST: Final = 1 << 62

DAY: Final = 86400.0


def number(value: object) -> float:
    """A finite number that is not negative; 0 for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(min(value, LARGEST)) if isfinite(value) and value > 0 else 0.0


def decayed(value: float, seconds: float) -> float:
    """What is left of a habit after so long."""
    return float(value * 0.5 ** (max(0.0, seconds) / HALF_LIFE))


@dataclass(slots=True)
class Names:
    """Names with the days on which they were seen: at most `limit`, those that were not seen for longest go."""

    limit: int
    days: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Name -> when it was seen last, and on how many days; the one seen last stands last."""

    def knows(self, name: str, now: float) -> bool:
        """Was it seen of late?"""
        found = self.days.get(name[:LONGEST_NAME])
        return found is not None and now - found[0] < FORGET

    def days_of(self, name: str) -> int:
        """On how many days it was seen."""
        found = self.days.get(name[:LONGEST_NAME])
        return 0 if found is None else found[1]

    def last(self, name: str) -> float | None:
        """When it was seen last."""
        found = self.days.get(name[:LONGEST_NAME])
        return None if found is None else found[0]

    def add(self, name: str, now: float) -> None:
        """It was seen."""
        name = name[:LONGEST_NAME]
        last, days = self.days.pop(name, (-DAY, 0))
        self.days[name] = max(now, last), days + (now // DAY != last // DAY)
        if len(self.days) > self.limit:
            del self.days[next(iter(self.days))]


@dataclass(slots=True)
class Hours:
    """At which hours of the day somebody is here. Each hour of each day counts once, however busy it was."""

    weight: list[float] = field(default_factory=lambda: [0.0] * 24)
    slot: float = 0.0  # the last hour that was counted, in hours since 1970

    def share(self, hour: float) -> float:
        """Of all that is known, how much lies within two hours of this one (0 to 24): 0 to 1."""
        total = sum(self.weight)
        near = sum(self.weight[(int(hour) + step) % 24] for step in (-2, -1, 0, 1, 2))
        return near / total if total else 1.0

    def known(self) -> float:
        """How much is known: hours, older ones worth less."""
        return sum(self.weight)

    def add(self, local: float) -> None:
        """Here at that moment, in seconds since 1970 by the clock of where they are."""
        slot = local // 3600
        if slot <= self.slot:
            return
        if self.slot:
            left = decayed(1.0, (slot - self.slot) * 3600)
            self.weight = [one * left for one in self.weight]
        self.weight[int(slot) % 24] += 1.0
        self.slot = slot


@dataclass(slots=True)
class Daily:
    """An amount of each day (UTC), and the highest day of late."""

    day: int = 0
    amount: float = 0.0
    peak: float = 0.0

    def add(self, amount: float, now: float, most: float) -> tuple[float, float]:
        """(today with this, the highest day before). A day counts towards that as `most` times it at the most."""
        self._turn(now, most)
        self.amount += amount
        return self.amount, self.peak

    def highest(self, amount: float, now: float) -> tuple[float, float]:
        """The same for an amount that is not added up."""
        self._turn(now, float(LARGEST))
        self.amount = max(self.amount, amount)
        return self.amount, self.peak

    def _turn(self, now: float, most: float) -> None:
        today = int(now // DAY)
        if today > self.day:
            self.peak = decayed(max(self.peak, min(self.amount, most)), (today - self.day) * DAY)
            self.day, self.amount = today, 0.0


@dataclass(slots=True)
class Recent:
    """What happened of late: times with a name and the session it was in, at most `limit`, the oldest go."""

    limit: int
    entries: list[tuple[float, str, str]] = field(default_factory=list)

    def add(self, now: float, name: str, session: str) -> None:
        """It happened."""
        self.entries.append((now, name[:LONGEST_NAME], session[:LONGEST_NAME]))
        if len(self.entries) > self.limit:
            del self.entries[0]

    def since(self, begin: float) -> list[tuple[float, str, str]]:
        """What is no older; the rest is forgotten."""
        self.entries = [one for one in self.entries if one[0] >= begin]
        return self.entries


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """Each once, in order."""
    return tuple(dict.fromkeys(name for name in names if name))

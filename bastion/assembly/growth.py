"""Counts of a process that says how many it has counted since it began, as counters of the gateway (L4).

Invariant: what was counted once stays counted: a process that begins again from 0 only adds.
"""

from __future__ import annotations

from bastion.observe.family import Family
from bastion.observe.meters import Meters


class Growth:
    """What one process has counted. Whoever starts it anew says `again`, or makes another of these."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        self._seen: dict[tuple[Family, tuple[str, ...]], int] = {}

    def again(self) -> None:
        """The process was started anew: it counts from 0."""
        self._seen.clear()

    def take(self, family: Family, count: int, *values: str) -> int:
        """It has counted so many by now. Returns how many of them are new, and were added to `family`."""
        before = self._seen.get((family, values), 0)
        self._seen[family, values] = count
        new = max(0, count - before)
        self._meters.add(family, *values, by=new)
        return new

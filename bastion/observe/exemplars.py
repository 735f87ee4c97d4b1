"""The last session that was counted somewhere, beside the count (L2): OpenMetrics calls it an exemplar.

A graph shows that logins became slow; an exemplar is the way from there to one of them, and to `bastion explain`.
Invariants: the id of a session is random and says nothing of anybody; there is one exemplar at most for each bucket and
each counter that is marked here, so memory is as bounded as the page; the way of a session is marked, never a packet.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any

from bastion.clock import Clock
from bastion.observe.family import Family, Kind
from bastion.observe.meters import Meters
from bastion.observe.spans import STEPS, Trace

Marks = Mapping[str, Any]
"""Place (`place`) -> (session id, value, seconds since 1970), a tuple or, of another process, a list."""


def place(family: Family, key: str, bucket: int) -> str:
    """Where an exemplar stands: `key` as in a snapshot, `bucket` 0 for a counter."""
    return f"{family.name}|{key}|{bucket}"


class SessionMeters:
    """The meters as one session counts in them: what it counts is marked with its id, its trace hears of steps."""

    __slots__ = ("_clock", "_meters", "_session", "trace")

    def __init__(self, meters: Meters, clock: Clock, session: str, trace: Trace | None = None) -> None:
        self._meters, self._clock, self._session = meters, clock, session
        self.trace = trace

    def add(self, family: Family, *values: str) -> None:
        """One more."""
        self._meters.add(family, *values)
        self._mark(family, values, 0, 1.0)

    def observe(self, family: Family, seconds: float, *values: str) -> None:
        """One duration."""
        self._meters.observe(family, seconds, *values)
        seconds = max(seconds, 0.0)
        self._mark(family, values, bisect_left(family.buckets, seconds), seconds)
        if self.trace is not None and (step := STEPS.get((family.name, ",".join(values)))) is not None:
            self.trace.took(step, seconds)

    def _mark(self, family: Family, values: tuple[str, ...], bucket: int, value: float) -> None:
        assert family.kind is not Kind.GAUGE
        where = place(family, ",".join(values), bucket)
        self._meters.exemplars[where] = (self._session, value, self._clock.time())


def latest(parts: Iterable[Marks]) -> Marks:
    """Those of several processes: of each place the last one."""
    found: dict[str, Any] = {}
    for part in parts:
        for where, mark in part.items():
            if where not in found or found[where][2] < mark[2]:
                found[where] = mark
    return found

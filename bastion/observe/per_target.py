"""Figures of single targets, for those that an operator has named and for no others (L0).

Everything else has labels of closed sets, so that nobody outside decides how long the page is. These have one more set,
which the operator closes: the names in `metrics.targets`, some tens at most. What happens to another target is in the
sums alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bastion.observe.family import Family, Kind, Label
from bastion.observe.meters import Meters

RESULTS: Final = ("ok", "failed")


class PerTarget:
    """One per process. It declares its families in `meters`, before anybody looks at them; without names, none."""

    def __init__(self, meters: Meters, targets: Sequence[str] = ()) -> None:
        self._meters = meters
        self._names = frozenset(targets)
        target = Label("target", tuple(dict.fromkeys(targets)))
        self._dials = Family(
            "target_dials_total",
            Kind.COUNTER,
            "Attempts to reach that target; only for names in metrics.targets.",
            (target, Label("result", RESULTS)),
        )
        self._started = Family(
            "target_sessions_started_total",
            Kind.COUNTER,
            "Sessions on that target started; only for names in metrics.targets.",
            (target,),
        )
        self._live = Family(
            "target_sessions_live",
            Kind.GAUGE,
            "Sessions on that target open now; only for names in metrics.targets.",
            (target,),
        )
        if self._names:
            for family in (self._dials, self._started, self._live):
                meters.declare(family)

    def dialled(self, target: str, ok: bool) -> None:
        """It was reached, or could not be."""
        if target in self._names:
            self._meters.add(self._dials, target, RESULTS[not ok])

    def started(self, target: str) -> None:
        """A session runs there."""
        if target in self._names:
            self._meters.add(self._started, target)
            self._meters.add(self._live, target)

    def ended(self, target: str) -> None:
        """One that ran does not any more."""
        if target in self._names:
            self._meters.add(self._live, target, by=-1)

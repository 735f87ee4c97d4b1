"""When what is tried: values and a clock (L2, pure).

A store that is away is everybody's fault: nothing is tried for a while, doubling, and then one recording finds out
whether it is back. What is wrong with one recording (its file, its checksum) holds up no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bastion.clock import Clock
from bastion.errors import StoreReason

OWN: Final = frozenset((StoreReason.CHECKSUM, StoreReason.LOCAL_FILE))
"""Faults of one recording; every other is one of the store."""

STORE_FIRST: Final = 1.0
STORE_LONGEST: Final = 60.0
"""Seconds without a try after a fault of the store: doubling, so a store that is back is noticed within a minute."""

OWN_FIRST: Final = 10.0
OWN_LONGEST: Final = 3600.0


@dataclass(slots=True)
class _Wait:
    pause: float
    until: float


class Schedule:
    """Of all uploads of one process. `trouble` is why the store is of no use now, "" when it is."""

    def __init__(self, clock: Clock, at_once: int) -> None:
        self._now = clock.monotonic
        self._at_once = at_once
        self._store = _Wait(0.0, 0.0)
        self._own: dict[str, _Wait] = {}
        self.trouble = ""
        self.reason = StoreReason.OK

    @property
    def at_once(self) -> int:
        """Uploads that may run now: none in a pause, one after it, all once it has worked."""
        if self._now() < self._store.until:
            return 0
        return 1 if self.trouble else self._at_once

    def may(self, session: str) -> bool:
        """May this one be tried, as far as it goes by itself?"""
        wait = self._own.get(session)
        return wait is None or self._now() >= wait.until

    def worked(self, session: str) -> bool:
        """One is uploaded. True when the store was away before."""
        was, self.trouble, self.reason = self.trouble, "", StoreReason.OK
        self._store = _Wait(0.0, 0.0)
        self._own.pop(session, None)
        return bool(was)

    def failed(self, session: str, reason: StoreReason, text: str) -> bool:
        """One was not, or the index (session "") could not be used. True when the store fell with it."""
        if reason in OWN:
            self._own[session] = _later(self._own.get(session), OWN_FIRST, OWN_LONGEST, self._now())
            return False
        fell = not self.trouble
        if self._now() >= self._store.until:  # those that ran at the same time are one fault
            self._store = _later(self._store, STORE_FIRST, STORE_LONGEST, self._now())
        self.trouble, self.reason = text, reason
        return fell

    def forget(self, waiting: frozenset[str]) -> None:
        """Of what does not wait any more nothing need be known."""
        for session in self._own.keys() - waiting:
            del self._own[session]

    @property
    def failing(self) -> int:
        """Recordings with a fault of their own."""
        return len(self._own)

    @property
    def next(self) -> float:
        """Seconds until a pause of the store is over; 0 when there is none."""
        return max(0.0, self._store.until - self._now())


def _later(before: _Wait | None, first: float, longest: float, now: float) -> _Wait:
    pause = min(longest, before.pause * 2) if before is not None and before.pause else first
    return _Wait(pause, now + pause)

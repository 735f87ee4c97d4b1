"""A leaky bucket that several workers fill together (L0, pure: the memory and the moment are arguments).

What it is for: what strangers may take of the machine is one number, however many workers there are. A question to
another process for each key exchange would cost more than some of what is bounded, so the bucket stands in the memory
that all workers see.

How: a bucket that empties at a steady rate is one number, the moment at which it will be empty. Each worker writes
that moment, as it sees it, into a word of its own row; the largest of all rows is in force. A word beside it counts
what was given back since ever, which all moments are taken to be later by: so the largest never falls, and giving back
needs no word of another. Both words outlive their worker (`rows.clear`).

Invariant: whoever pours sees everything that was poured before. Of two that pour in the same microseconds one may
be overlooked: less than one piece of work in a thousand, since what is poured is then worked off for 50 of them or
more.
"""

from __future__ import annotations

from typing import Final

from bastion.sharing.rows import BUCKETS, Elsewhere

NANOSECONDS: Final = 1_000_000_000


class SharedBucket:
    """The bucket at `place` of the rows. It empties at `rate` a second. Moments are those of the monotonic clock, which
    is one for all processes of a machine, in seconds."""

    __slots__ = ("_others", "_rate", "_returned", "_until")

    def __init__(self, others: Elsewhere, place: int, rate: int) -> None:
        if not 0 <= place < len(BUCKETS) // 2:
            raise ValueError("the rows have no such bucket")
        self._others, self._rate = others, rate
        self._until = BUCKETS[2 * place]
        self._returned = BUCKETS[2 * place + 1]

    def level(self, now: float) -> float:
        """What is in it."""
        left = self._others.largest(self._until) - self._others.sum(self._returned) - _whole(now)
        return max(0, left) * self._rate / NANOSECONDS

    def pour(self, amount: int, now: float) -> None:
        """So much more."""
        others = self._others
        begin = max(others.largest(self._until), _whole(now) + others.sum(self._returned))
        others.put(self._until, begin + self._duration(amount))

    def give_back(self, amount: int) -> None:
        """So much less. What that is beyond all that is in it is lost at the next `pour`."""
        self._others.add(self._returned, self._duration(amount))

    def _duration(self, amount: int) -> int:
        return amount * NANOSECONDS // self._rate


def _whole(moment: float) -> int:
    return int(moment * NANOSECONDS)

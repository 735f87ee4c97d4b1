"""The two legs of a session."""

from __future__ import annotations

from enum import IntEnum


class Side(IntEnum):
    """The leg a payload came from: the engineer's or the target's."""

    CLIENT = 0
    TARGET = 1

    @property
    def other(self) -> Side:
        return Side.TARGET if self is Side.CLIENT else Side.CLIENT


Counts = tuple[int, int]
"""By Side. A value that is replaced: what nobody ever counts anything in is one pair for all sessions."""


def counted(counts: Counts, side: Side, by: int = 1) -> Counts:
    """`counts` with `by` more of `side`."""
    client, target = counts
    return (client, target + by) if side else (client + by, target)

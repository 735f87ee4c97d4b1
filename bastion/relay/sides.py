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

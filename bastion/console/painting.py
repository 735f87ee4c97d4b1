"""Who draws when (L4, pure but for timers): one after the other, and never more than half of the time for all of them.

Drawing terminals is work in the one thread that answers everybody, and what a target writes decides how much. So each
painter works at most once in PICTURE seconds, on a bounded piece, and after each piece there is as much rest as it
took. Invariant: whoever waits longest is next; nothing waits in a queue but painters, each once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from bastion.clock import Clock, DelayedCall, Timers

PICTURE: Final = 0.2
"""Seconds between two pictures of one painter: five a second."""

Work = Callable[[], bool]
"""Draws a piece; True: there is more to do already."""


class Painter:
    """Somebody who draws. `wants()` whenever something has come."""

    __slots__ = ("_easel", "_timer", "_work", "done_at", "queued")

    def __init__(self, easel: Easel, work: Work) -> None:
        self._easel, self._work = easel, work
        self._timer: DelayedCall | None = None
        self.done_at = float("-inf")
        self.queued = False

    def wants(self) -> None:
        """Soon, or when it is PICTURE seconds since the last time."""
        if self.queued or self._timer is not None or self._work is _nothing:
            return
        left = self.done_at + PICTURE - self._easel.timers.seconds()
        if left > 0:
            self._timer = self._easel.timers.callLater(left, self._due)
        else:
            self._easel.put(self)

    def _due(self) -> None:
        self._timer = None
        self._easel.put(self)

    def draw(self) -> None:
        """For the easel."""
        more = self._work()
        self.done_at = self._easel.timers.seconds()
        if more:
            self.wants()

    def stop(self) -> None:
        """Never again."""
        self._work = _nothing
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()


def _nothing() -> bool:
    return False


class Easel:
    """One per console."""

    def __init__(self, timers: Timers, clock: Clock) -> None:
        self.timers, self._clock = timers, clock
        self._waiting: deque[Painter] = deque()
        self._next: DelayedCall | None = None

    def put(self, painter: Painter) -> None:
        """It is this one's turn, once those before it are done."""
        painter.queued = True
        self._waiting.append(painter)
        if self._next is None:
            self._next = self.timers.callLater(0.0, self._draw)

    def _draw(self) -> None:
        self._next = None
        painter = self._waiting.popleft()
        painter.queued = False
        began = self._clock.monotonic()
        try:
            painter.draw()
        finally:
            took = self._clock.monotonic() - began
            if self._waiting:
                self._next = self.timers.callLater(took, self._draw)

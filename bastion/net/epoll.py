"""Twisted's epoll reactor with a clock that is never set, less between an event and who reads it, and smaller timers.

Twisted's timers follow `time.time`: with the clock set an hour back, a login past its grace stays and no keepalive is
sent; an hour forward, all of them are due at once. Here every reactor counts monotonic seconds. What is compared
with certificates and calendars asks a `bastion.clock.Clock` instead; `observe.clock_steps` notices when that is set.

Twisted wraps every event in a log context that names the connection; our log lines name it themselves, and what
a connection raises is caught in the transport. The context costs more than all the rest of a keystroke's way
through the reactor: 7 of 10 microseconds an event, twice for every echo. What is no connection of `net.socket` goes
Twisted's way.

Twisted also wakes up for every timer that was cancelled, at the moment it would have been due: a login cancels a
dozen. Those are dropped before it is decided how long to sleep.

Who has not logged in waits behind who has: events of `background` connections are taken in the order they came for
`BACKGROUND_TURN` of each turn; the others of that turn come first, and what is left stays for the next. So hundreds of
strangers cost an engineer's keystroke that much and one piece of their work, and not hundreds of pieces. The port is
not in the background: who comes is accepted in the next turn, a few in each.

While a download comes in small pieces and nobody types or waits, the reactor lets it gather for half a millisecond
before it looks again (`net.read_size`).

A poll counts in whole milliseconds and rounds up, so a timer would be late by what its time lacks to the next one:
whoever is answered by a timer could read from that, in steps of a microsecond, how long the work before it took. Here
the rest of a millisecond is waited for exactly.

A timer of Twisted's carries two bound methods of the reactor and a dictionary of its own, 190 of its 480 bytes.
An idle session has three timers, so here all timers have the same ones.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from heapq import heappop
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.python import log

from bastion.net.read_size import pace

LONGEST_SLEEP = 2147483.0
"""Seconds that one poll may take: epoll_wait(2) counts milliseconds in 31 bits."""

MILLISECOND = 0.001
"""Seconds that epoll_wait(2) counts in."""

MAX_EVENTS = 128
"""Events of one poll beside those that wait in the background, which are told again each time. More wait for the next:
with more connections ready than this, none starves."""

BACKGROUND_TURN = 0.002
"""Seconds of one turn for connections that have not logged in. At least one event of theirs is taken in each turn, so
they are never starved; when nobody else has anything, turns follow each other at once and all the time is theirs."""

TIDY_ABOVE = 50
"""Cancelled timers that are left where they are; above this Twisted takes them out when they are the most."""

_NO_NAMES: dict[str, object] = {}


class DirectReactor(EPollReactor):
    """One per process."""

    seconds = staticmethod(time.monotonic)

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._cancel, self._move = self._cancelCallLater, self._moveCallLaterSooner
        self._background: dict[Any, int] = {}  # events not yet taken, in the order they came

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> Any:
        """As Twisted's."""
        call = super().callLater(delay, callable, *args, **kw)
        call.canceller, call.resetter = self._cancel, self._move
        if not kw:
            call.kw = _NO_NAMES
        return call

    def doPoll(self, timeout: float | None) -> None:
        """Wait for events and let each connection take its own, those in the background last."""
        background = self._background
        if background:
            timeout = 0.0
        elif pause := pace.gather():
            time.sleep(pause)  # noqa: TID251 - an event that ended the wait would be what is waited for to gather
        try:
            # Those that wait are told again each time: none of them may take the place of somebody else's.
            most = MAX_EVENTS + len(background)
            ready = self._poll(timeout, most)
        except InterruptedError:
            return
        selectables = self._selectables
        for descriptor, event in ready:
            selectable: Any = selectables.get(descriptor)
            if selectable is None:
                continue  # an earlier event of this turn closed it
            if getattr(selectable, "background", False):
                background[selectable] = event
            else:
                self._take(selectable, descriptor, event)
        if background:
            self._take_background()

    def _poll(self, timeout: float | None, most: int) -> list[tuple[int, int]]:
        """What is ready, at once or within `timeout` seconds; rather a millisecond too early than one too late."""
        poll = self._poller.poll
        if timeout is None:
            return poll(-1, most)  # type: ignore[no-any-return]
        if timeout >= MILLISECOND:  # half of one less is rounded up to whole ones, and never beyond
            return poll((int(timeout / MILLISECOND) - 0.5) * MILLISECOND, most)  # type: ignore[no-any-return]
        if timeout > 0:
            select.select((self._poller,), (), (), timeout)
        return poll(0, most)  # type: ignore[no-any-return]

    def _take_background(self) -> None:
        """As many of the waiting events as their time allows, the longest waiting first."""
        background, until = self._background, self.seconds() + BACKGROUND_TURN
        while background:
            selectable = next(iter(background))
            event = background.pop(selectable)
            descriptor = selectable.fileno()
            if self._selectables.get(descriptor) is selectable:
                if descriptor not in self._reads:
                    event &= ~select.EPOLLIN  # it was paused meanwhile
                if event:
                    self._take(selectable, descriptor, event)
            if self.seconds() >= until:
                return

    def _take(self, selectable: Any, descriptor: int, event: int) -> None:
        """Let one connection take its event."""
        if not getattr(selectable, "direct", False):
            log.callWithLogger(  # type: ignore[no-untyped-call]
                selectable, self._doReadOrWrite, selectable, descriptor, event
            )
        elif event == select.EPOLLIN:
            try:
                ended = selectable.doRead()
            except Exception as error:
                ended = error
                log.err()  # type: ignore[no-untyped-call]
            if ended is not None:
                self._disconnectSelectable(  # type: ignore[no-untyped-call]
                    selectable, ended, True
                )
        else:
            self._doReadOrWrite(  # type: ignore[no-untyped-call]
                selectable, descriptor, event
            )

    doIteration = doPoll

    def timeout(self) -> float | None:
        """Seconds until the next timer that still stands, None when there is none."""
        self._insertNewDelayedCalls()
        pending = self._pendingTimedCalls
        while pending and pending[0].cancelled:
            heappop(pending)
            self._cancellations -= 1
        if not pending:
            return None
        return max(0.0, min(LONGEST_SLEEP, pending[0].time - self.seconds()))

    def runUntilCurrent(self) -> None:
        """Call what is due, Twisted's way; when nothing is, that is seen at once."""
        if not (self.threadCallQueue or self._newTimedCalls or self._justStopped):
            pending = self._pendingTimedCalls
            if self._cancellations <= TIDY_ABOVE and (not pending or pending[0].time > self.seconds()):
                return
        super().runUntilCurrent()

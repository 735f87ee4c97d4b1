"""Answers that go on (L4): lines of JSON, for as long as somebody takes them, may see them, and is signed in.

They are answers of the one HTTP server like all others: no other protocol, no other way in. Invariants: how many there
are is bounded, of one visit too; one ends with its visit, in the same turn; whether whoever takes it still may is asked
again every minute; what is sent to a browser that takes nothing is nothing, and what is sent in all has a rate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from bastion.auth.directory import Asker
from bastion.clock import DelayedCall, Timers
from bastion.console.admission import TEXTS
from bastion.console.reads import Trouble
from bastion.console.routes import Route
from bastion.console.standing import FRESH, Standing
from bastion.console.visits import Visit, Visits
from bastion.errors import ConsoleReason

MOST: Final = 64
MOST_OF_ONE: Final = 4
"""Streams at once, in all and of one visit: a wall, and a page or two beside it."""

BEAT: Final = 15.0
"""Seconds between two signs of life, for proxies that end what is silent, and to notice who has gone."""

RATE: Final = 512 << 10
BURST: Final = 2 << 20
"""Bytes a second, and at once, beyond which a stream has no room for a while."""

KIND: Final = "application/x-ndjson"
HEADERS: Final = (("x-accel-buffering", "no"),)
"""nginx is not to keep lines until there are many."""

Refuse = Callable[[Visit, ConsoleReason, Route], None]
"""Writes down that somebody is shown something no longer."""

_log = Logger(namespace="bastion.console")


class LineStream:
    """One of them, as the body of an answer (`answers.Answer.stream`). Whoever fills it hears in `on_room` that there
    is room again, and in `on_over` that nothing is taken any more."""

    def __init__(self, timers: Timers, visit: Visit, route: Route) -> None:
        self.visit, self.route = visit, route
        self.over = False
        self.on_room: Callable[[], object] = bool
        self.on_over: list[Callable[[], object]] = []
        self._timers = timers
        self._sink: Any = None
        self._paused = False
        self._level, self._level_at = 0.0, timers.seconds()
        self._beat: DelayedCall | None = None
        self._later: DelayedCall | None = None  # until there is room again
        self._last = b""

    @property
    def has_room(self) -> bool:
        """May something be sent now?"""
        if self._sink is None or self._paused or self.over:
            return False
        now = self._timers.seconds()
        self._level = max(0.0, self._level - RATE * (now - self._level_at))
        self._level_at = now
        over = self._level - BURST
        if over > 0 and (self._later is None or not self._later.active()):
            self._later = self._timers.callLater(over / RATE, lambda: self.on_room())
        return over <= 0

    def send(self, value: object) -> None:
        """A line more. What has no room is for the caller to leave out."""
        if self._sink is not None and not self.over:
            line = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS) + b"\n"
            self._level += len(line)
            self._sink.write(line)

    def end(self, text: str) -> None:
        """A last line, which says why."""
        if self.over:
            return
        self._last = orjson.dumps({"end": text}) + b"\n"
        sink = self._sink
        self._finish()
        if sink is not None:
            sink.write(self._last)
            sink.end()

    def _finish(self) -> None:
        if self.over:
            return
        self.over, self._sink = True, None
        for timer in (self._beat, self._later):
            if timer is not None and timer.active():
                timer.cancel()
        told, self.on_over = self.on_over, []
        for one in told:
            one()

    def _alive(self) -> None:
        self._beat = self._timers.callLater(BEAT, self._alive)
        if not self._paused:
            self.send({})

    # -- for the site ------------------------------------------------------------------------------------

    def send_to(self, sink: Any) -> None:
        """The browser takes it from now on."""
        sink.begin(self)
        if self.over:
            sink.write(self._last)
            sink.end()
            return
        self._sink = sink
        self._beat = self._timers.callLater(0.0, self._alive)
        self.on_room()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self.on_room()

    def stop(self) -> None:
        """Nobody takes it any more."""
        self._finish()


class Streams:
    """All of one console."""

    def __init__(self, timers: Timers, standing: Standing, visits: Visits, refuse: Refuse) -> None:
        self._timers, self._standing, self._visits, self._refuse = timers, standing, visits, refuse
        self._open: dict[LineStream, DelayedCall] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, visit: Visit, route: Route, asker: Asker) -> LineStream:
        """A stream for `visit`, by a route that it was admitted to. Raises Trouble when there are as many as may be."""
        if sum(one.visit is visit for one in self._open) >= MOST_OF_ONE:
            text = f"{MOST_OF_ONE} pages of yours are shown something live already: close one"
            raise Trouble(ConsoleReason.TOO_MANY, text)
        if len(self._open) >= MOST:
            raise Trouble(ConsoleReason.TOO_MANY, TEXTS[ConsoleReason.TOO_MANY])
        made = LineStream(self._timers, visit, route)
        made.on_over.append(lambda: self._over(made))
        self._look_later(made, asker)
        return made

    def visit_over(self, visit: Visit, reason: ConsoleReason) -> None:
        """Somebody is signed in no longer."""
        for one in [one for one in self._open if one.visit is visit]:
            one.end(TEXTS[reason])

    def close(self) -> None:
        """End all of them."""
        for one in list(self._open):
            one.end("the console is closing down")

    def _over(self, one: LineStream) -> None:
        timer = self._open.pop(one, None)
        if timer is not None and timer.active():
            timer.cancel()

    def _look_later(self, one: LineStream, asker: Asker) -> None:
        self._open[one] = self._timers.callLater(FRESH, self._look, one, asker)

    def _look(self, one: LineStream, asker: Asker) -> None:
        looked = Deferred.fromCoroutine(self._still(one, asker))
        looked.addErrback(lambda failure: self._failed(one, failure))

    def _failed(self, one: LineStream, failure: Any) -> None:
        _log.failure("asking whether a stream may go on failed", failure=failure)
        one.end(TEXTS[ConsoleReason.FAILED])

    async def _still(self, one: LineStream, asker: Asker) -> None:
        """May it go on?"""
        visit = one.visit
        reason = await self._standing.ask(visit, asker)
        if one.over:
            return
        if reason in (ConsoleReason.ACCOUNT_GONE, ConsoleReason.LOCKED):
            self._visits.end(visit, reason)  # which ends all streams of the visit
            return
        if reason is None and not one.route.whose & visit.roles:  # type: ignore[operator]
            reason = ConsoleReason.NO_ROLE
        if reason is not None:
            self._refuse(visit, reason, one.route)
            one.end(TEXTS[reason])
            return
        self._look_later(one, asker)

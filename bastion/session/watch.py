"""The clocks of a session: keepalive on both legs, silence, the longest duration, the end of the credential.

Every ending is announced on ptys before it comes, and its reason stands in the DISCONNECT for everybody else.
One timer is pending at any time whatever is watched, so thousands of idle sessions cost one timer each.
Invariant: a leg that we do not read, because the other takes nothing, is never called silent: the write stall
timer of the other leg is the one that judges that (`transport.output`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from bastion.clock import DelayedCall, Timers
from bastion.errors import EndReason
from bastion.session.ending import End
from bastion.sides import Side

# Seconds before the end of the longest duration at which ptys are told.
DURATION_WARNINGS = (15 * 60.0, 5 * 60.0, 60.0)
# Silence is announced this long before it ends a session, or at half of the limit when that is shorter.
IDLE_WARNING = 60.0
# Silence is looked for this often, or eight times within its limit: data between two looks counts as of the later.
IDLE_LOOK = 30.0
CALENDAR_LOOK: Final = 30.0
"""Seconds between two looks at what is left of a certificate by the calendar: the clock may have been set."""


class Watched(Protocol):
    """What the clocks need of a session (`session.session.Session`)."""

    session_id: str
    heard: list[int]

    @property
    def moved(self) -> int:
        """Channel bytes so far, both ways."""
        ...

    def is_read(self, side: Side) -> bool:
        """False while back-pressure keeps us from reading this leg."""
        ...

    def ask_alive(self, side: Side) -> None: ...

    def warn(self, text: str) -> None: ...

    def end(self, end: End) -> None: ...


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """Seconds and a count; 0 switches a clock off. `lasts` is what is left of the session at its start.

    `credential_left`: for a session that ends with its certificate or key, what is left of that by the calendar. The
    clock may be set meanwhile, so it is asked again.
    """

    keepalive_interval: float = 60.0
    keepalive_count: int = 3
    idle: float = 0.0
    lasts: float = 0.0
    credential_left: Callable[[], float] | None = None


class Watch:
    """Started with its session, stopped by its end. All times come from one reactor."""

    __slots__ = (
        "_active_at",
        "_clock",
        "_ends_at",
        "_heard",
        "_idle_look_at",
        "_idle_warned",
        "_keepalive_at",
        "_limits",
        "_missed",
        "_moved",
        "_session",
        "_timer",
        "_warnings",
    )

    def __init__(self, session: Watched, clock: Timers, limits: WatchLimits) -> None:
        now = clock.seconds()
        self._session: Watched | None = session
        self._clock = clock
        self._limits = limits
        self._heard = [0, 0]
        self._missed = [0, 0]
        self._moved = 0
        self._active_at = now
        self._idle_warned = False
        self._idle_look_at = 0.0
        self._plan_idle_look(now)
        self._keepalive_at = now + limits.keepalive_interval if limits.keepalive_interval else 0.0
        self._ends_at = now + limits.lasts if limits.lasts else 0.0
        # What is still to be said of DURATION_WARNINGS, longest first: it is said within the duration only.
        self._warnings = DURATION_WARNINGS[sum(lead >= limits.lasts for lead in DURATION_WARNINGS) :]
        self._timer: DelayedCall | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._schedule()

    def stop(self) -> None:
        """Nothing fires after this."""
        timer, self._timer = self._timer, None
        self._session = None
        if timer is not None and timer.active():
            timer.cancel()

    # -- one timer for everything ------------------------------------------------------------------------

    def _schedule(self) -> None:
        now = self._clock.seconds()
        calendar_at = now + CALENDAR_LOOK if self._limits.credential_left else 0.0
        moments = (self._keepalive_at, self._idle_look_at, self._duration_due(), calendar_at)
        due = [moment for moment in moments if moment]
        if due and self._session is not None:
            wait = max(0.0, min(due) - now)
            self._timer = self._clock.callLater(wait, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        for look in (self._look_at_duration, self._look_at_idle, self._look_at_legs):
            if self._session is not None:
                look(self._session, now)
        self._schedule()

    # -- duration and credential -------------------------------------------------------------------------

    def _duration_due(self) -> float:
        if not self._ends_at:
            return 0.0
        return self._ends_at - (self._warnings[0] if self._warnings else 0.0)

    def _look_at_duration(self, session: Watched, now: float) -> None:
        if self._limits.credential_left is not None:
            # Never later than was said at the start: what else ends the session may come right after.
            self._ends_at = min(self._ends_at, max(now + self._limits.credential_left(), 0.001))
        if not self._ends_at or now < self._duration_due():
            return
        left = self._ends_at - now
        if left > 0:
            while self._warnings and left <= self._warnings[0]:
                self._warnings = self._warnings[1:]
            session.warn(f"\r\nbastion: this session ends in {in_words(left)}: {self._why()}\r\n")
            return
        self._end(EndReason.GRANT_ENDED if self._limits.credential_left else EndReason.DURATION, self._why())

    def _why(self) -> str:
        if self._limits.credential_left:
            return "your certificate or key expires"
        return f"its longest duration is {in_words(self._limits.lasts)}"

    # -- silence -----------------------------------------------------------------------------------------

    def _plan_idle_look(self, now: float) -> None:
        limit = self._limits.idle
        if limit:
            lead = 0.0 if self._idle_warned else min(IDLE_WARNING, limit / 2)
            self._idle_look_at = min(now + min(IDLE_LOOK, limit / 8), self._active_at + limit - lead)

    def _look_at_idle(self, session: Watched, now: float) -> None:
        limit = self._limits.idle
        if not limit or now < self._idle_look_at:
            return
        if session.moved != self._moved:
            self._moved, self._active_at, self._idle_warned = session.moved, now, False
        silent = now - self._active_at
        if silent >= limit:
            self._end(EndReason.IDLE, f"no data for {in_words(limit)}")
            return
        if not self._idle_warned and silent >= limit - min(IDLE_WARNING, limit / 2):
            self._idle_warned = True
            session.warn(
                f"\r\nbastion: no data for {in_words(silent)}: this session ends in {in_words(limit - silent)}\r\n"
            )
        self._plan_idle_look(now)

    # -- both legs ---------------------------------------------------------------------------------------

    def _look_at_legs(self, session: Watched, now: float) -> None:
        if not self._keepalive_at or now < self._keepalive_at:
            return
        self._keepalive_at = now + self._limits.keepalive_interval
        for side in (Side.CLIENT, Side.TARGET):
            if session.heard[side] != self._heard[side] or not session.is_read(side):
                self._heard[side], self._missed[side] = session.heard[side], 0
                continue
            if self._missed[side] >= self._limits.keepalive_count:
                who = "client" if side is Side.CLIENT else "target"
                silent = in_words(self._limits.keepalive_interval * self._limits.keepalive_count)
                self._end(EndReason.KEEPALIVE, f"the {who} has not answered for {silent}")
                return
            self._missed[side] += 1
            session.ask_alive(side)
            if self._session is None:
                return

    def _end(self, reason: EndReason, text: str) -> None:
        session = self._session
        if session is not None:
            session.end(End(reason, f"the session has ended: {text}", ref=session.session_id[:6]))


def in_words(seconds: float) -> str:
    """`12 h`, `5 min`, `90 s`: for a sentence."""
    whole = round(seconds)
    if whole >= 3600 and whole % 3600 == 0:
        return f"{whole // 3600} h"
    if whole >= 120 and whole % 60 == 0:
        return f"{whole // 60} min"
    return "1 min" if whole == 60 else f"{max(whole, 1)} s"

"""Opening and closing the break-glass accounts, for all processes of a gateway and all gateways of a store (L3).

Invariants: what was said last counts, wherever it was; it is in force here before whoever said it is told so, and is
kept over a restart; an opening lasts a day at most, whatever the store says; while nobody can say what is kept, what
was known lasts as long as it was to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion.clock import Clock, DelayedCall, Timers
from bastion.control.asking import By, ControlError
from bastion.control.glass import Glass, GlassKept, KeepGlass, Kept, SetGlass
from bastion.control.hub import Hub
from bastion.errors import ControlReason
from bastion.observe.events import AuditEvent
from bastion.observe.events.control import BreakGlassClosed, BreakGlassFollowed, BreakGlassOpened

LONGEST: Final = 86400.0
"""Seconds for which break-glass accounts may be opened: an emergency that lasts longer is opened again."""

SKEW: Final = 300.0
"""Seconds by which another gateway's clock may be ahead: what it has opened for a day lasts a day here, too."""

LOOK: Final = 10.0
"""Seconds between two looks into the store: what another gateway has said is known here so much later at most."""

CLOSED: Final = Glass()

_log = Logger(namespace="bastion.control")


class GlassKeeper:
    """One, where the control socket is. `note` writes an audit line."""

    def __init__(self, hub: Hub, clock: Clock, timers: Timers, note: Callable[[AuditEvent], None]) -> None:
        self._hub, self._clock, self._timers, self._note = hub, clock, timers, note
        self._kept = Kept(CLOSED)
        self._timer: DelayedCall | None = None
        self._following = False

    @property
    def glass(self) -> Glass | None:
        """What somebody has opened, for a process that joins; None: nothing."""
        until = self._kept.glass.until
        return self._kept.glass if until is not None and self._clock.time() < until else None

    def open(self, by: By, reason: str, seconds: float) -> Deferred[Glass]:
        """Raises ControlError for a time that is none."""
        if not 0 < seconds <= LONGEST:
            raise ControlError(ControlReason.MALFORMED, "break-glass accounts are opened for a day at most")
        until = self._clock.time() + seconds
        self._note(BreakGlassOpened(by.name, by.uid, reason, until))
        return self._say(Glass(until, reason, str(by)))

    def close(self, by: By) -> Deferred[Glass]:
        """Raises ControlError where nothing is open."""
        if self.glass is None:
            raise ControlError(ControlReason.NOT_FOUND, "nobody has opened the break-glass accounts")
        self._note(BreakGlassClosed(by.name, by.uid))
        return self._say(Glass(opened_by=str(by)))

    def _say(self, glass: Glass) -> Deferred[Glass]:
        # later than what was said before, wherever its clock stood
        made_at = max(self._clock.time(), self._kept.made_at + 0.001)
        self._kept = Kept(glass, made_at)
        self._hub.ask_any(KeepGlass(self._kept)).addErrback(_not_kept)
        return self._hub.ask(SetGlass(glass))

    # -- what others say ---------------------------------------------------------------------------------

    def follow(self) -> None:
        """From now on do what was said last, as the store knows it."""
        self._following = True
        self._look()

    def stop(self) -> None:
        """Nothing fires after this."""
        self._following = False
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _look(self) -> None:
        self._timer = None
        asked = self._hub.ask_any(GlassKept())
        asked.addCallbacks(self._seen, lambda _: None)  # a process that does not answer is told elsewhere
        asked.addErrback(lambda failure: _log.failure("break-glass accounts", failure=failure))
        asked.addBoth(lambda _: self._look_later())

    def _look_later(self) -> None:
        if self._following and self._timer is None:
            self._timer = self._timers.callLater(LOOK, self._look)

    def _seen(self, kept: Kept) -> None:
        if kept.made_at <= self._kept.made_at or not self._following:
            return
        before, now = self.glass, self._clock.time()
        until = kept.glass.until
        if until is not None and not now < until <= now + LONGEST + SKEW:
            kept = Kept(CLOSED, kept.made_at)
        elif until is not None and until > now + LONGEST:
            kept = Kept(replace(kept.glass, until=now + LONGEST), kept.made_at)
        self._kept = kept
        if before is None and self.glass is None:
            return
        self._note(BreakGlassFollowed(kept.glass.opened_by, kept.glass.reason, kept.glass.until))
        self._hub.ask(SetGlass(kept.glass)).addErrback(_not_told)


def _not_kept(failure: Failure) -> None:
    _log.warn("that break-glass accounts were opened is not kept: {text}", text=failure.getErrorMessage())


def _not_told(failure: Failure) -> None:
    _log.warn("not every process knows of break-glass accounts: {text}", text=failure.getErrorMessage())

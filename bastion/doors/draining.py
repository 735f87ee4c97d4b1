"""Draining: what runs is let finish, and whoever has nothing running is sent home (L3).

It begins once. Nothing of it stands on a byte's way: a timer looks at the connections four times a second, and the
lines for ptys are written a few sessions in a turn, so that thousands of them hold up nobody's keystroke.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from twisted.internet.defer import Deferred

from bastion.clock import DelayedCall
from bastion.doors.listener import Front, FrontConnection
from bastion.session.session import Session
from bastion.session.watch import DURATION_WARNINGS, in_words

LOOK: Final = 0.25
"""Seconds between two looks: one of 10,000 connections takes about 2 ms."""

WARNED_IN_A_TURN: Final = 20
"""Sessions that get their line in one turn of the reactor, some 50 us each."""


class Drained(StrEnum):
    """How it ended: an audit word."""

    EMPTY = "empty"  # nobody was left
    DEADLINE = "deadline"
    HURRIED = "hurried"  # a second signal


class Draining:
    """Connections of one `Front` until the last is gone, the time is over, or `finish` is called."""

    def __init__(self, front: Front, text: str, patience: float = 0.0) -> None:
        """`text` is told to connections with nothing inside, which have `patience` seconds to open something."""
        self._front = front
        self._reactor = front.gateway.reactor
        self._text = text
        self._patience = patience
        self._idle_since: dict[FrontConnection, float] = {}
        self._timers: list[DelayedCall] = []
        self._look_again: DelayedCall | None = None
        self._ended: Deferred[Drained] | None = Deferred()

    def begin(self, seconds: float | None = None) -> Deferred[Drained]:
        """Look from now on. With `seconds`, ptys are told when it ends, now and shortly before."""
        assert self._ended is not None
        ended = self._ended
        if seconds is not None:
            self._warn(seconds)
            for left in DURATION_WARNINGS:
                if left < seconds:
                    self._later(seconds - left, self._warn, left)
            self._later(seconds, self.finish, Drained.DEADLINE)
        self._look()
        return ended

    def finish(self, how: Drained = Drained.HURRIED) -> None:
        """It is over, once: no timer is left."""
        ended, self._ended = self._ended, None
        for timer in (*self._timers, self._look_again):
            if timer is not None and timer.active():
                timer.cancel()
        self._timers, self._look_again = [], None
        self._idle_since.clear()
        if ended is not None:
            ended.callback(how)

    def _later(self, seconds: float, call: object, *arguments: object) -> None:
        self._timers.append(self._reactor.callLater(seconds, call, *arguments))

    # -- looking -----------------------------------------------------------------------------------------

    def _look(self) -> None:
        self._look_again = None
        now = self._reactor.seconds()
        since: dict[FrontConnection, float] = {}
        for connection in list(self._front.connections):
            if not self._may_go(connection):
                continue
            since[connection] = began = self._idle_since.get(connection, now)
            if now - began >= self._patience:
                connection.shut_down(self._text)
        self._idle_since = since
        if not (self._front.connections or self._front.waiting):
            self.finish(Drained.EMPTY)
        elif self._ended is not None:
            self._look_again = self._reactor.callLater(LOOK, self._look)

    def _may_go(self, connection: FrontConnection) -> bool:
        """Nothing would be cut. A login under way counts for something only where it will be let in."""
        return connection.idle or (connection.unproved and self._front.gateway.draining)

    # -- words -------------------------------------------------------------------------------------------

    def _warn(self, left: float) -> None:
        text = f"\r\nbastion: the gateway closes in {in_words(left)}, finish your work\r\n"
        self._warn_some(iter(self._front.gateway.live), text)

    def _warn_some(self, sessions: Iterator[Session], text: str) -> None:
        for _ in range(WARNED_IN_A_TURN):
            session = next(sessions, None)
            if session is None:
                return
            session.warn(text)
        self._later(0.0, self._warn_some, sessions, text)

"""How many reviews are overdue, looked at now and then for the gateway's metrics (L4).

The console leaves word in the folder of the state, as commands of a timer do (`state.runs`); where it may not write
there nobody hears of it, and nothing else is missing.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion.auth.directory import OPERATOR
from bastion.clock import Clock, DelayedCall
from bastion.console.reads import Reads
from bastion.state.database import Database
from bastion.state.review_queue import Rules, queue_of
from bastion.state.runs import Run, leave_run

EVERY: Final = 300.0
"""Seconds between two looks."""

TASK: Final = "reviews"

_log = Logger(namespace="bastion.console")


class Overdue:
    """One per console: `start` it, `stop` it."""

    def __init__(self, reactor: Any, clock: Clock, reads: Reads, rules: Rules) -> None:
        self._reactor, self._clock, self._reads, self._rules = reactor, clock, reads, rules
        self._timer: DelayedCall | None = None

    def start(self) -> None:
        """Look now, and again."""
        self._timer = self._reactor.callLater(EVERY, self.start)
        self._reads.ask(self._look, OPERATOR).addErrback(self._failed)

    def stop(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _look(self, database: Database) -> None:
        """In a thread."""
        now = self._clock.time()
        overdue = queue_of(database, self._rules, now).overdue(now)
        with suppress(OSError):
            leave_run(database.place.folder, TASK, Run(now, overdue))

    def _failed(self, failure: Failure) -> None:
        _log.warn("overdue reviews are not known: {why}", why=failure.getErrorMessage())

"""The process that asks inventories, as the gateway sees it (L4): what it says is counted, told, and reloaded.

Of a gateway of several processes the supervisor has it. Invariant: a change is asked to be reloaded until a reload has
been taken since: a file that had a fault at that moment delays it, and does not lose it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from bastion.assembly.companion import Companion, Start
from bastion.assembly.companion import program as program_of
from bastion.clock import Clock, DelayedCall
from bastion.inventories.report import Report, read_report
from bastion.inventories.section import SOURCES_MAX
from bastion.observe.audit import AuditLog
from bastion.observe.events.process import InventoryState
from bastion.observe.families.inventories import (
    INVENTORIES,
    INVENTORY_AGE_SECONDS,
    INVENTORY_ANSWERS,
    INVENTORY_STARTS,
    STATES,
)
from bastion.observe.meters import Meters

FIRST_AGAIN: Final = 60.0
LONGEST_AGAIN: Final = 900.0
"""Seconds until a change that no reload has taken is asked for again, doubling."""


class Inventories:
    """One per gateway. `follow` says which inventories there are, as a digest of their sections, "" of none."""

    def __init__(
        self,
        reactor: Any,
        clock: Clock,
        meters: Meters,
        audit: AuditLog,
        start: Start,
        reload: Callable[[str], object],
    ) -> None:
        """`reload` reads everything again, by whom its argument says."""
        self._reactor, self._clock, self._meters, self._audit = reactor, clock, meters, audit
        self._reload = reload
        self._log = Logger(namespace="bastion.inventories")
        self._companion = Companion(reactor, "asks inventories", start, self._said)
        self._companion.on_started = lambda: meters.add(INVENTORY_STARTS)
        self._digest = ""
        self._last: dict[str, Report] = {}
        self._changed: dict[str, None] = {}  # inventories whose change no reload has taken yet, in order
        self._again = FIRST_AGAIN
        self._timer: DelayedCall | None = None

    def follow(self, digest: str) -> None:
        """A configuration is in force: with these inventories, and with all that they had said."""
        self._changed.clear()
        self._cancel()
        if digest != self._digest:
            self._digest = digest
            self._last.clear()
            self._companion.follow(bool(digest))
        self.refresh()

    def stop(self) -> Deferred[None]:
        """Ask nobody any more. Fires when the process is gone."""
        self._changed.clear()
        self._cancel()
        self._digest = ""
        return self._companion.stop()

    def refresh(self) -> None:
        """The gauges, of which one grows by itself."""
        now, states = self._clock.time(), dict.fromkeys(STATES, 0)
        oldest = 0.0
        for report in self._last.values():
            states[_state(report)] += 1
            oldest = max(oldest, now - report.answered_at if report.answered_at else 0.0)
        for state, count in states.items():
            self._meters.set(INVENTORIES, count, state)
        self._meters.set(INVENTORY_AGE_SECONDS, round(max(0.0, oldest)))

    def _cancel(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer, self._again = None, FIRST_AGAIN

    def _said(self, line: bytes) -> None:
        report = read_report(line)
        if report is None or not self._digest:
            return
        before = self._last.get(report.name)
        if before is None and len(self._last) >= SOURCES_MAX:
            return
        self._last[report.name] = report
        self._meters.add(INVENTORY_ANSWERS, report.reason)
        self.refresh()
        if _told_anew(before, report):
            self._tell(report)
        if report.changed:
            self._changed[report.name] = None
            self._ask_for_it()

    def _tell(self, report: Report) -> None:
        age = round(self._clock.time() - report.answered_at) if report.answered_at else None
        reason = None if report.well else report.reason
        self._audit.note(
            InventoryState(report.name, _state(report), reason, report.text, age, report.targets)
        )

    def _ask_for_it(self) -> None:
        """Reload now, and again should that not be taken: `follow` hears of one that is."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._reactor.callLater(self._again, self._ask_for_it)
        self._again = min(LONGEST_AGAIN, self._again * 2)
        self._reload("inventory " + ", ".join(self._changed))


def _state(report: Report) -> str:
    if report.expired:
        return "expired"
    return "ok" if report.well else "failing"


def _told_anew(before: Report | None, report: Report) -> bool:
    """A line when it begins to fail, fails in another way, or works again; not each time."""
    if before is None:
        return not report.well
    return (_state(before), before.well or before.reason) != (_state(report), report.well or report.reason)


def program(reactor: Any, config_file: Path) -> Start:
    """The program over a configuration."""
    return program_of(reactor, "bastion.assembly.asking", config_file)

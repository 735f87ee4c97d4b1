"""The process that sends the audit log on, as the gateway sees it (L4): what it says is counted, and told in the log.

Of a gateway of several processes the supervisor has it. Invariant: its death costs lines a moment, and what it reports
is only counted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from bastion.assembly.companion import Companion, Start
from bastion.assembly.companion import program as program_of
from bastion.assembly.growth import Growth
from bastion.clock import Clock
from bastion.observe.audit import AuditLog
from bastion.observe.events.process import AuditSinkState
from bastion.observe.families.sinks import (
    SINK_BEHIND_BYTES,
    SINK_BEHIND_LINES,
    SINK_BEHIND_SECONDS,
    SINK_DELIVERIES,
    SINK_LINES,
    SINK_LINES_LOST,
    SINK_LINES_REFUSED,
    SINK_SPOOL_ENDING,
    SINK_STARTS,
    SINKS,
)
from bastion.observe.labels import SINK_KINDS
from bastion.observe.meters import Meters
from bastion.sinks.report import Report, read_report
from bastion.sinks.section import SINKS_MAX


class Sinks:
    """One per gateway. `follow` says which sinks there are, as a digest of their sections, "" of none."""

    def __init__(self, reactor: Any, clock: Clock, meters: Meters, audit: AuditLog, start: Start) -> None:
        self._clock, self._meters, self._audit = clock, meters, audit
        self._companion = Companion(reactor, "sends the audit log on", start, self._said)
        self._companion.on_started = self._started
        self._digest = ""
        self._last: dict[str, Report] = {}
        self._growth: dict[str, Growth] = {}  # sink -> what the process that runs has counted of it
        self._told: dict[str, str] = {}  # sink -> the state that stands in the log

    def follow(self, digest: str) -> None:
        """A configuration is in force, with these sinks: other ones need the process anew."""
        if digest != self._digest:
            self._digest = digest
            self._forget()
            self._companion.follow(bool(digest))
        self.refresh()

    def stop(self) -> Deferred[None]:
        """Send nothing any more. Fires when the process is gone, within KILL_AFTER and a moment."""
        self._digest = ""
        return self._companion.stop()

    def refresh(self) -> None:
        """The gauges, of which one grows by itself."""
        now, reports = self._clock.time(), list(self._last.values())
        self._meters.set(SINKS, sum(1 for one in reports if not one.failing), "ok")
        self._meters.set(SINKS, sum(1 for one in reports if one.failing), "failing")
        for kind in SINK_KINDS:
            of_kind = [one for one in reports if one.kind == kind]
            self._meters.set(SINK_BEHIND_LINES, max((one.lines for one in of_kind), default=0), kind)
            self._meters.set(SINK_BEHIND_BYTES, max((one.size for one in of_kind), default=0), kind)
            oldest = max((one.age(now) for one in of_kind), default=0.0)
            self._meters.set(SINK_BEHIND_SECONDS, round(oldest), kind)
            self._meters.set(SINK_SPOOL_ENDING, int(any(one.ending for one in of_kind)), kind)

    def _forget(self) -> None:
        self._last.clear()
        self._growth.clear()

    def _started(self) -> None:
        self._forget()
        self._meters.add(SINK_STARTS)

    def _said(self, line: bytes) -> None:
        report = read_report(line)
        if report is None or not self._digest:
            return
        if report.name not in self._last and len(self._last) >= SINKS_MAX:
            return
        self._last[report.name] = report
        self._count(report)
        self._tell(report)
        self.refresh()

    def _count(self, report: Report) -> None:
        growth, kind = self._growth.setdefault(report.name, Growth(self._meters)), report.kind
        for result, count in report.results.items():
            growth.take(SINK_DELIVERIES, count, kind, result)
        growth.take(SINK_LINES, report.sent, kind)
        refused = growth.take(SINK_LINES_REFUSED, report.refused, kind)
        lost = growth.take(SINK_LINES_LOST, report.lost, kind)
        for state, count in (("refused", refused), ("lost", lost)):
            if count:
                self._audit.note(AuditSinkState(report.name, kind, state, None, "", count))

    def _tell(self, report: Report) -> None:
        """A line when it begins to fail, or works again; not each time, as each is a line more that waits."""
        state = "failing" if report.failing else "ok"
        if state == self._told.get(report.name, "ok"):
            return
        self._told[report.name] = state
        reason = report.reason if report.failing else None
        lines = report.lines if report.failing else None
        self._audit.note(AuditSinkState(report.name, report.kind, state, reason, report.text, lines))


def program(reactor: Any, config_file: Path) -> Start:
    """The program over a configuration."""
    return program_of(reactor, "bastion.assembly.sending", config_file)

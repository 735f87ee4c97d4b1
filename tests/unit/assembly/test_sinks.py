"""What the process that sends the audit log says, counted and told; a process of the test in its place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from bastion.assembly.companion import FIRST_PAUSE, CompanionProcess
from bastion.assembly.sinks import Sinks
from bastion.clock import FixedClock
from bastion.observe.audit import AuditLog
from bastion.observe.families import sinks as families
from bastion.observe.labels import SinkReason
from bastion.observe.meters import Meters
from bastion.sinks.report import Report
from bastion.sinks.section import SINKS_MAX
from tests.unit.assembly.test_companion import Program


class Bench:
    def __init__(self, folder: Path) -> None:
        self.reactor, self.clock, self.meters = Clock(), FixedClock(), Meters()
        self.programs: list[Program] = []
        self._log = folder / "audit.jsonl"
        audit = AuditLog(str(self._log), self.clock, self.meters)
        self.sinks = Sinks(self.reactor, self.clock, self.meters, audit, self._start)
        self.report = Report("siem", "loki", self.clock.time(), 7)

    def _start(self, process: CompanionProcess) -> None:
        self.programs.append(Program(process))

    def say(self, **changed: Any) -> None:
        self.report = replace(self.report, at=self.clock.time(), **changed)
        self.programs[-1].process.outReceived(self.report.line())

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_process_runs_while_there_is_a_sink_and_anew_when_it_is_another(bench: Bench) -> None:
    bench.sinks.follow("")
    assert bench.programs == []
    bench.sinks.follow("one")
    bench.sinks.follow("one")
    assert len(bench.programs) == 1 and bench.programs[0].input_open, "a reload alone is no reason"
    bench.sinks.follow("two")
    assert not bench.programs[0].input_open
    bench.programs[0].ends()
    assert len(bench.programs) == 2 and bench.meters.value(families.SINK_STARTS) == 2


def test_what_it_says_is_counted_once(bench: Bench) -> None:
    bench.sinks.follow("one")
    bench.say(sent=5, results={"delivered": 2})
    bench.say(sent=9, results={"delivered": 3, "timeout": 1}, refused=2, lost=3)
    value = bench.meters.value
    assert value(families.SINK_LINES, "loki") == 9
    assert value(families.SINK_DELIVERIES, "loki", "delivered") == 3
    assert value(families.SINK_DELIVERIES, "loki", "timeout") == 1
    assert value(families.SINK_LINES_REFUSED, "loki") == 2 and value(families.SINK_LINES_LOST, "loki") == 3
    bench.programs[-1].ends(3)
    bench.reactor.advance(FIRST_PAUSE)
    bench.say(pid=8, sent=4, results={"delivered": 1}, refused=0, lost=0)
    assert (
        value(families.SINK_LINES, "loki") == 13 and value(families.SINK_DELIVERIES, "loki", "delivered") == 4
    )
    assert [(line["state"], line["lines"]) for line in bench.told()] == [("refused", 2), ("lost", 3)]


def test_how_far_behind_it_is(bench: Bench) -> None:
    bench.sinks.follow("one")
    bench.say(lines=12, size=4096, oldest=bench.clock.time() - 90, ending=True)
    bench.say(name="other", lines=3, size=9, oldest=bench.clock.time() - 5, ending=False)
    value = bench.meters.value
    assert (value(families.SINK_BEHIND_LINES, "loki"), value(families.SINK_BEHIND_BYTES, "loki")) == (
        12,
        4096,
    )
    assert (
        value(families.SINK_BEHIND_SECONDS, "loki") == 90 and value(families.SINK_SPOOL_ENDING, "loki") == 1
    )
    assert value(families.SINK_BEHIND_SECONDS, "syslog") == 0 and value(families.SINKS, "ok") == 2
    bench.clock.advance(10)
    bench.sinks.refresh()
    assert value(families.SINK_BEHIND_SECONDS, "loki") == 100
    bench.sinks.follow("")
    assert value(families.SINK_BEHIND_SECONDS, "loki") == value(families.SINKS, "ok") == 0


def test_that_it_fails_is_told_once_and_so_is_that_it_works_again(bench: Bench) -> None:
    bench.sinks.follow("one")
    bench.say()
    for _ in range(3):
        bench.say(reason=SinkReason.TLS, text="there: TLS", lines=4, oldest=1.0)
    bench.say(reason=SinkReason.TIMEOUT)
    assert bench.meters.value(families.SINKS, "failing") == 1
    bench.say(reason=SinkReason.DELIVERED, text="", lines=0, oldest=0.0)
    first, second = bench.told()
    assert (first["event"], first["sink"], first["kind"], first["state"], first["reason"], first["lines"]) == (
        "audit_sink", "siem", "loki", "failing", "tls", 4,
    )  # fmt: skip
    assert second["state"] == "ok" and "reason" not in second


def test_what_is_no_report_is_nothing_and_there_are_no_more_than_there_can_be(bench: Bench) -> None:
    bench.sinks.follow("one")
    bench.programs[0].process.outReceived(b"no report\n")
    for number in range(SINKS_MAX + 3):
        bench.say(name=f"s{number}")
    assert bench.meters.value(families.SINKS, "ok") == SINKS_MAX
    gone = bench.sinks.stop()
    bench.say(lost=5)
    assert bench.meters.value(families.SINK_LINES_LOST, "loki") == 0
    bench.programs[0].ends()
    assert gone.called

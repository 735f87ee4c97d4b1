"""What the process that uploads says, counted; a process of the test in its place."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from bastion.archive.report import Report
from bastion.assembly.companion import FIRST_PAUSE, CompanionProcess
from bastion.assembly.uploads import Uploads
from bastion.clock import FixedClock
from bastion.observe.families.recordings import (
    SPOOL_BYTES,
    SPOOL_OLDEST_SECONDS,
    SPOOL_RECORDINGS,
    UPLOAD_BYTES,
    UPLOADER_STARTS,
    UPLOADS,
)
from bastion.observe.meters import Meters
from tests.unit.assembly.test_companion import Program as ProgramOfTest


class Program(ProgramOfTest):
    """It says reports."""

    def say(self, report: Report) -> None:
        self.process.outReceived(report.line())


class Bench:
    def __init__(self) -> None:
        self.reactor, self.clock, self.meters = Clock(), FixedClock(), Meters()
        self.programs: list[Program] = []
        self.fault: OSError | None = None
        self.uploads = Uploads(self.reactor, self.clock, self.meters, self._start)

    def _start(self, process: CompanionProcess) -> None:
        if self.fault is not None:
            raise self.fault
        self.programs.append(Program(process))

    @property
    def last(self) -> Program:
        return self.programs[-1]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_nothing_runs_that_is_not_wanted(bench: Bench) -> None:
    bench.uploads.follow(False)
    assert bench.programs == [] and bench.uploads.stop().called
    bench.uploads.follow(True)
    assert len(bench.programs) == 1 and bench.meters.value(UPLOADER_STARTS) == 1


def test_what_it_says_is_counted_once(bench: Bench) -> None:
    bench.uploads.follow(True)
    now = bench.clock.now
    line = Report(now, 7, waiting=3, size=300, oldest=now - 90, results={"ok": 2}, sent=200).line()
    bench.last.process.outReceived(line[:20])
    assert bench.meters.value(SPOOL_RECORDINGS) == 0
    bench.last.process.outReceived(line[20:] + b"no report\n")
    bench.last.say(
        Report(now, 7, waiting=1, size=100, oldest=now - 90, results={"ok": 4, "timeout": 1}, sent=400)
    )
    assert (bench.meters.value(SPOOL_RECORDINGS), bench.meters.value(SPOOL_BYTES)) == (1, 100)
    assert (bench.meters.value(UPLOADS, "ok"), bench.meters.value(UPLOADS, "timeout")) == (4, 1)
    assert bench.meters.value(UPLOAD_BYTES) == 400
    bench.clock.advance(10)
    bench.uploads.refresh()
    assert bench.meters.value(SPOOL_OLDEST_SECONDS) == 100
    bench.last.ends(3)
    bench.reactor.advance(FIRST_PAUSE)
    bench.last.say(Report(now, 8, results={"ok": 1}, sent=50))
    assert (bench.meters.value(UPLOADS, "ok"), bench.meters.value(UPLOAD_BYTES)) == (5, 450)


def test_a_reload_starts_it_again_with_what_is_configured_now(bench: Bench) -> None:
    bench.uploads.follow(True)
    first = bench.last
    bench.uploads.follow(True)
    assert not first.input_open and len(bench.programs) == 1
    first.ends()
    assert len(bench.programs) == 2
    bench.uploads.follow(False)
    bench.last.say(Report(1.0, 7, waiting=3, size=300, oldest=1.0))
    bench.last.ends()
    assert len(bench.programs) == 2 and bench.meters.value(SPOOL_BYTES) == 0

"""The process that uploads, started, heard and started again; a process of the test in its place."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from bastion.archive.report import LINE_MAX, Report
from bastion.assembly.uploads import FIRST_PAUSE, KILL_AFTER, LONGEST_PAUSE, SETTLED, UploadProcess, Uploads
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


class Program:
    """What a process is to its protocol."""

    def __init__(self, process: UploadProcess) -> None:
        self.process: Any = process
        self.input_open = True
        self.killed = False
        self.process.transport = self

    def closeStdin(self) -> None:
        self.input_open = False

    def signalProcess(self, name: str) -> None:
        self.killed = name == "KILL"

    def say(self, report: Report) -> None:
        self.process.outReceived(report.line())

    def ends(self, code: int = 0) -> None:
        reason = ProcessTerminated(code) if code else ProcessDone(0)
        self.process.processEnded(Failure(reason))


class Bench:
    def __init__(self) -> None:
        self.reactor, self.clock, self.meters = Clock(), FixedClock(), Meters()
        self.programs: list[Program] = []
        self.fault: OSError | None = None
        self.uploads = Uploads(self.reactor, self.clock, self.meters, self._start)

    def _start(self, process: UploadProcess) -> None:
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


def test_a_line_without_an_end_takes_no_memory(bench: Bench) -> None:
    bench.uploads.follow(True)
    for _ in range(100):
        bench.last.process.outReceived(b"x" * LINE_MAX)
    assert len(bench.last.process._rest) <= LINE_MAX


def test_one_that_ends_is_started_again_ever_later_and_soon_once_it_has_lived(bench: Bench) -> None:
    bench.uploads.follow(True)
    pause = FIRST_PAUSE
    for number in range(8):
        bench.last.ends(3)
        bench.reactor.advance(pause - 0.01)
        assert len(bench.programs) == number + 1
        bench.reactor.advance(0.02)
        assert len(bench.programs) == number + 2
        pause = min(LONGEST_PAUSE, pause * 2)
    bench.reactor.advance(SETTLED)
    bench.last.ends(3)
    bench.reactor.advance(FIRST_PAUSE)
    assert len(bench.programs) == 10


def test_one_that_cannot_be_started_is_tried_again(bench: Bench) -> None:
    bench.fault = OSError(11, "no memory")
    bench.uploads.follow(True)
    bench.fault = None
    bench.reactor.advance(FIRST_PAUSE)
    assert len(bench.programs) == 1


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


def test_a_stop_waits_for_it_and_kills_it_when_it_does_not_end(bench: Bench) -> None:
    bench.uploads.follow(True)
    gone = bench.uploads.stop()
    assert not gone.called and not bench.last.input_open
    bench.reactor.advance(KILL_AFTER)
    assert bench.last.killed and not gone.called
    bench.last.ends(9)
    assert gone.called and bench.reactor.getDelayedCalls() == []

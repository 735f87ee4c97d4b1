"""A program beside the gateway: started, heard, started again, ended; a process of the test in its place."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from bastion.assembly.companion import (
    FIRST_PAUSE,
    KILL_AFTER,
    LINE_MAX,
    LONGEST_PAUSE,
    SETTLED,
    Companion,
    CompanionProcess,
)


class Program:
    """What a process is to its protocol."""

    def __init__(self, process: CompanionProcess) -> None:
        self.process: Any = process
        self.input_open = True
        self.killed = False
        self.is_gone = False
        self.process.transport = self

    def closeStdin(self) -> None:
        self.input_open = False

    def signalProcess(self, name: str) -> None:
        if self.is_gone:
            raise ProcessExitedAlready
        self.killed = name == "KILL"

    def ends(self, code: int = 0) -> None:
        reason = ProcessTerminated(code) if code else ProcessDone(0)
        self.process.processEnded(Failure(reason))


class Bench:
    def __init__(self) -> None:
        self.reactor = Clock()
        self.programs: list[Program] = []
        self.fault: OSError | None = None
        self.lines: list[bytes] = []
        self.started = self.stopped = 0
        self.companion = Companion(self.reactor, "tests", self._start, self.lines.append)
        self.companion.on_started, self.companion.on_stopped = self._started, self._over

    def _start(self, process: CompanionProcess) -> None:
        if self.fault is not None:
            raise self.fault
        self.programs.append(Program(process))

    def _started(self) -> None:
        self.started += 1

    def _over(self) -> None:
        self.stopped += 1

    @property
    def last(self) -> Program:
        return self.programs[-1]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_it_says_comes_in_lines(bench: Bench) -> None:
    bench.companion.follow(True)
    bench.last.process.outReceived(b"one\ntw")
    assert bench.lines == [b"one"] and bench.started == 1
    bench.last.process.outReceived(b"o\n")
    assert bench.lines == [b"one", b"two"]


def test_one_that_is_not_wanted_any_more_is_over_when_it_has_ended(bench: Bench) -> None:
    bench.companion.follow(True)
    bench.companion.follow(False)
    assert bench.stopped == 0 and not bench.last.input_open
    bench.last.is_gone = True
    bench.reactor.advance(KILL_AFTER)  # the kill is late, and no fault
    bench.last.ends()
    assert bench.stopped == 1 and len(bench.programs) == 1 and bench.reactor.getDelayedCalls() == []


def test_a_line_without_an_end_takes_no_memory(bench: Bench) -> None:
    bench.companion.follow(True)
    for _ in range(100):
        bench.last.process.outReceived(b"x" * LINE_MAX)
    assert len(bench.last.process._rest) <= LINE_MAX


def test_one_that_ends_is_started_again_ever_later_and_soon_once_it_has_lived(bench: Bench) -> None:
    bench.companion.follow(True)
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
    bench.companion.follow(True)
    bench.fault = None
    bench.reactor.advance(FIRST_PAUSE)
    assert len(bench.programs) == 1


def test_a_stop_waits_for_it_and_kills_it_when_it_does_not_end(bench: Bench) -> None:
    bench.companion.follow(True)
    gone = bench.companion.stop()
    assert not gone.called and not bench.last.input_open
    bench.reactor.advance(KILL_AFTER)
    assert bench.last.killed and not gone.called
    bench.last.ends(9)
    assert gone.called and bench.reactor.getDelayedCalls() == []


def test_one_that_is_to_be_started_again_is_not_when_nobody_wants_it(bench: Bench) -> None:
    bench.companion.follow(True)
    bench.programs[-1].ends(3)
    bench.companion.follow(False)
    bench.reactor.advance(LONGEST_PAUSE)
    assert len(bench.programs) == 1 and bench.stopped == 1

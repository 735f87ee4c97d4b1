"""The process that uploads recordings, as the gateway sees it (L4): started, heard, started again.

Of a gateway of several processes the supervisor has it. Nothing of a session waits for it, and its death costs uploads
a moment. Invariants: it ends with this process, however that ends (its standard input does); what it reports is bounded
and only counted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion.archive.report import LINE_MAX, Report, read_report
from bastion.clock import Clock, DelayedCall
from bastion.observe.families.recordings import (
    SPOOL_BYTES,
    SPOOL_OLDEST_SECONDS,
    SPOOL_RECORDINGS,
    UPLOAD_BYTES,
    UPLOADER_STARTS,
    UPLOADS,
)
from bastion.observe.meters import Meters

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds until one that ended is started again, doubling."""

SETTLED: Final = 120.0
"""Seconds after which one that ends is started again as one that ended for the first time."""

KILL_AFTER: Final = 5.0
"""Seconds that it has to end: what it was uploading is gone on with by the next one."""

Start = Callable[["UploadProcess"], Any]
"""Starts the program with that protocol; returns its transport. Raises OSError."""


class Uploads:
    """One per gateway. `follow` says whether there is anything to upload to, at the start and at every reload."""

    def __init__(self, reactor: Any, clock: Clock, meters: Meters, start: Start) -> None:
        self._reactor, self._clock, self._meters, self._start_program = reactor, clock, meters, start
        self._log = Logger(namespace="bastion.uploads")
        self._wanted = False
        self._process: UploadProcess | None = None
        self._pause = FIRST_PAUSE
        self._timer: DelayedCall | None = None
        self._stopped: list[Deferred[None]] = []
        self._oldest = 0.0

    def follow(self, wanted: bool) -> None:
        """From now on, with the configuration as it is now: one that runs is started again."""
        self._wanted = wanted
        self._pause = FIRST_PAUSE
        if self._process is not None:
            self._process.end()
        elif wanted:
            self._cancel()
            self._start()

    def stop(self) -> Deferred[None]:
        """Upload nothing any more. Fires when the process is gone, within KILL_AFTER and a moment."""
        self._wanted = False
        self._cancel()
        gone: Deferred[None] = Deferred()
        if self._process is None:
            gone.callback(None)
        else:
            self._stopped.append(gone)
            self._process.end()
        return gone

    def refresh(self) -> None:
        """The gauge that grows by itself."""
        age = self._clock.time() - self._oldest if self._oldest else 0.0
        self._meters.set(SPOOL_OLDEST_SECONDS, round(max(0.0, age)))

    def _cancel(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _start(self) -> None:
        self._timer = None
        process = UploadProcess(self._reactor, self._reported, self._gone)
        try:
            self._start_program(process)
        except OSError as error:
            self._log.error("the process that uploads cannot be started: {text}", text=error.strerror)
            self._again()
            return
        self._process = process
        self._meters.add(UPLOADER_STARTS)

    def _again(self) -> None:
        self._timer = self._reactor.callLater(self._pause, self._start)
        self._pause = min(LONGEST_PAUSE, self._pause * 2)

    def _reported(self, report: Report, before: Mapping[str, int], sent_before: int) -> None:
        for result, count in report.results.items():
            self._meters.add(UPLOADS, result, by=max(0, count - before.get(result, 0)))
        self._meters.add(UPLOAD_BYTES, by=max(0, report.sent - sent_before))
        self._meters.set(SPOOL_RECORDINGS, report.waiting)
        self._meters.set(SPOOL_BYTES, report.size)
        self._oldest = report.oldest
        self.refresh()

    def _gone(self, process: UploadProcess, how: str) -> None:
        self._process = None
        if self._wanted:
            if process.ending:
                self._start()
                return
            if process.lived >= SETTLED:
                self._pause = FIRST_PAUSE
            self._log.error("the process that uploads has ended ({how}): it is started again", how=how)
            self._again()
            return
        self._oldest = 0.0
        for family in (SPOOL_RECORDINGS, SPOOL_BYTES, SPOOL_OLDEST_SECONDS):
            self._meters.set(family, 0)
        stopped, self._stopped = self._stopped, []
        for gone in stopped:
            gone.callback(None)


class UploadProcess(ProcessProtocol):
    """One run of the program. Its standard input is kept open until it is to end."""

    def __init__(
        self,
        reactor: Any,
        on_report: Callable[[Report, Mapping[str, int], int], None],
        on_gone: Callable[[UploadProcess, str], None],
    ) -> None:
        self._reactor, self._on_report, self._on_gone = reactor, on_report, on_gone
        self._began = reactor.seconds()
        self._rest = b""
        self._results: Mapping[str, int] = {}
        self._sent = 0
        self._kill: DelayedCall | None = None
        self.ending = False

    @property
    def lived(self) -> float:
        """Seconds."""
        found: float = self._reactor.seconds() - self._began
        return found

    def end(self) -> None:
        """Let it end; it is killed when it does not."""
        if self.ending:
            return
        self.ending = True
        transport: Any = self.transport
        transport.closeStdin()
        self._kill = self._reactor.callLater(KILL_AFTER, self._kill_it)

    def _kill_it(self) -> None:
        transport: Any = self.transport
        try:
            transport.signalProcess("KILL")
        except ProcessExitedAlready:
            pass

    # -- twisted.internet.protocol.ProcessProtocol -------------------------------------------------------

    def outReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_MAX:
            self._rest = b""
        for line in lines:
            report = read_report(line)
            if report is not None:
                self._on_report(report, self._results, self._sent)
                self._results, self._sent = report.results, report.sent

    def processEnded(self, reason: Failure) -> None:
        if self._kill is not None and self._kill.active():
            self._kill.cancel()
        status: Any = reason.value
        how = f"exit {status.exitCode}" if status.signal is None else f"signal {status.signal}"
        self._on_gone(self, how)


# Nothing of the folder that the gateway happens to be started in, unless it was started from there.
_PYTHON: Final = [] if os.getcwd() in sys.path or "" in sys.path else ["-P"]


def program(reactor: Any, config_file: Path) -> Start:
    """The program over a configuration; its standard error is this process's."""
    command = [sys.executable, *_PYTHON, "-m", "bastion.assembly.uploading", str(config_file)]

    def start(process: UploadProcess) -> Any:
        descriptors = {0: "w", 1: "r", 2: 2}
        return reactor.spawnProcess(process, sys.executable, command, env=os.environ, childFDs=descriptors)

    return start

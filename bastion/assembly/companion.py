"""A program that runs beside the gateway, as the gateway sees it (L4): started, heard, started again.

Of a gateway of several processes the supervisor has it. Nothing of a session waits for it. Invariants: it ends with
this process, however that ends (its standard input does); one line of it is bounded.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion.clock import DelayedCall

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds until one that ended is started again, doubling."""

SETTLED: Final = 120.0
"""Seconds after which one that ends is started again as one that ended for the first time."""

KILL_AFTER: Final = 5.0
"""Seconds that it has to end: what it was doing is gone on with by the next one."""

LINE_MAX: Final = 16 << 10
"""Bytes of a line."""

Start = Callable[["CompanionProcess"], Any]
"""Starts the program with that protocol; returns its transport. Raises OSError."""


class Companion:
    """One per gateway and program. `follow` says whether it is to run, at the start and at every reload."""

    def __init__(self, reactor: Any, what: str, start: Start, on_line: Callable[[bytes], None]) -> None:
        """`what` is what the process does, for the operator's log: "uploads"."""
        self._reactor, self._what, self._start_program, self._on_line = reactor, what, start, on_line
        self.on_started: Callable[[], None] = lambda: None
        self.on_stopped: Callable[[], None] = lambda: None  # it has ended, and is not wanted any more
        self._log = Logger(namespace="bastion.companions")
        self._wanted = False
        self._process: CompanionProcess | None = None
        self._pause = FIRST_PAUSE
        self._timer: DelayedCall | None = None
        self._stopped: list[Deferred[None]] = []

    def follow(self, wanted: bool) -> None:
        """From now on, with the configuration as it is now: one that runs is started again."""
        self._wanted = wanted
        self._pause = FIRST_PAUSE
        self._cancel()
        if self._process is not None:
            self._process.end()
        elif wanted:
            self._start()
        else:
            self.on_stopped()

    def stop(self) -> Deferred[None]:
        """Do nothing any more. Fires when the process is gone, within KILL_AFTER and a moment."""
        self._wanted = False
        self._cancel()
        gone: Deferred[None] = Deferred()
        if self._process is None:
            gone.callback(None)
        else:
            self._stopped.append(gone)
            self._process.end()
        return gone

    def _cancel(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _start(self) -> None:
        self._timer = None
        process = CompanionProcess(self._reactor, self._on_line, self._gone)
        try:
            self._start_program(process)
        except OSError as error:
            self._log.error(
                "the process that {what} cannot be started: {text}", what=self._what, text=error.strerror
            )
            self._again()
            return
        self._process = process
        self.on_started()

    def _again(self) -> None:
        self._timer = self._reactor.callLater(self._pause, self._start)
        self._pause = min(LONGEST_PAUSE, self._pause * 2)

    def _gone(self, process: CompanionProcess, how: str) -> None:
        self._process = None
        if self._wanted:
            if process.ending:
                self._start()
                return
            if process.lived >= SETTLED:
                self._pause = FIRST_PAUSE
            text = "the process that {what} has ended ({how}): it is started again"
            self._log.error(text, what=self._what, how=how)
            self._again()
            return
        self.on_stopped()
        stopped, self._stopped = self._stopped, []
        for gone in stopped:
            gone.callback(None)


class CompanionProcess(ProcessProtocol):
    """One run of the program. Its standard input is kept open until it is to end."""

    def __init__(
        self,
        reactor: Any,
        on_line: Callable[[bytes], None],
        on_gone: Callable[[CompanionProcess, str], None],
    ) -> None:
        self._reactor, self._on_line, self._on_gone = reactor, on_line, on_gone
        self._began = reactor.seconds()
        self._rest = b""
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
            self._on_line(line)

    def processEnded(self, reason: Failure) -> None:
        if self._kill is not None and self._kill.active():
            self._kill.cancel()
        status: Any = reason.value
        how = f"exit {status.exitCode}" if status.signal is None else f"signal {status.signal}"
        self._on_gone(self, how)


# Nothing of the folder that the gateway happens to be started in, unless it was started from there.
_PYTHON: Final = [] if os.getcwd() in sys.path or "" in sys.path else ["-P"]


def program(reactor: Any, module: str, config_file: Path) -> Callable[[ProcessProtocol], Any]:
    """`python -m MODULE CONFIG`; its standard error is this process's."""
    command = [sys.executable, *_PYTHON, "-m", module, str(config_file)]

    def start(process: ProcessProtocol) -> Any:
        descriptors = {0: "w", 1: "r", 2: 2}
        return reactor.spawnProcess(process, sys.executable, command, env=os.environ, childFDs=descriptors)

    return start

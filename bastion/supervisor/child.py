"""One worker, as its supervisor sees it (L5): started, asked, heard of when it ends.

A worker is a program of its own (`serve --worker`), not a fork: it has none of the supervisor's state, and it costs
what a gateway of one process costs. It inherits the listening sockets, the shared memory and one end of a pair of
sockets, and nothing else but standard error.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.python.failure import Failure

from bastion.auth.distant import Docket
from bastion.clock import DelayedCall
from bastion.control.link import Limits, Link
from bastion.control.node import ControlError, Request, Stream
from bastion.errors import ControlReason, WorkerDeath
from bastion.observe.meters import Snapshot
from bastion.supervisor.memory import Inherited, SharedMemory
from bastion.supervisor.questions import ASKED_BY_WORKERS
from bastion.supervisor.starving import waited_for_processor

LINK: Final = Limits(questions=65_536)
"""Of the questions of one worker at once: every unfinished login may wait for the turn of its password."""

KILL_AFTER: Final = 20.0
"""Seconds after which a worker that was told to end at once, and has not, is killed."""

READ_WITHIN: Final = 90.0
"""Seconds from a worker's start until it has read and checked the configuration: what systemd gives a whole gateway.
With 10,000 targets it takes 3 s of a processor."""

SERVE_WITHIN: Final = 30.0
"""Seconds between being told to go on and serving. It takes milliseconds."""

STARVED_MOST: Final = 10
"""How many times as long it gets at most where the machine gives it no processor."""

LEAST_MORE: Final = 0.1
"""Seconds that it gets more at least, or nothing."""


class State(StrEnum):
    """How a worker is; a metric label."""

    STARTING = "starting"
    SERVING = "serving"
    ENDING = "ending"


class Child(ProcessProtocol):
    """The worker `number`, the first is 0. `answer` answers what it asks; `on_gone` hears how it ended, once."""

    def __init__(
        self,
        reactor: Any,
        number: int,
        docket: Docket,
        answer: Callable[[Child, Request[Any]], Any],
        on_gone: Callable[[Child, str, int | None], None],
    ) -> None:
        self._reactor = reactor
        self.number = number
        self.name = f"worker-{number + 1}"
        self.docket = docket
        self.state = State.STARTING
        self.pid = 0
        self.serves_since: float | None = None
        self.death = WorkerDeath.DIED  # what it will have ended of, unless it is told to
        self._gone = False
        self._timer: DelayedCall | None = None
        self.snapshot: Snapshot = {}  # of its meters, when it was asked last
        self.exemplars: Mapping[str, Any] = {}  # and the sessions that were counted last
        self.missed = 0  # looks at it in a row that it has not answered
        self._answer = answer
        self._on_gone = on_gone
        self.link = Link(reactor, self.name, self._serve, LINK, requests=ASKED_BY_WORKERS)

    def start(self, command: Sequence[str], memory: SharedMemory, sockets: Sequence[int]) -> None:
        """Start the program; `sockets` are the descriptors to accept from. Raises OSError."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            inherited = Inherited(self.number, memory.workers, theirs.fileno(), memory.fd, tuple(sockets))
            arguments = [sys.executable, *command, "--worker", str(inherited)]
            passed = {fd: fd for fd in (0, 2, theirs.fileno(), memory.fd, *sockets)}
            process = self._reactor.spawnProcess(
                self, sys.executable, arguments, env=os.environ, childFDs=passed | {1: 2}
            )
            self.pid = process.pid
            factory: Any = Factory.forProtocol(lambda: self.link)
            factory.noisy = False
            self._reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)

    def expect(self, seconds: float | None, late: Callable[[Child, float, float], None]) -> None:
        """What it is to do next it does within `seconds`, or `late` hears that it has not; None: it waits for us. Those
        in which it waited for a processor do not count, and `late` hears of them: it is not hanging, it is starved."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        if seconds is not None and not self._gone:
            began = self._reactor.seconds(), waited_for_processor(self.pid)
            self._timer = self._reactor.callLater(seconds, self._due, seconds, began, late)

    def _due(
        self, seconds: float, began: tuple[float, float], late: Callable[[Child, float, float], None]
    ) -> None:
        passed = self._reactor.seconds() - began[0]
        starved = max(0.0, waited_for_processor(self.pid) - began[1])
        more = min(seconds + starved, STARVED_MOST * seconds) - passed
        if more < LEAST_MORE:
            late(self, seconds, starved)
        else:
            self._timer = self._reactor.callLater(more, self._due, seconds, began, late)

    def tell(self, request: Request[Any]) -> Deferred[Any]:
        """Ask it what needs no answer. That it is gone meanwhile is no fault."""
        return self.link.ask(request).addErrback(_passed_over)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """With a signal. One that has ended already is no fault."""
        process: Any = self.transport
        if process is not None:
            try:
                process.signalProcess(number)
            except ProcessExitedAlready:
                pass

    def _serve(self, command: str, request: Request[Any], stream: Stream) -> Deferred[Any]:
        return maybeDeferred(self._answer, self, request)

    # -- twisted.internet.protocol.ProcessProtocol -------------------------------------------------------------

    def processEnded(self, reason: Failure) -> None:
        status: Any = reason.value
        number = status.signal
        how = f"exit {status.exitCode}" if number is None else _signal_name(number)
        self._gone = True
        self.expect(None, _nobody)
        self.link.drop()
        self.docket.lost()
        self._on_gone(self, how, status.exitCode)


def _nobody(child: Child, seconds: float, starved: float) -> None:
    """Is told of nothing."""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _passed_over(failure: Failure) -> None:
    error = failure.value
    if not isinstance(error, ControlError) or error.reason not in _PASSING:
        failure.raiseException()


_PASSING: Final = (ControlReason.LINK_LOST, ControlReason.TIMEOUT)

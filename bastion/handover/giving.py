"""The old side of a handover (L4): start the successor, stop to accept, be its elder, or take it back."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.logger import Logger

from bastion.clock import DelayedCall
from bastion.control.asking import Done
from bastion.control.link import BETWEEN_PROCESSES, Link
from bastion.control.node import ControlError, Counted, Node, Request, SnapshotAsked, Stream
from bastion.errors import ControlReason
from bastion.handover.questions import (
    ASKED_BY_SUCCESSORS,
    BEGUN_WITHIN,
    READY_WITHIN,
    Begun,
    EndElder,
    Farewell,
    Locked,
    LogMoved,
    Ready,
)
from bastion.net.listening import Listeners
from bastion.net.notify import Notifier
from bastion.observe.events.base import AuditEvent
from bastion.observe.events.process import HandedOver, HandoverFailed
from bastion.policy.locks import Lock

OPTION: Final = "--successor"
"""Of `bastion serve`: the link's descriptor and the listening sockets, `9/ssh:5,metrics:6`."""


@dataclass(frozen=True, slots=True)
class Serving:
    """Whatever serves, as a handover sees it.

    `pause` stops to accept, and its Deferred says when; `resume` accepts again; `retire` is told once that this process
    is an elder; `end` that it shall end (True: as at SIGTERM). `locks` are those in force, `node` answers what people
    ask, `counted` what the page shows: of this process and of its own elders, with nothing missing that was in it
    before.
    """

    listeners: Callable[[], Listeners]
    pause: Callable[[], Deferred[None]]
    resume: Callable[[], None]
    retire: Callable[[], None]
    end: Callable[[bool], None]
    reopen_log: Callable[[], None]
    node: Node
    locks: Callable[[], tuple[Lock, ...]]
    counted: Callable[[], Deferred[Counted]]
    note: Callable[[AuditEvent], None]


class _Started(ProcessProtocol):
    """The process that was started. It is no child of ours for long (`program.leave_parent`)."""


class Giving:
    """Handovers of one process, one at a time and one that succeeds. `begin` starts one; `on_over` is called with what
    came of each: "" or why this process goes on."""

    def __init__(self, reactor: Any, program: Sequence[str], serving: Serving, notifier: Notifier) -> None:
        """`program` is the whole command of `bastion serve`, but for OPTION."""
        self._reactor = reactor
        self._program = tuple(program)
        self._serving = serving
        self._notifier = notifier
        self._log = Logger(namespace="bastion.handover")
        self.on_over: Callable[[str], None] = lambda text: None
        self._link: Link | None = None
        self._process: Any = None
        self._group = 0
        self.successor = Ready(0, "")
        self._timer: DelayedCall | None = None
        self._paused = False
        self.given = False

    def begin(self) -> None:
        """Start a successor. What comes of it is told in the log, in the audit log and to `on_over`."""
        if self._link is not None:
            self._log.warn("a handover goes on already")
            return
        if os.getpid() == 1:
            self._tell_failed(
                "this is process 1 of a container, which ends with it: start the new image instead"
            )
            return
        self._log.info("handing over: starting {program}", program=self._program[0])
        try:
            self._start()
        except OSError as error:
            self._link = None
            self._tell_failed(f"the successor cannot be started: {error.strerror}")
            return
        self._timer = self._reactor.callLater(
            READY_WITHIN, self.give_up, _late("was not ready", READY_WITHIN)
        )

    def give_up(self, why: str) -> None:
        """Go on as before: the successor is ended, whatever it does."""
        link, self._link = self._link, None
        if link is None or self.given:
            return
        self._stop_timer()
        link.on_lost = None
        link.drop()
        self._kill()
        if self._paused:
            self._paused = False
            self._serving.resume()
        self._tell_failed(why)

    def farewell(self, snapshot: Mapping[str, Any], unfinished: Sequence[str] = ()) -> Deferred[Any]:
        """The last of this elder's sessions has ended; the successor is to end the recordings of `unfinished`."""
        link = self._link
        if link is None:
            raise ControlError(ControlReason.LINK_LOST, "there is no successor")
        return link.ask(Farewell(snapshot, tuple(unfinished)))

    # -- starting ----------------------------------------------------------------------------------------

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        listeners = self._serving.listeners()
        with ours, theirs:
            words = [*self._program, OPTION, f"{theirs.fileno()}/{listeners.text()}"]
            passed = {fd: fd for fd in (0, 1, 2, theirs.fileno(), *listeners.descriptors())}
            self._process = self._reactor.spawnProcess(
                _Started(), words[0], words, env=self._environment(), childFDs=passed
            )
            self._group = self._process.pid
            self._link = link = Link(
                self._reactor, "successor", self._answer, BETWEEN_PROCESSES, self._lost, ASKED_BY_SUCCESSORS
            )
            factory: Any = Factory.forProtocol(lambda: link)
            factory.noisy = False
            self._reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)

    def _environment(self) -> dict[str, str]:
        """As this process was started, but that systemd does not know of the other yet."""
        found = {name: value for name, value in os.environ.items() if name != "WATCHDOG_PID"}
        return found | ({"NOTIFY_SOCKET": self._notifier.address} if self._notifier.heard else {})

    def _kill(self) -> None:
        """It, and what it has become: both are of the group that it made."""
        try:
            self._process.signalProcess("KILL")
        except (
            Exception
        ):  # twisted.internet.error.ProcessExitedAlready: it went into the background, or is gone
            pass
        try:
            os.killpg(self._group, signal.SIGKILL)
        except OSError:
            pass

    def _lost(self, link: Link) -> None:
        if self.given:
            self._link = None  # the gateway is gone, or has another successor: this elder's sessions go on
        else:
            self.give_up("the successor ended before it served: the lines above say why")

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    # -- what the successor asks -------------------------------------------------------------------------

    def _answer(self, command: str, request: Request[Any], stream: Stream) -> Deferred[Any]:
        match request:
            case Ready():
                return self._ready(request)
            case Begun():
                self._begun()
                return _now(Locked(self._serving.locks()))
            case LogMoved():
                self._serving.reopen_log()
            case EndElder(drain):
                self._serving.end(drain)
            case SnapshotAsked():
                return self._serving.counted()
            case _:
                return self._serving.node.ask(request, stream)
        return _now(Done())

    def _ready(self, ready: Ready) -> Deferred[Any]:
        if self._paused or self.given:
            raise ControlError(ControlReason.MALFORMED, "it has said so already")
        self._stop_timer()
        self.successor = ready
        self._paused = True
        self._timer = self._reactor.callLater(
            BEGUN_WITHIN, self.give_up, _late("was ready and did not serve", BEGUN_WITHIN)
        )
        return self._serving.pause().addCallback(lambda _: Locked(self._serving.locks()))

    def _begun(self) -> None:
        if not self._paused or self.given:
            raise ControlError(ControlReason.MALFORMED, "nobody has told it to")
        self._stop_timer()
        self.given = True
        ready = self.successor
        self._notifier.main_pid(ready.pid)
        self._log.info(
            "handed over to version {version}, pid {pid}: this process ends with its last session",
            version=ready.version,
            pid=ready.pid,
        )
        self._serving.note(HandedOver(ready.version, ready.pid))
        self._serving.retire()
        self.on_over("")

    def _tell_failed(self, why: str) -> None:
        self._log.error("no handover: {why}. This process goes on as before", why=why)
        self._serving.note(HandoverFailed(why))
        self.on_over(why)


def _now(answer: object) -> Deferred[Any]:
    answered: Deferred[Any] = Deferred()
    answered.callback(answer)
    return answered


def _late(what: str, seconds: float) -> str:
    return f"the successor {what} within {seconds:g} s"

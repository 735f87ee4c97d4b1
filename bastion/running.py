"""A gateway of one process (L5): its signals, its handovers, what systemd hears of it, and its end."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, ensureDeferred
from twisted.python.failure import Failure

from bastion.app import Program, keep_what_is_there, make_program
from bastion.assembly.part import Part
from bastion.doors.draining import Drained
from bastion.errors import EndReason
from bastion.handover.giving import Serving
from bastion.handover.orders import Succession
from bastion.handover.questions import HURRIED
from bastion.handover.taking import Predecessor
from bastion.net.listening import from_systemd
from bastion.net.notify import Heartbeat, Notifier, watchdog_seconds
from bastion.reactor import in_reactor, log_to_standard_error, the_reactor


class Ending:
    """How a program ends, once: `ended` is called when nothing of it is left."""

    def __init__(self, program: Program, heart: Heartbeat, ended: Callable[[], None]) -> None:
        self._program = program
        self._heart = heart
        self._ended = ended
        self.begun = False

    def drain(self) -> None:
        """SIGTERM: when all sessions have finished, or their time is over; a second one: now."""
        self._begin("TERM", self._program.gateway.services.limits.drain_timeout)

    def stop(self) -> None:
        """SIGINT: now."""
        self._begin("INT", 0.0)

    def finished(self) -> None:
        """The last session of an elder has ended."""
        self._begin("UPGRADE", 0.0)

    def _begin(self, name: str, seconds: float) -> None:
        program = self._program
        if self.begun:
            program.hurry()
            return
        self.begun = True
        self._heart.stopping()
        done: Deferred[Any] = ensureDeferred(self._end(name, seconds))
        done.addErrback(lambda failure: program.gateway.log_failure("stopping", failure))
        done.addBoth(lambda _: self._ended())

    async def _end(self, name: str, seconds: float) -> None:
        """Elders end in the same way and at the same time."""
        program = self._program
        reactor = program.gateway.reactor
        gone = program.elders.end(drain=seconds > 0)
        if seconds:
            until = reactor.seconds() + seconds
            await program.drain(name, seconds)
            await _within(gone, max(0.0, until - reactor.seconds()) + HURRIED, reactor)
        await program.stop(name)
        await _within(program.elders.end(drain=False), HURRIED, reactor)
        program.elders.stop()


async def _within(gone: Deferred[None], seconds: float, reactor: Any) -> None:
    """Wait for it, `seconds` at most."""
    if not gone.called:
        gone.addTimeout(seconds, reactor)
    try:
        await gone
    except (TimeoutError, CancelledError):
        pass


class Process:
    """What a program is in a process of its own: signalled, watched, handed over."""

    def __init__(self, reactor: Any, program: Program, arguments: Sequence[str]) -> None:
        """`arguments` are those of `bastion serve`, for a successor."""
        self._reactor, self._program = reactor, program
        self._notifier = Notifier(os.environ.pop("NOTIFY_SOCKET", ""))
        self._heart = Heartbeat(
            reactor, self._notifier, watchdog_seconds(os.environ, os.getpid()), program.status
        )
        self._ending = Ending(program, self._heart, reactor.stop)
        gateway = program.gateway
        self._succession = Succession(
            reactor,
            self._notifier,
            arguments,
            Serving(
                listeners=lambda: program.listeners,
                pause=lambda: ensureDeferred(program.pause()),
                resume=self._resume,
                retire=self._retire,
                end=lambda drain: self._ending.drain() if drain else self._ending.stop(),
                reopen_log=gateway.audit.reopen,
                node=program.control.hub,
                locks=lambda: program.control.desk.locks,
                counted=program.counted,
                note=gateway.audit.note,
            ),
            program.elders,
            program.reloading.hup,
            lambda: self._ending.begun,
        )
        self._succession.answer_at(program.control.desk)
        program.reloading.on_told = self._notifier.ready
        program.elders.on_unfinished = lambda left: program.leftovers.end(left, EndReason.WORKER_DIED)

    def take_signals(self) -> None:
        """Call it in the reactor, which has taken its own before."""
        for number, call in (
            (signal.SIGHUP, self._succession.reload),
            (signal.SIGUSR2, self._succession.hand_over),
            (signal.SIGTERM, lambda: self._end(self._ending.drain)),
            (signal.SIGINT, lambda: self._end(self._ending.stop)),
        ):
            signal.signal(number, in_reactor(self._reactor, call))

    def served(self, ready: dict[str, Any]) -> None:
        """It is the gateway now."""
        self._program.publish()
        keep_what_is_there()
        print(json.dumps(ready), flush=True)
        self._notifier.ready()
        self._heart.start()

    def _end(self, how: Callable[[], None]) -> None:
        self._succession.give_up()
        how()

    # -- as an elder -------------------------------------------------------------------------------------

    def _resume(self) -> None:
        self._program.accept()
        self._program.publish()

    def _retire(self) -> None:
        self._heart.stop()
        self._program.local.name = f"elder-{os.getpid()}"
        self._program.elders.on_gone = self._left
        self._program.retire().addCallback(self._left)

    def _left(self, how: Drained = Drained.EMPTY) -> None:
        """Nobody is left here: nor, then, in elders of this elder."""
        program = self._program
        if how is not Drained.EMPTY or self._ending.begun or len(program.elders) or not program.empty:
            return
        asked = program.counted().addCallback(lambda counted: self._succession.farewell(counted.snapshot))
        asked.addBoth(lambda _: self._ending.finished())


def run(config_file: Path, trace_messages: bool, predecessor: Predecessor | None = None) -> None:
    """The gateway in this process, until it is told to end. Exits with 2 for a faulty configuration, 3 when it cannot
    listen, or take over."""
    reactor = the_reactor()
    levels = log_to_standard_error()

    def given() -> Any:
        return predecessor.listeners if predecessor else from_systemd(os.environ, os.getpid())

    program = make_program(config_file, reactor, trace_messages, given, Part())
    program.control.follow(levels)
    arguments = ["serve", "--config", str(config_file), *["--trace-messages"] * trace_messages]
    process = Process(reactor, program, arguments)
    failed: list[bool] = []

    def fail(what: str) -> None:
        click.echo(f"bastion: {what}", err=True)
        failed.append(True)
        if reactor.running:
            reactor.stop()

    def begin() -> None:
        process.take_signals()
        if predecessor is not None:
            taken = predecessor.take_over(reactor, program.elders, program.control.desk.use, program.start)
            taken.addCallbacks(process.served, lambda failure: fail(_why(failure)))
            return
        try:
            process.served(program.start())
        except Exception as error:
            fail(f"cannot listen: {error}")

    reactor.callWhenRunning(begin)
    reactor.run()
    if failed:
        raise SystemExit(3)


def _why(failure: Failure) -> str:
    return f"the process before this one has not handed over: {failure.getErrorMessage()}"

"""The supervisor's process (L5): its sockets, its signals, its one line when all workers are ready."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from bastion.assembly.penalty_keeper import PenaltyKeeper
from bastion.config.sections import Sections
from bastion.control.asking import ControlError
from bastion.errors import ConfigError, ControlReason
from bastion.handover.giving import Serving
from bastion.handover.orders import Succession
from bastion.handover.taking import Predecessor
from bastion.net.descriptors import raise_limit
from bastion.net.listening import Listeners, address_of, from_systemd, open_listener
from bastion.net.notify import Heartbeat, Notifier, watchdog_seconds
from bastion.observe.audit import AuditFailed
from bastion.policy.locks import Lock
from bastion.reactor import in_reactor, log_to_standard_error, the_reactor
from bastion.supervisor.settings import settings_of
from bastion.supervisor.supervisor import Supervisor

# Nothing of the folder that the gateway happens to be started in, unless it was started from there.
_PYTHON = [] if os.getcwd() in sys.path or "" in sys.path else ["-P"]


def run_supervisor(
    config_file: Path,
    trace_messages: bool,
    sections: Sections,
    workers: int,
    predecessor: Predecessor | None = None,
) -> None:
    """Until it is told to end. Exits with 2 for a faulty configuration, 3 when it cannot listen, start workers or take
    over."""
    reactor = the_reactor()
    levels = log_to_standard_error()
    raise_limit()
    arguments = ["serve", "--config", str(config_file), *["--trace-messages"] * trace_messages]
    listeners = _listeners(sections, predecessor.listeners if predecessor else None)
    keeper = PenaltyKeeper(reactor, sections.state_folder)
    try:
        supervisor = Supervisor(
            reactor,
            [*_PYTHON, "-m", "bastion", *arguments],
            workers,
            settings_of(sections),
            listeners,
            str(config_file),
            sections.control,
            keeper,
            sections.metrics,
        )
        supervisor.control.join(sections.nodes, sections.state.name)
        keeper.share(sections, supervisor.hub, supervisor.keyed)
    except (AuditFailed, ConfigError, OSError) as error:
        click.echo(f"bastion: {error}", err=True)
        raise SystemExit(2) from None
    supervisor.control.desk.on_level = levels.set
    process = Process(reactor, supervisor, arguments, predecessor)
    reactor.callWhenRunning(process.begin)
    reactor.run()
    if process.code:
        raise SystemExit(process.code)


class Process:
    """What a supervisor is in its process: signalled, watched, handed over."""

    def __init__(
        self, reactor: Any, supervisor: Supervisor, arguments: Sequence[str], predecessor: Predecessor | None
    ) -> None:
        self._reactor, self._supervisor = reactor, supervisor
        self._predecessor = predecessor
        self.code = 0
        self._notifier = notifier = Notifier(os.environ.pop("NOTIFY_SOCKET", ""))
        self._heart = Heartbeat(
            reactor, notifier, watchdog_seconds(os.environ, os.getpid()), supervisor.status
        )
        self._succession = Succession(
            reactor,
            notifier,
            arguments,
            Serving(
                listeners=lambda: supervisor.listeners,
                pause=lambda: ensureDeferred(supervisor.pause()),
                resume=supervisor.resume,
                retire=self._retire,
                end=lambda drain: self._end("TERM" if drain else "INT", drain),
                reopen_log=supervisor.reopen_log,
                node=supervisor.hub,
                locks=lambda: supervisor.control.desk.locks,
                counted=supervisor.figures.counted,
                note=supervisor.audit.note,
            ),
            supervisor.elders,
            supervisor.reloads.hup,
            lambda: supervisor.ending,
        )
        self._succession.answer_at(supervisor.control.desk)
        supervisor.reloads.on_told = notifier.ready
        supervisor.on_over, supervisor.on_left = self._over, self._left
        supervisor.on_ready = self._served

    def begin(self) -> None:
        """Call it in the reactor, which has taken its own signals before."""
        for number, call in (
            (signal.SIGHUP, self._succession.reload),
            (signal.SIGUSR2, self._succession.hand_over),
            (signal.SIGTERM, lambda: self._end("TERM", True)),
            (signal.SIGINT, lambda: self._end("INT", False)),
        ):
            signal.signal(number, in_reactor(self._reactor, call))
        if self._predecessor is not None:
            self._supervisor.on_checked = self._take_over
        self._supervisor.start()

    def _take_over(self) -> None:
        supervisor, predecessor = self._supervisor, self._predecessor
        assert predecessor is not None

        def start() -> Deferred[None]:
            ready: Deferred[None] = Deferred()
            supervisor.on_ready = lambda: ready.callback(None)
            supervisor.go()
            return ready

        def lock(locks: Iterable[Lock]) -> Deferred[Any] | None:
            """The first time there is no worker to tell yet: each is told when it joins."""
            told = supervisor.control.desk.use(locks)
            return None if told is None else told.addErrback(_nobody_yet)

        taken: Deferred[None] = predecessor.take_over(self._reactor, supervisor.elders, lock, start)
        taken.addCallbacks(lambda _: self._served(), self._failed)

    def _failed(self, failure: Failure) -> None:
        text = failure.getErrorMessage()
        click.echo(f"bastion: the process before this one has not handed over: {text}", err=True)
        self.code = 3
        self._supervisor.end("", drain=False)

    def _served(self) -> None:
        """It is the gateway now."""
        supervisor = self._supervisor
        try:
            supervisor.publish()
        except (OSError, ConfigError) as error:
            click.echo(f"bastion: {error}", err=True)
            self.code = 2
            supervisor.end("", drain=False)
            return
        listeners = supervisor.listeners
        metrics = None if listeners.metrics is None else address_of(listeners.metrics)
        shown = {"event": "ready", "ssh": [address_of(one) for one in listeners.ssh], "metrics": metrics}
        print(json.dumps(shown), flush=True)
        self._notifier.ready()
        self._heart.start()

    def _end(self, name: str, drain: bool) -> None:
        self._succession.give_up()
        self._heart.stopping()
        self._supervisor.end(name, drain)

    def _over(self, code: int) -> None:
        self.code = self.code or code
        if self._reactor.running:
            self._reactor.stop()

    # -- as an elder -------------------------------------------------------------------------------------

    def _retire(self) -> None:
        self._heart.stop()
        self._supervisor.retire()

    def _left(self) -> None:
        asked = self._supervisor.figures.counted().addCallback(
            lambda counted: self._succession.farewell(counted.snapshot, self._supervisor.unfinished())
        )
        asked.addBoth(lambda _: self._supervisor.finished())


def _nobody_yet(failure: Failure) -> None:
    error = failure.value
    if not isinstance(error, ControlError) or error.reason is not ControlReason.LINK_LOST:
        failure.raiseException()


def _listeners(sections: Sections, handed: Listeners | None) -> Listeners:
    """What systemd has opened, and what the configuration says for what it has not; or exit."""
    try:
        given = handed or from_systemd(os.environ, os.getpid())
        ssh = given.ssh or tuple(open_listener(one.host, one.port) for one in sections.listen.addresses)
        where, metrics = sections.metrics.listen, given.metrics
        if metrics is None and where is not None:
            metrics = open_listener(where.host, where.port)
    except ConfigError as error:
        click.echo(f"bastion: {error}", err=True)
        raise SystemExit(2) from None
    except OSError as error:
        click.echo(f"bastion: cannot listen: {error}", err=True)
        raise SystemExit(3) from None
    return Listeners(ssh, metrics, given.control)

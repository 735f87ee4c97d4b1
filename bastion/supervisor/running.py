"""The supervisor's process (L5): its sockets, its signals, its one line when all workers are ready."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from bastion.config.sections import Sections
from bastion.errors import ConfigError
from bastion.net.descriptors import raise_limit
from bastion.net.listening import Listeners, address_of, from_systemd, open_listener
from bastion.net.notify import Heartbeat, Notifier, watchdog_seconds
from bastion.observe.audit import AuditFailed
from bastion.reactor import in_reactor, log_to_standard_error, the_reactor
from bastion.supervisor.settings import settings_of
from bastion.supervisor.supervisor import Supervisor

# Nothing of the folder that the gateway happens to be started in, unless it was started from there.
_PYTHON = [] if os.getcwd() in sys.path or "" in sys.path else ["-P"]


def run_supervisor(config_file: Path, trace_messages: bool, sections: Sections, workers: int) -> None:
    """Until it is told to end. Exits with 2 for a faulty configuration, 3 when it cannot listen or start workers."""
    reactor = the_reactor()
    levels = log_to_standard_error()
    raise_limit()
    command = [*_PYTHON, "-m", "bastion", "serve", "--config", str(config_file)]
    listeners = _listeners(sections)
    try:
        supervisor = Supervisor(
            reactor,
            command + ["--trace-messages"] * trace_messages,
            workers,
            settings_of(sections),
            listeners,
            str(config_file),
            sections.control,
        )
        supervisor.control.desk.on_level = levels.set
        supervisor.control.listen(listeners.control)
    except (AuditFailed, OSError) as error:
        click.echo(f"bastion: {error}", err=True)
        raise SystemExit(2) from None
    notifier = Notifier(os.environ.pop("NOTIFY_SOCKET", ""))
    heart = Heartbeat(reactor, notifier, watchdog_seconds(os.environ, os.getpid()), supervisor.status)
    codes: list[int] = []

    def ready() -> None:
        metrics = None if listeners.metrics is None else address_of(listeners.metrics)
        shown = {"event": "ready", "ssh": [address_of(one) for one in listeners.ssh], "metrics": metrics}
        print(json.dumps(shown), flush=True)
        notifier.ready()
        heart.start()

    def over(code: int) -> None:
        codes.append(code)
        reactor.stop()

    supervisor.on_ready, supervisor.on_over = ready, over
    supervisor.reloads.on_told = notifier.ready
    _take_signals(reactor, supervisor, notifier, heart)
    reactor.callWhenRunning(supervisor.start)
    reactor.run()
    if codes and codes[0]:
        raise SystemExit(codes[0])


def _take_signals(reactor: Any, supervisor: Supervisor, notifier: Notifier, heart: Heartbeat) -> None:
    def reload() -> None:
        notifier.reloading(reactor.seconds())
        supervisor.reloads.hup()

    def end(name: str, drain: bool) -> None:
        heart.stopping()
        supervisor.end(name, drain)

    def begin() -> None:
        for number, call in (
            (signal.SIGHUP, reload),
            (signal.SIGTERM, lambda: end("TERM", True)),
            (signal.SIGINT, lambda: end("INT", False)),
        ):
            signal.signal(number, in_reactor(reactor, call))

    reactor.callWhenRunning(begin)  # the reactor has taken its own before


def _listeners(sections: Sections) -> Listeners:
    """What systemd has opened, and what the configuration says for what it has not; or exit."""
    try:
        given = from_systemd(os.environ, os.getpid())
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

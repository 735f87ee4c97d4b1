"""`bastion console` (L4)."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any, cast

import click
from twisted.internet.defer import Deferred
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from bastion.cli.output import fail
from bastion.cli.runtime import config_option
from bastion.clock import SystemClock
from bastion.config.load import load
from bastion.console.program import ConsoleProgram, serve
from bastion.errors import ConfigError
from bastion.observe.audit import AuditFailed
from bastion.state.database import StateDown


@click.command(
    epilog="Exit 0: ended when asked to; 2: the configuration; 3: it cannot listen, or what it needs is not there."
)
@config_option
@click.pass_obj
def console(run_in_reactor: Any, config_file: Path) -> None:
    """Serve the review console: sessions in a browser, for whoever reviews them.

    [console] of the configuration says where, and which groups of the directory may. It is a process of its own beside
    the gateway and loads none of its keys. SIGTERM ends it; who is signed in signs in again. SIGHUP: the audit log was
    rotated.

    Example: bastion console --config /etc/bastion/bastion.toml
    """
    try:
        load(config_file)  # before there is a reactor
    except ConfigError as error:
        fail(str(error), 2)
    observer: Any = textFileLogObserver(sys.stderr)
    level: Any = LogLevelFilterPredicate(LogLevel.warn)
    globalLogBeginner.beginLoggingTo(
        [cast(Any, FilteringLogObserver(observer, [level]))], redirectStandardIO=False
    )

    def main(reactor: Any) -> Deferred[None]:
        ended: Deferred[None] = Deferred()
        program = ConsoleProgram(config_file, reactor, SystemClock())
        ready = program.start()

        def end(_number: int, _frame: object) -> None:
            reactor.callFromThread(lambda: None if ended.called else ended.callback(None))

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(program.reopen))
        print(json.dumps(ready), flush=True)
        return serve(program, ended)

    try:
        run_in_reactor(main)
    except ConfigError as error:
        fail(str(error), 2)
    except (AuditFailed, StateDown, OSError) as error:
        fail(str(error), 3)

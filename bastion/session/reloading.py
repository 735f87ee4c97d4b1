"""SIGHUP: the files are read and checked in a thread, and what comes of it is swapped in in one turn.

The reactor goes on serving meanwhile. Threads of Python take turns, so the thread asks for short ones (SWITCH), and
keeps the garbage collector from walking what it makes. A fault in any file changes nothing and is told on standard
error, in the audit log and as a metric; so is what only a restart can change.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from twisted.python.failure import Failure

from bastion.auth.workers import DeadlinePassed, QueueFull, Workers, WorkersClosed
from bastion.config.changes import changed
from bastion.config.load import Config
from bastion.errors import ConfigError
from bastion.observe.audit import AuditFailed
from bastion.observe.meters import CONFIG_LAST_RELOAD, CONFIG_RELOADS, CONFIG_RESTART_PENDING
from bastion.options import ConfigErrors, Scope
from bastion.session.applying import Prepared, apply
from bastion.session.gateway import Gateway, Services
from bastion.wire.printable import printable

Result = TypeVar("Result")

TIMEOUT: Final = 300.0
"""Seconds that reading may take. 10,000 targets and 10,000 pinned keys take some seconds on a busy machine; a network
file system that hangs takes for ever, and then the operator hears of it."""

SWITCH: Final = 0.0005
"""Seconds after which the reading thread lets the reactor's run, when that has something to do. Python's own choice is
5 ms, and each of the four or five calls of a keystroke that wait for the kernel would wait as long."""

RELEASED: Final = 256
"""Targets of the old inventory that are given up in one turn: 0.3 ms. All 10,000 at once take 12 ms."""


class Reloading:
    """Reloads of one process. `started` is the configuration that it was started with."""

    def __init__(self, gateway: Gateway, started: Config, prepare: Callable[[], Prepared]) -> None:
        self.config = started
        self._gateway = gateway
        self._started = started
        self._prepare = prepare
        self._workers = Workers(gateway.reactor, "reload", 1, 0)
        self._running = self._again = False
        self.on_applied: Callable[[], None] = lambda: None
        self.taken()

    def hup(self) -> None:
        """Read everything again. Signals that come while that goes on are one more reload after it."""
        self._gateway.audit.reopen()  # whatever the files say: a rotated log is not written to any more
        if self._running:
            self._again = True
            return
        self._running = True
        self._workers.run(lambda: unhurried(self._prepare), TIMEOUT).addCallbacks(self._swap, self._failed)

    def stop(self) -> None:
        """The process ends; what is being read is forgotten."""
        self._again = False
        self._running = True
        self._workers.close()

    def taken(self) -> None:
        """A configuration is in force: the first one, or one that was reloaded."""
        meters = self._gateway.meters
        meters.set(CONFIG_LAST_RELOAD, round(self._gateway.clock.time()))
        meters.set(CONFIG_RESTART_PENDING, len(self._waiting(self.config)))

    def _waiting(self, config: Config) -> tuple[str, ...]:
        return changed(self._started, config, Scope.RESTART)

    # -- how it ended ------------------------------------------------------------------------------------

    def _swap(self, prepared: Prepared) -> None:
        try:
            old = apply(self._gateway, prepared)
        except AuditFailed as failed:
            _close(prepared.services)
            self._refuse([ConfigError(str(prepared.config.file), 0, "audit.file", str(failed))])
            return
        waiting = self._waiting(prepared.config)
        self.config = prepared.config
        self.taken()
        self._retire(old)
        gateway = self._gateway
        for warning in prepared.warnings:
            gateway.log.warn("reload: warning: {text}", text=printable(str(warning)))
        for option in waiting:
            gateway.log.warn("reload: {option} has changed and needs a restart", option=option)
        self._told("restart_needed" if waiting else "ok", restart=", ".join(waiting))
        self.on_applied()
        self._next()

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, WorkersClosed):
            return
        file = str(self.config.file)
        if isinstance(error, ConfigErrors):
            self._refuse(error.errors)
        elif isinstance(error, ConfigError):
            self._refuse([error])
        elif isinstance(error, DeadlinePassed | QueueFull):
            self._refuse([ConfigError(file, 0, "", f"the files could not be read within {TIMEOUT:g} s")])
        else:
            self._gateway.log_failure("reloading", failure)
            self._refuse([ConfigError(file, 0, "", "the gateway failed, the lines above say how")])

    def _refuse(self, errors: Iterable[ConfigError]) -> None:
        lines = [printable(str(error)) for error in errors]
        for line in lines:
            self._gateway.log.error("reload refused: {line}", line=line)
        self._told("refused", text="\n".join(lines))
        self._next()

    def _told(self, result: str, **fields: str) -> None:
        self._gateway.meters.add(CONFIG_RELOADS, result)
        self._gateway.audit.note("reload", result=result, **fields)

    def _next(self) -> None:
        self._running = False
        if self._again:
            self._again = False
            self.hup()

    # -- what was in force -------------------------------------------------------------------------------

    def _retire(self, old: Services) -> None:
        """Close the old services once nobody waits for them, and let go of the old inventory little by little."""
        limits, later = self.config.limits, self._gateway.reactor.callLater
        later(limits.login_grace, old.auth.directory.close)
        later(limits.login_grace + limits.dial_timeout, old.upstream.close)
        later(limits.login_grace + limits.dial_timeout, self._release, list(old.inventory.targets))

    def _release(self, targets: list[object]) -> None:
        del targets[-RELEASED:]
        if targets:
            self._gateway.reactor.callLater(0, self._release, targets)


def _close(services: Services) -> None:
    services.auth.directory.close()
    services.upstream.close()


def unhurried(job: Callable[[], Result]) -> Result:
    """Run `job`, which computes for seconds, in this thread, so that other threads hardly notice.

    What it leaves behind is kept out of the garbage collector's sight (performance.md rule 7): it lives as long as
    the configuration does. Cycles that are garbage at this moment stay with it: some KiB for each reload.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    gc.disable()
    try:
        return job()
    finally:
        gc.freeze()
        gc.enable()
        sys.setswitchinterval(interval)

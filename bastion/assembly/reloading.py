"""A reload: the files are read and checked in a thread, and what comes of it is swapped in in one turn.

The reactor goes on serving meanwhile. Threads of Python take turns, so the thread asks for short ones (SWITCH), and
keeps the garbage collector from walking what it makes. A fault in any file changes nothing and is told on standard
error, in the audit log and as a metric; so is what only a restart can change.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from bastion.assembly.applying import Prepared, apply
from bastion.assembly.telling import SIGHUP, Loaded, tell, tell_refusal, together
from bastion.auth.workers import DeadlinePassed, QueueFull, Workers, WorkersClosed
from bastion.config.changes import changed, values_of
from bastion.config.differences import differences
from bastion.config.load import Config
from bastion.errors import ConfigError
from bastion.observe.audit import AuditFailed
from bastion.observe.events.process import Reload
from bastion.observe.meters import CONFIG_LAST_RELOAD, CONFIG_RELOADS, CONFIG_RESTART_PENDING
from bastion.options import ConfigErrors, Scope
from bastion.session.gateway import Gateway, Services
from bastion.wire.printable import printable

Result = TypeVar("Result")

TIMEOUT: Final = 300.0
"""Seconds that reading may take. 10,000 targets and 10,000 pinned keys take some seconds on a busy machine; a network
file system that hangs takes for ever, and then the operator hears of it."""

SWITCH: Final = 0.0005
"""Seconds after which the reading thread lets the reactor's run, when that has something to do. Python's own choice is
5 ms, and each of the four or five calls of a keystroke that wait for the kernel would wait as long."""

RELEASED: Final = 512
"""Pieces of the old inventory and known hosts that are let go in one turn: 0.5 ms. With 10,000 of each there are some
80,000, which take 20 ms together."""


class Taken(NamedTuple):
    """What a reload has done: options that wait for a restart, and what has changed, a line each."""

    restart: tuple[str, ...]
    changes: tuple[str, ...]


class Reloading:
    """Reloads of one process. `started` is the configuration that it was started with."""

    def __init__(self, gateway: Gateway, started: Prepared, prepare: Callable[[], Prepared]) -> None:
        self.config, self.contents = started.config, started.contents
        self._gateway = gateway
        self._started = values_of(started.config, Scope.RESTART)
        self._prepare = prepare
        self._workers = Workers(gateway.reactor, "reload", 1, 0)
        self._running = False
        self._asked: list[tuple[str, Deferred[Reload]]] = []  # who waits for the next, and for this one
        self._served: list[tuple[str, Deferred[Reload]]] = []
        self.on_applied: Callable[[Prepared, Loaded], None] = lambda prepared, loaded: None
        self.on_told: Callable[[], None] = lambda: None
        self.taken()

    def hup(self, by: str = SIGHUP) -> Deferred[Reload]:
        """Read everything again and take it; fires with what came of it. Those who want it while that goes on have one
        more reload after it."""
        told: Deferred[Reload] = Deferred()
        self._asked.append((by, told))
        if self._running:
            self._gateway.audit.reopen()
        else:
            self._begin()
        return told

    def _begin(self) -> None:
        self._served, self._asked = self._asked, []
        self.prepare().addCallbacks(self._swap, self._failed)

    @property
    def _by(self) -> str:
        return together([by for by, _ in self._served])

    def prepare(self) -> Deferred[Prepared]:
        """Read everything again; what comes of it has no effect yet. Fails with what `faults` knows. Whatever the files
        say, a log that was rotated is not written to any more. `take` or `forget` it before the next."""
        self._gateway.audit.reopen()
        self._running = True
        return self._workers.run(lambda: unhurried(self._read), TIMEOUT).addCallback(self._look_at_log)

    def _read(self) -> Prepared:
        """In the thread. Comparing takes as long as there are targets."""
        prepared = self._prepare()
        changes = differences(self.config, prepared.config, self.contents, prepared.contents)
        return replace(prepared, changes=changes)

    def _look_at_log(self, prepared: Prepared) -> Prepared:
        """So that taking it cannot fail later, when others have taken it already."""
        try:
            self._gateway.audit.look_at(str(prepared.config.audit.file))
        except AuditFailed as failed:
            _close(prepared.services)
            raise ConfigError(str(prepared.config.file), 0, "audit.file", str(failed)) from None
        return prepared

    def take(self, prepared: Prepared, loaded: Loaded) -> Taken:
        """Put it in force, in this turn; `loaded` is what all processes of the gateway call this reload. Raises
        AuditFailed, and then nothing has changed."""
        try:
            old = apply(self._gateway, prepared)
        except AuditFailed:
            self.forget(prepared)
            raise
        taken = Taken(self.waiting(prepared.config), prepared.changes)
        self._retire(old, self.config)
        self.config, self.contents = prepared.config, prepared.contents
        self.taken()
        self.on_applied(prepared, loaded)
        self._running = False
        return taken

    def forget(self, prepared: Prepared) -> None:
        """It is not wanted."""
        _close(prepared.services)
        self._running = False

    def stop(self) -> None:
        """The process ends; what is being read is forgotten."""
        self._asked.clear()
        self._running = True
        self._workers.close()

    def taken(self) -> None:
        """A configuration is in force: the first one, or one that was reloaded."""
        meters = self._gateway.meters
        meters.set(CONFIG_LAST_RELOAD, round(self._gateway.clock.time()))
        meters.set(CONFIG_RESTART_PENDING, len(self.waiting(self.config)))

    def waiting(self, config: Config) -> tuple[str, ...]:
        """The options in it that only a restart can change."""
        return changed(self._started, values_of(config, Scope.RESTART))

    # -- how it ended ------------------------------------------------------------------------------------

    def _swap(self, prepared: Prepared) -> None:
        try:
            taken = self.take(prepared, Loaded(self._gateway.clock.time(), self._by))
        except AuditFailed as failed:
            self._refuse([ConfigError(str(prepared.config.file), 0, "audit.file", str(failed))])
            return
        self._gateway.reactor.callLater(0, self._tell_terminal, prepared.warnings, taken)
        result = "restart_needed" if taken.restart else "ok"
        self._told(Reload(result, self._by, ", ".join(taken.restart), changed=taken.changes or None))
        self._next()

    def _tell_terminal(self, warnings: tuple[ConfigError, ...], taken: Taken) -> None:
        tell(self._gateway.log, [str(warning) for warning in warnings], taken.restart, taken.changes)

    def _failed(self, failure: Failure) -> None:
        found = self.faults(failure)
        if found:
            self._refuse(found)

    def faults(self, failure: Failure) -> tuple[ConfigError, ...]:
        """What is wrong, where `prepare` failed; nothing when the process ends."""
        self._running = False
        error = failure.value
        if isinstance(error, WorkersClosed):
            return ()
        file = str(self.config.file)
        if isinstance(error, ConfigErrors):
            return tuple(error.errors)
        if isinstance(error, ConfigError):
            return (error,)
        if isinstance(error, DeadlinePassed | QueueFull):
            return (ConfigError(file, 0, "", f"the files could not be read within {TIMEOUT:g} s"),)
        self._gateway.log_failure("reloading", failure)
        return (ConfigError(file, 0, "", "the gateway failed, the lines above say how"),)

    def _refuse(self, errors: Iterable[ConfigError]) -> None:
        lines = [printable(str(error)) for error in errors]
        tell_refusal(self._gateway.log, lines)
        self._told(Reload("refused", self._by, text="\n".join(lines)))
        self._next()

    def _told(self, event: Reload) -> None:
        self._gateway.meters.add(CONFIG_RELOADS, event.result)
        self._gateway.audit.note(event)
        self.on_told()
        served, self._served = self._served, []
        for _, told in served:
            told.callback(event)

    def _next(self) -> None:
        self._running = False
        if self._asked:
            self._begin()

    # -- what was in force -------------------------------------------------------------------------------

    def _retire(self, old: Services, config: Config) -> None:
        """Close what was in force once nobody waits for it, and let go of its inventory little by little."""
        limits, later = config.limits, self._gateway.reactor.callLater
        later(limits.login_grace + old.auth.outside_wait, old.auth.close)
        later(limits.login_grace + limits.dial_timeout, old.upstream.close)
        later(limits.login_grace + limits.dial_timeout, old.dialler.close)
        later(limits.login_grace + limits.dial_timeout, self._let_go, [old, config])

    def _let_go(self, whole: list[Any]) -> None:
        """First the tables of what was in force, whose entries live on in the pieces; then those."""
        old = whole[0]
        pieces = [*old.inventory.pieces(), *old.dialler.keys.known_hosts.lines]
        later = self._gateway.reactor.callLater
        later(0, whole.clear)
        later(0, self._release, pieces)

    def _release(self, pieces: list[object]) -> None:
        del pieces[-RELEASED:]
        if pieces:
            self._gateway.reactor.callLater(0, self._release, pieces)


def _close(services: Services) -> None:
    services.auth.close()
    services.upstream.close()
    services.dialler.close()


def unhurried(job: Callable[[], Result]) -> Result:
    """Run `job`, which computes for seconds, in this thread, so that other threads hardly notice.

    What it leaves behind is kept out of the garbage collector's sight, which would walk all of it in one turn: it lives
    as long as the configuration does. Cycles that are garbage at this moment stay with it: some KiB for each reload.
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

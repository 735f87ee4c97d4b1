"""The program: builds everything (L5).

Start-up order: read and check all files, open the audit log and the store, listen, say that it is ready on
standard output. SIGHUP reloads (a faulty file changes nothing). SIGTERM lets nothing new begin and what runs finish,
as long as `[limits] drain_timeout` says; SIGINT, or a second SIGTERM, ends the sessions with a message.
"""

from __future__ import annotations

import gc
import os
import random
import socket
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from bastion import __version__
from bastion.assembly.applying import Look, Parts, Prepared, apply, prepare
from bastion.assembly.beside import Beside, uploads, wanted_of
from bastion.assembly.controlling import Controlling
from bastion.assembly.gauges import Gauges
from bastion.assembly.health import HealthWatch
from bastion.assembly.ldap_meters import LdapMeters
from bastion.assembly.ledger_heads import LedgerHeads
from bastion.assembly.leftovers import Leftovers
from bastion.assembly.metrics_site import serve_metrics
from bastion.assembly.part import Part
from bastion.assembly.penalty_keeper import PenaltyKeeper
from bastion.assembly.reloading import Reloading
from bastion.assembly.telling import START, Loaded
from bastion.auth.budget import LIMITS, Budget, divided
from bastion.auth.startups import REPAY, StartupLimiter
from bastion.auth.throttle import Penalties
from bastion.clock import SystemClock
from bastion.config.check import Report, inspect
from bastion.config.load import Config
from bastion.config.outputs import Log
from bastion.control.node import Counted
from bastion.doors.balancer import Doorway, unserved
from bastion.doors.draining import Drained, Draining
from bastion.doors.listener import Front
from bastion.errors import ConfigError, EndReason
from bastion.handover.elders import Elders
from bastion.net import socket as io
from bastion.net.descriptors import raise_limit
from bastion.net.listening import NOTHING_GIVEN, Listeners, address_of, open_listener
from bastion.net.local_addresses import OwnPlaces
from bastion.net.read_size import ask_for_short_slices
from bastion.net.resolver import resolve, resolver_of
from bastion.net.tuning import keep_freed_memory
from bastion.observe import exporter
from bastion.observe.audit import AuditFailed, AuditLog
from bastion.observe.build import build
from bastion.observe.clock_steps import ClockSteps
from bastion.observe.events.process import (
    ClockStepped,
    DrainEnded,
    DrainStarted,
    GatewayStarted,
    GatewayStopped,
)
from bastion.observe.lag import LagProbe
from bastion.observe.meters import (
    BUDGET_REFUSALS,
    DRAINING,
    WORKERS,
    Meters,
    merge,
)
from bastion.observe.per_target import PerTarget
from bastion.options import ConfigErrors
from bastion.recording.booking import Books
from bastion.recording.listing import Recordings
from bastion.recording.store import Store
from bastion.session.checkpoints import Checkpoints
from bastion.session.ending import End
from bastion.session.gateway import Gateway
from bastion.session.revoked import end_revoked
from bastion.session.session import PARTING
from bastion.session.standing import Rechecks
from bastion.sharing.rows import Cell
from bastion.state.database import Place, password_of
from bastion.state.schema_version import SchemaUnfit
from bastion.state.store import StateStore
from bastion.state.versions import PolicyLoad, policy_loaded, policy_text
from bastion.upstream.target_addresses import TargetAddresses
from bastion.wire.printable import printable

Result = TypeVar("Result")

# Seconds that connections get at a stop to take their last words.
STOP_GRACE = 3.0

CLOSING_DOWN = "the gateway is closing down"
UPGRADED = "the gateway was upgraded, please connect again"

# Seconds that a connection with nothing inside has in a process that another has taken over from.
PATIENCE = 10.0


class Program:
    """One running gateway, or one worker of it: its listening ports, its metrics page and what a signal does to it.

    Raises ConfigErrors for a configuration with errors, AuditFailed for a log that cannot be opened.
    """

    def __init__(
        self,
        config_file: Path,
        reactor: Any,
        look: Look = inspect,
        given: Listeners = NOTHING_GIVEN,
        part: Part | None = None,
    ) -> None:
        """`look` reads and checks the configuration, now and at every reload; `given` listens already."""
        self._reactor = reactor
        self._part = part = part or Part()
        self._clock = SystemClock()
        self.meters = Meters(build())
        self._observer = LdapMeters(self.meters)
        self._own = OwnPlaces()
        resolver_of(reactor).make_room()
        self._resolved = TargetAddresses(reactor, lambda host: resolve(reactor, host))
        penalties = Penalties(self._clock) if part.penalties is None else part.penalties
        shared = self._own, self._resolved, part.others.workers, self.meters
        parts = Parts(reactor, self._clock, self._observer, penalties, *shared)
        prepared = prepare(config_file, parts, look)
        config = prepared.config
        self.warnings, self._names = prepared.warnings, prepared.names
        self.gateway = self._gateway(prepared)
        apply(self.gateway, prepared)
        self.leftovers = Leftovers(self.gateway)
        self._penalties = penalties
        self._keeper = PenaltyKeeper(reactor, self.gateway.state.place.folder)
        self.reloading = Reloading(self.gateway, prepared, lambda: prepare(config_file, parts, look))
        self._rechecks, self._checkpoints = Rechecks(self.gateway), Checkpoints(self.gateway)
        self._ledger = LedgerHeads(self.gateway)
        self._lag = LagProbe(reactor, self._clock, self.meters)
        self._steps = ClockSteps(reactor, self._clock, self.meters, self._clock_stepped)
        own = reactor, self._clock, self.meters, self.gateway.audit
        self._beside = Beside(*own, config_file, self.reloading.hup)
        self.health = self._watch()
        self._front = Front(self.gateway)
        role = "gateway" if part.alone else "worker"
        self._gauges = Gauges(self.gateway, role, penalties, self._beside.refresh)
        self._gauges.take(config.limits.startups, prepared.key_dates)
        self.control = Controlling(self.gateway, config, self.health, self._gauges.look, part.alone)
        self.local = self.control.local
        self._keeper.share(config, self.control.hub)
        self.elders = Elders(reactor, self.control.hub, self.meters.families)
        self._listeners = given
        self._ports: list[Any] = []
        self._metrics: Any = None
        self._draining: Draining | None = None
        self._kept = ""  # digest of the policy that was kept last
        self._repaying: Any = None  # a timer, where there are other workers

    def _gateway(self, prepared: Prepared) -> Gateway:
        """What all sessions share. Raises AuditFailed."""
        config, others = prepared.config, self._part.others
        books = Books(config.recording.directory, config.state.name, self._clock)
        return Gateway(
            reactor=self._reactor,
            clock=self._clock,
            meters=self.meters,
            audit=AuditLog(str(config.audit.file), self._clock, self.meters, config.audit.required),
            store=Store(config.recording.directory, on_sync_failed=self._sync_failed, books=books),
            startups=StartupLimiter(random.SystemRandom().random, others=others),
            budget=Budget(
                self._clock,
                divided(LIMITS, others.workers),
                on_refused=lambda work, payer: self.meters.add(BUDGET_REFUSALS, work, payer),
                others=others,
            ),
            services=prepared.services,
            state=self._state(config),
            others=others,
            per_target=PerTarget(self.meters, config.metrics.targets),
            locks_until=0.0 if config.nodes.used else None,
        )

    def _watch(self) -> HealthWatch:
        """What looks at the parts, with the files of whatever is in force."""
        return HealthWatch(
            self.gateway,
            lambda: self.reloading.config.host_keys.files,
            reports=self._reports,
            sinks=lambda: self.reloading.config.audit.sinks,
            certificate=lambda: self.reloading.config.metrics.tls_certificate,
        )

    def start(self, own: Iterable[str] = (), loaded: Loaded | None = None) -> dict[str, Any]:
        """Listen everywhere; the addresses that came of it (port 0 means any). `own` are those of the supervisor, which
        knows when what is in force was `loaded`."""
        config, alone = self.reloading.config, self._part.alone
        if alone:
            self._listeners = self._listen(config, self._listeners)
            self._keeper.load(self._penalties)
        listeners = self._listeners
        nobody_at = unserved(config.listen.balancers, [one.getsockname()[:2] for one in listeners.ssh])
        if nobody_at:
            raise ConfigError(str(config.file), 0, "listen.proxy_protocol", f"nobody listens at {nobody_at}")
        self.accept()
        places = [address_of(listener) for listener in listeners.ssh]
        metrics = None if listeners.metrics is None else address_of(listeners.metrics)
        self.gateway.listening = socket.gethostname(), listeners.ssh[0].getsockname()[1]
        for address in (*places, *([metrics] if metrics else ()), *own):
            host, _, number = address.rpartition(":")
            self._own.listening(host.strip("[]"), int(number))
        self._lag.start()
        if alone:
            self._steps.start()
        self.health.start()
        self.gateway.state.start()
        self._in_force(config, loaded or Loaded(self._clock.time(), START))
        self.reloading.on_applied = self._applied
        self._rechecks.start()
        self._checkpoints.start()
        self._ledger.start()
        self._resolved.follow_names(self._names)
        if alone:
            begun = Deferred.fromCoroutine(self.control.begin())
            begun.addErrback(lambda failure: self.gateway.log_failure("learning what is locked", failure))
            self.leftovers.end_all()
            self._beside.follow(*wanted_of(config))
            self.meters.set(WORKERS, 1, "serving")
            self.gateway.audit.emit(GatewayStarted(__version__, str(config.file)))
        else:
            self._front.joins_others()
            self._part.others.add(Cell.ACCEPTING, 1)
            self._repay()
        return {"event": "ready", "ssh": places, "metrics": metrics}

    @property
    def listeners(self) -> Listeners:
        """The sockets, for whoever takes over."""
        return self._listeners

    def accept(self) -> None:
        """Let engineers in, at the start or again after `pause`."""
        for listener in self._listeners.ssh:
            doorway = Doorway(self._front, *listener.getsockname()[:2])
            self._ports.append(io.accept(self._reactor, listener, doorway))

    def publish(self) -> None:
        """Answer scrapes and people, elders included. Raises OSError, ConfigError."""
        listener = self._listeners.metrics
        if listener is not None:
            registry = exporter.build_registry(self.meters, self.elders.snapshots, self._gauges.look)
            page, gather = self.health.page, self.elders.gather
            wanted = self.reloading.config.metrics
            self._metrics = serve_metrics(self._reactor, listener, registry, page, gather, wanted)
        self._listeners = replace(self._listeners, control=self.control.listen(self._listeners.control))

    async def pause(self) -> None:
        """Accept nobody: who connects waits in the sockets' queues for whoever accepts next."""
        ports, self._ports = [*self._ports, self._metrics], []
        self._metrics = None
        self.control.pause()
        for port in ports:
            if port is not None:
                await _done(port.stopListening())
        await self._keeper.flush()

    def let_go(self) -> None:
        """Close the sockets, which are another process's now."""
        for _, listener in self._listeners.by_use():
            listener.close()
        self._listeners = NOTHING_GIVEN

    def retire(self) -> Deferred[Drained]:
        """Another process is the gateway: what runs goes on to its end. Fires when nobody is left."""
        self.control.retire()
        self._keeper.retire()
        self._beside.stop()
        self.let_go()
        self._draining = Draining(self._front, UPGRADED, PATIENCE)
        return self._draining.begin()

    def _listen(self, config: Config, given: Listeners) -> Listeners:
        """What is given, and what the configuration says for what is not. Raises OSError."""
        ssh, metrics, where = given.ssh, given.metrics, config.metrics.listen
        if ssh:
            self.gateway.log.info(
                "listening on sockets that were handed in: [listen] addresses is not looked at"
            )
        else:
            ssh = tuple(open_listener(address.host, address.port) for address in config.listen.addresses)
        if metrics is None and where is not None:
            metrics = open_listener(where.host, where.port)
        return replace(given, ssh=ssh, metrics=metrics)

    def _repay(self) -> None:
        """Places of unfinished logins that are too many over all workers."""
        self._repaying = self._reactor.callLater(REPAY, self._repay)
        self.gateway.startups.repay()

    def status(self) -> str:
        """One line for `systemctl status`."""
        count = len(self.gateway.live)
        shown = f"{count} session" + "s" * (count != 1)
        if self.gateway.draining:
            return f"closing down, {shown} still run"
        return f"{shown}, and those of {len(self.elders)} older processes" if len(self.elders) else shown

    @property
    def empty(self) -> bool:
        """Nobody is connected."""
        return not (self._front.connections or self._front.waiting)

    def _clock_stepped(self, seconds: float) -> None:
        way = "forward" if seconds > 0 else "back"
        self.gateway.log.warn(
            "the clock was set {seconds:.1f} s {way}: timers go on, certificates and log lines follow it",
            seconds=abs(seconds),
            way=way,
        )
        self.gateway.audit.note(ClockStepped(round(seconds, 3)))

    def _state(self, config: Config) -> StateStore:
        """The state store, opened. Raises ConfigError for what only an operator can mend."""
        wanted, folder = config.state, config.recording.directory
        place = Place.chosen(folder, wanted.directory, wanted.url, wanted.password_file)
        node = config.state.name
        recordings = Recordings(config.recording.directory)
        state = StateStore(self._reactor, self._clock, self.meters, recordings, place, node)
        try:
            state.open(password_of(place))
        except SchemaUnfit as unfit:
            raise ConfigError(str(config.file), 0, "state", unfit.text) from None
        return state

    def _sync_failed(self, _: object) -> None:
        """In the syncing thread: the sessions whose data the disk has refused are to end, those that are silent too."""
        self._reactor.callFromThread(self._end_refused)

    def _end_refused(self) -> None:
        for session in list(self.gateway.live):
            session.recording_refused()

    def _reports(self) -> Path | None:
        """Where the process that uploads says how it is; None when there is to be none."""
        return self.gateway.state.place.folder if uploads(self.reloading.config) else None

    def counted(self) -> Deferred[Counted]:
        """The page's figures: of this process and of its elders, those that are gone included."""

        def added(_: None) -> Counted:
            self._gauges.look()
            return Counted(merge(self.meters.families, [self.meters.snapshot(), *self.elders.snapshots()]))

        return self.elders.gather().addCallback(added)

    def _in_force(self, config: Config, loaded: Loaded) -> None:
        """Keep what decides from now on. A text of 10,000 rules and as many targets takes 5 ms, when it is another."""
        state, version = self.gateway.state, config.version
        state.in_force(config.digest, loaded.by, __version__)
        if version.digest != self._kept:
            state.note(policy_text(version.digest, version.packed))
        self._kept = version.digest
        load = PolicyLoad(config.state.name, loaded.at, version.digest, config.digest, loaded.by, __version__)
        state.note([policy_loaded(load)])

    def _applied(self, prepared: Prepared, loaded: Loaded) -> None:
        """A configuration is in force: follow the names of its targets, ask for the rights of those who are here."""
        self._resolved.follow_names(prepared.names)
        self._gauges.take(prepared.config.limits.startups, prepared.key_dates)
        end_revoked(self.gateway)
        self._rechecks.now()
        if self._part.alone and not self.gateway.draining:
            self._beside.follow(*wanted_of(prepared.config))
        self._in_force(prepared.config, loaded)

    async def drain(self, signal_name: str, seconds: float) -> None:
        """Let nothing new begin, and what runs finish: until nobody is left, `seconds` have passed, or `hurry`."""
        gateway = self.gateway
        if self._draining is not None:  # that of an elder, which would wait for ever
            self._draining.finish()
        gateway.draining = True
        self.meters.set(DRAINING, 1)
        sessions, connections = len(gateway.live), len(self._front.connections)
        gateway.audit.note(DrainStarted(signal_name, seconds, sessions, connections))
        words = "closing down: {sessions} sessions may finish within {seconds:g} s"
        gateway.log.info(words, sessions=sessions, seconds=seconds)
        self._draining = Draining(self._front, CLOSING_DOWN)
        how = await self._draining.begin(seconds)
        gateway.audit.note(DrainEnded(how, len(gateway.live)))

    def hurry(self) -> None:
        """Wait for no session any more."""
        if self._draining is not None:
            self._draining.finish(Drained.HURRIED)
        self.elders.end(drain=False)

    async def stop(self, signal_name: str) -> None:
        """Stop accepting, end every session with a message, give the last words a moment, write all down."""
        gateway = self.gateway
        gateway.draining = gateway.closing = True
        self.meters.set(DRAINING, 1)
        self.reloading.stop()
        self._rechecks.stop()
        for port in self._ports:
            await _done(port.stopListening())
        self._ports = []
        for waiting in list(self._front.waiting):
            waiting.drop()
        if self._repaying is not None:
            self._part.others.add(Cell.ACCEPTING, -1)
        for session in gateway.live:
            session.end(End(EndReason.SHUTDOWN, CLOSING_DOWN, ref=session.session_id[:6]))
        await deferLater(self._reactor, PARTING + 0.05)
        for connection in list(self._front.connections):
            connection.shut_down(CLOSING_DOWN)
        until = self._clock.monotonic() + STOP_GRACE
        while self._front.lingering and self._clock.monotonic() < until:
            await deferLater(self._reactor, 0.05)
        await self._beside.stop_all_but_sinks()
        timed: tuple[Any, ...] = (self._lag, self._checkpoints, self._steps, self.health, self._resolved)
        for each in timed:
            each.stop()
        await self.pause()
        self.control.stop()
        self._keeper.close()
        self.let_go()
        gateway.services.auth.close()
        gateway.services.upstream.close()
        gateway.services.dialler.close()
        self._ledger.tell()  # how far the audit log has come: the store writes it as it closes
        gateway.store.close()
        self._ledger.stop()
        await gateway.state.stop()
        gateway.rationed.flush()
        if self._repaying is not None:
            self._repaying.cancel()
        if self._part.alone:
            gateway.audit.note(GatewayStopped(signal_name))
        gateway.audit.close()
        await self._beside.stop()


def _tracing(path: str | os.PathLike[str]) -> Report:
    """As `inspect`, with `[log] trace` on whatever the file says."""
    report = inspect(path)
    config = report.config
    return report if config is None else replace(report, config=replace(config, log=Log(trace=True)))


async def _done(result: Any) -> None:
    if isinstance(result, Deferred):
        await result


def make_program(
    config_file: Path, reactor: Any, trace_messages: bool, given: Callable[[], Listeners], part: Part
) -> Program:
    """The gateway, or exit 2 with everything that is wrong. Warnings are told too, and are no hindrance."""
    keep_freed_memory()
    ask_for_short_slices()
    raise_limit()
    try:
        program = Program(config_file, reactor, _tracing if trace_messages else inspect, given(), part)
    except ConfigErrors as found:
        for error in found.errors:
            click.echo(f"bastion: error: {printable(str(error))}", err=True)
        count = f"{len(found.errors)} fault" + "s" * (len(found.errors) != 1)
        click.echo(f"bastion: not started: {count} in the configuration", err=True)
        raise SystemExit(2) from None
    except (ConfigError, AuditFailed) as error:
        click.echo(f"bastion: {error}", err=True)
        raise SystemExit(2) from None
    for warning in program.warnings:
        click.echo(f"bastion: warning: {printable(str(warning))}", err=True)
    return program


def keep_what_is_there() -> None:
    """What start-up made is never garbage: no collection walks it again."""
    gc.collect()
    gc.freeze()

"""The console as a process (L4): built of a configuration, listening, and ended.

It loads what signing in and looking need, and nothing that logs in anywhere: no host key, no CA, no target's key. A
changed configuration needs a restart, which signs everybody out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from bastion import __version__
from bastion.assembly.building import break_glass_rules, build_directory
from bastion.assembly.companion import program as program_of
from bastion.auth.budget import Budget
from bastion.auth.context import AuthServices
from bastion.auth.embedded import Users, load_users
from bastion.auth.factors import OIDC, PASSKEY, in_order
from bastion.auth.throttle import Penalties
from bastion.clock import Clock, DelayedCall
from bastion.config.console import Console
from bastion.config.load import Config, load
from bastion.config.penalties import penalty_limits
from bastion.config.second_factors import Wrong, oidc_client
from bastion.console.admission import Place
from bastion.console.application import Application
from bastion.console.asked import Proxies
from bastion.console.challenges import Challenges
from bastion.console.codes import codes_of
from bastion.console.desk import Desk
from bastion.console.figures import Figures, console_meters
from bastion.console.gateway import GatewaySocket
from bastion.console.metrics_port import MetricsPort
from bastion.console.overdue import Overdue
from bastion.console.own_store import check_there, place_for
from bastion.console.passkeys import Passkeys
from bastion.console.readers import Readers
from bastion.console.reads import Reads
from bastion.console.rendering import Pages
from bastion.console.routes import Route
from bastion.console.site import ConsoleSite
from bastion.console.standing import Standing
from bastion.console.streams import Streams
from bastion.console.visits import Visit, Visits
from bastion.control.penalty_orders import PenaltiesShared, SharePenalties
from bastion.control.penalty_sharing import CONSOLE, PenaltySharing, with_consoles
from bastion.control.penalty_store import share
from bastion.errors import ConfigError, ConsoleReason
from bastion.indexing.store import place_in
from bastion.net.listening import address_of, open_listener
from bastion.net.tls import ServerTls, TlsFactory
from bastion.observe.audit import AuditLog
from bastion.observe.events import About
from bastion.observe.events.console import ConsoleRefused, ConsoleSignedOut, ConsoleStarted, ConsoleStopped
from bastion.observe.meters import Meters
from bastion.observe.rationed import RationedLog
from bastion.recording.listing import Recordings
from bastion.state.database import Database, StateDown, password_of
from bastion.state.database import Place as StatePlace
from bastion.state.paging import Place as Recorded
from bastion.state.review_queue import Rules
from bastion.state.shared_penalties import key_of

if TYPE_CHECKING:  # it loads what verifies tokens, which comes with the extra `oidc`
    from bastion.console.elsewhere import Elsewhere

SWEEP: Final = 30.0
"""Seconds between two looks for visits that are over, and for an audit log that was rotated."""

_log = Logger(namespace="bastion.console")


class ConsoleProgram:
    """One console. Raises ConfigError, also as ConfigErrors, AuditFailed, and StateDown for a store that is not
    there."""

    _port: Any = None  # once it listens
    _sweeping: DelayedCall | None = None

    def __init__(self, config_file: Path, reactor: Any, clock: Clock) -> None:
        self._reactor, self._clock = reactor, clock
        self._wanted = wanted = (config := load(config_file)).console
        users = load_users(config.directory.embedded) if config.directory.embedded is not None else None
        _check_groups(config)
        place = _store(config)
        meters, challenges = console_meters(), Challenges(clock)
        self._audit = AuditLog(str(wanted.audit_file or config.audit.file), clock, meters, required=True)
        self._rationed = RationedLog(self._audit, reactor, meters)
        self._auth = _auth(config, users, reactor, clock, place)
        folder, start = config.recording.directory, program_of(reactor, "bastion.console.reader", config_file)
        self._reads = Reads(reactor, clock, place, password_of(place), place_in(folder))
        self._penalties = self._shared_with(config)
        self._readers = Readers(reactor, start, wanted.readers)
        self._visits = Visits(clock, wanted.idle, wanted.lifetime, self._signed_out)
        gateway = GatewaySocket(reactor, config.control.place(config_file))
        standing = Standing(self._auth.directory, self._reads, clock, wanted.groups)
        self._streams = Streams(reactor, standing, self._visits, self._shown_no_longer)
        self.desk = Desk(
            reactor=reactor,
            clock=clock,
            meters=meters,
            audit=self._audit,
            rationed=self._rationed,
            budget=Budget(clock),
            auth=self._auth,
            reads=self._reads,
            readers=self._readers,
            gateway=gateway,
            pages=Pages(),
            visits=self._visits,
            place=Place(wanted.origin),
            recorded=Recorded(Recordings(folder), config.state.name),
            redaction=config.redact.redaction,
            groups=wanted.groups,
            review=Rules(wanted.review_within, frozenset(wanted.review_by_two)),
            login_log=config.audit.file,
            config_file=config_file,
            mail=config.mail,
            token_lifetime=wanted.token_lifetime,
            passkeys=_passkeys(config, challenges),
            elsewhere=_elsewhere(config, challenges, reactor, clock, meters),
            streams=self._streams,
            figures=Figures(meters, clock, self._visits, self._readers),
            codes=codes_of(config, self._reads, gateway),
            bucket=config.recording.store.bucket is not None,
        )
        self._overdue = Overdue(reactor, clock, self._reads, self.desk.review)
        self.application = Application(self.desk, _proxies(wanted), standing)
        self._metrics = MetricsPort(reactor, config)

    def _shared_with(self, config: Config) -> PenaltySharing:
        """Guesses here and at every gateway count together, through the store."""
        name = config.state.name + CONSOLE
        others = with_consoles((config.state.name, *config.nodes.peers), name)
        penalties = self._auth.penalties

        def ask(request: SharePenalties) -> Deferred[PenaltiesShared]:
            now = self._clock.time()
            return self._reads.share(lambda database: share(database, request, now))

        return PenaltySharing(name, others, ask, self._reactor, penalties.rekey, propose=False)

    def start(self) -> dict[str, Any]:
        """Listen; what the ready line says. Raises OSError, ConfigError."""
        wanted, reactor = self._wanted, self._reactor
        site: Any = ConsoleSite(self.application.serve, reactor)
        self.desk.figures.site = site
        if wanted.tls_certificate is not None and wanted.tls_key is not None:
            site = TlsFactory(site, ServerTls(wanted.tls_certificate, wanted.tls_key, _faulty))
        if wanted.socket is not None:
            self._port = reactor.listenUNIX(str(wanted.socket), site, mode=0o660, wantPID=True)
            where = str(wanted.socket)
        else:
            listener = open_listener(wanted.listen.host, wanted.listen.port)
            where = address_of(listener)
            self._port = reactor.adoptStreamPort(listener.fileno(), listener.family, site)
            listener.close()
        place = self.desk.place
        if wanted.url is None:  # port 0 means any
            place = self.desk.place = Place(f"{wanted.origin.partition('://')[0]}://{where}")
        self._audit.emit(ConsoleStarted(__version__, place.origin))
        self._readers.warm()
        self._overdue.start()
        self._penalties.start(self._auth.penalties)
        self._sweep()
        ready = {"event": "ready", "console": place.origin, "listen": where}
        return ready | self._metrics.start(self.desk.meters, self.desk.figures)

    async def stop(self) -> None:
        """Answer nobody any more, and sign everybody out."""
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
        if self._sweeping is not None and self._sweeping.active():
            self._sweeping.cancel()
        await self._metrics.stop()
        self._overdue.stop()
        self._penalties.stop()
        self._streams.close()
        self._readers.close()
        if self.desk.elsewhere is not None:
            self.desk.elsewhere.close()
        self._reads.close()
        self._auth.close()
        self._rationed.flush()
        self._audit.note(ConsoleStopped())
        self._audit.close()

    def reopen(self) -> None:
        """Write on in the audit log's file of now: the one before may have been rotated away."""
        self._audit.reopen()

    def _sweep(self) -> None:
        self._sweeping = self._reactor.callLater(SWEEP, self._sweep)
        self._visits.sweep()
        self.reopen()

    def _signed_out(self, visit: Visit, reason: ConsoleReason) -> None:
        self._audit.note(ConsoleSignedOut(reason), About(user=visit.name, source=visit.source))
        self._streams.visit_over(visit, reason)

    def _shown_no_longer(self, visit: Visit, reason: ConsoleReason, route: Route) -> None:
        """Of a stream that its reader may not see any more."""
        line = ConsoleRefused(reason, route.name, route.method, route.path)
        self._audit.note(line, About(user=visit.name, source=visit.source))


def serve(program: ConsoleProgram, ended: Deferred[None]) -> Deferred[None]:
    """Until `ended` fires; then everything is ended."""

    async def run() -> None:
        await ended
        await program.stop()

    return Deferred.fromCoroutine(run())


def _faulty(text: str) -> None:
    _log.error("the console keeps its certificate: {text}", text=text)


def _wrong(config: Config, key: str, problem: str, allowed: str = "") -> ConfigError:
    return ConfigError(str(config.file), 0, f"console.{key}", problem, allowed)


def _check_groups(config: Config) -> None:
    if not any(config.console.groups.values()):
        text = "names no group: nobody could sign in"
        raise _wrong(config, "auditor_groups", text, 'auditor_groups = ["security"]')


def _passkeys(config: Config, challenges: Challenges) -> Passkeys | None:
    """Where a chain has them."""
    wanted = config.console
    if not any(PASSKEY in chain for chain in wanted.require):
        return None
    return Passkeys(Place(wanted.origin), challenges, config.approvals.passkeys)


def _elsewhere(
    config: Config, challenges: Challenges, reactor: Any, clock: Clock, meters: Meters
) -> Elsewhere | None:
    """Where a chain has it. What verifies tokens is loaded here. Raises ConfigError."""
    wanted, oidc = config.console, config.oidc
    if not any(OIDC in chain for chain in wanted.require):
        return None
    if oidc.issuer is None:
        raise _wrong(config, "require", "asks for oidc, and [oidc] issuer is not set")
    from bastion.auth.oidc import Binding
    from bastion.auth.oidc_provider import BROWSERS, Client, Provider
    from bastion.console.elsewhere import Elsewhere

    secret, tls = oidc_client(config.oidc, _failing(config))
    assert tls is not None
    client = Client(oidc.issuer, oidc.client_id or "", secret, " ".join(oidc.scopes))
    provider = Provider(client, tls, reactor, clock, meters, BROWSERS)
    binding = Binding(oidc.claim, oidc.suffix, oidc.equals == "id")
    return Elsewhere(provider, binding, challenges, wanted.origin, clock)


def _failing(config: Config) -> Wrong:
    def wrong(key: tuple[str, ...], problem: str, allowed: str) -> None:
        raise ConfigError(str(config.file), 0, ".".join(key), problem, allowed)

    return wrong


def _proxies(wanted: Console) -> Proxies:
    return Proxies(wanted.proxies, wanted.socket is not None, wanted.user_header or "")


def _store(config: Config) -> StatePlace:
    """Where the state is; it is there, and fits. Raises StateDown, ConfigError."""
    place = place_for(config.file, config.recording.directory, config.state, config.console)
    database = Database(place, password_of(place))
    try:
        check_there(database)
    finally:
        database.close()
    return place


def _penalty_key(place: StatePlace) -> bytes:
    """What gateways key the digests of penalties with; b"" before one has said so, or where it may not be read. Raises
    ConfigError."""
    database = Database(place, password_of(place))
    try:
        return key_of(database, None) or b""
    except StateDown as error:
        _log.warn("penalties are not shared yet: {text}", text=error.text)
        return b""
    finally:
        database.close()


def _auth(config: Config, users: Users | None, reactor: Any, clock: Clock, place: StatePlace) -> AuthServices:
    """As the gateway's, for people who type: no key and no certificate is taken."""
    wanted: Console = config.console
    penalties = Penalties(clock, secret=_penalty_key(place))
    penalties.set_limits(penalty_limits(config.limits.penalties))
    return AuthServices(
        directory=build_directory(config, users, reactor, clock, None),
        login_cas=(),
        penalties=penalties,
        methods=("password", "keyboard-interactive"),
        chains=tuple(in_order(chain) for chain in wanted.require),
        break_glass=break_glass_rules(config, users),
    )

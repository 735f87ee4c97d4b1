"""What all sessions of one process share, and the part of it that a reload swaps.

`Services` is a value: a reload builds a new one from checked files and swaps it whole; a session keeps the one it
began with. `Gateway` lives as long as the process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion.auth.break_glass import BreakGlass
from bastion.auth.budget import Budget, Work
from bastion.auth.codes import Codes
from bastion.auth.context import AuthServices
from bastion.auth.identity import Identity, shown_by
from bastion.auth.key_counters import KeyCounters
from bastion.auth.revocation import Revocation
from bastion.auth.startups import Startup, StartupLimiter
from bastion.auth.totp import TotpKey
from bastion.auth.workers import Workers
from bastion.ca.agent_threads import AgentThreads
from bastion.ca.host_certificates import InnerHostKeys
from bastion.ca.issuing import IssuingCA
from bastion.clock import Clock, slept
from bastion.errors import LimitReason, PolicyReason, Refused
from bastion.observe.audit import AuditLog
from bastion.observe.exemplars import SessionMeters
from bastion.observe.families.nodes import UNCONFIRMED_REFUSALS
from bastion.observe.meters import (
    DESCRIPTORS_EXHAUSTED,
    SESSIONS_ENDED,
    SESSIONS_LIVE,
    SESSIONS_STARTED,
    Meters,
)
from bastion.observe.per_target import PerTarget
from bastion.observe.rationed import RationedLog
from bastion.options.kinds import Network
from bastion.policy.locks import LockSet, party_of
from bastion.policy.roads import road_of
from bastion.policy.rules import Policy
from bastion.policy.targets import Inventory, Target
from bastion.recording.bulk import RecordingPolicy
from bastion.recording.store import Store
from bastion.session.allowance import Allowance, Written
from bastion.session.announcing import WAITING, Announcer, Ways
from bastion.session.approvals import Approvals, Terms
from bastion.session.ending import End
from bastion.session.key_ages import KeyAges
from bastion.session.live import LiveSessions, Right
from bastion.session.personal import PersonalSessions
from bastion.session.present import Presence
from bastion.session.session import Session
from bastion.session.traces import Traces, TraceTerms
from bastion.sharing.rows import ALONE, Cell, Elsewhere
from bastion.state.codes import StoredCodes
from bastion.state.rows import ENDED, session_ended
from bastion.state.store import StateStore
from bastion.transport.settings import TransportSettings
from bastion.upstream.credentials import TargetCredentials
from bastion.upstream.dial import Dialler

REVOKED: Final = "your key or certificate has been revoked"

UNCONFIRMED: Final = (
    "the gateway cannot learn now who is locked: its store and the other gateways do not answer; try another gateway,"
    " or again in a moment"
)

DESCRIPTORS_EVERY: Final = 10.0
"""Seconds between two lines of the operator's log that say so: every connection would be one."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and counts (docs/configuration.md) that the session layer keeps; 0 switches a timer off.

    `sftp_hash`: files over sftp get a SHA-256; `audit_detail`: paths stand in the audit log. `recheck`: how
    often rights are asked for again (`session.standing`). `drain_timeout`: what sessions get at a stop.
    `recording_bytes` of one session, `user_recording_bytes` of all that one person has running; 0 is no limit.
    """

    keepalive_interval: float = 60.0
    keepalive_count: int = 3
    sessions: int = 10_000
    channels: int = 128
    sessions_per_connection: int = 256
    sftp_hash: bool = True
    audit_detail: bool = False
    recheck: float = 300.0
    drain_timeout: float = 0.0
    recording_bytes: int = 0
    user_recording_bytes: int = 0
    key_age: float = 0.0  # after which a key that logs in raises an alarm


@dataclass(frozen=True, slots=True)
class DeletionTerms:
    """Whose members may want a recording deleted, two of them, and how many seconds old it has to be."""

    groups: frozenset[str] = frozenset()
    at_least: float = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that comes from the configuration. Swapped whole."""

    auth: AuthServices
    policy: Policy
    inventory: Inventory
    dialler: Dialler
    upstream: TargetCredentials
    recording: RecordingPolicy
    limits: Limits
    inner_host_keys: InnerHostKeys
    agents: AgentThreads
    totp_key: TotpKey | None = None
    issuer: str = ""  # what an app calls the gateway
    issuing: IssuingCA | None = None  # where people who have logged in get certificates
    approvals: Terms = field(default_factory=Terms)
    deletions: DeletionTerms = field(default_factory=DeletionTerms)
    announce: Ways = field(default_factory=Ways)
    traces: TraceTerms = field(default_factory=TraceTerms)
    policy_digest: str = ""  # of policy and inventory as they were read

    @property
    def front_settings(self) -> TransportSettings:
        """What an engineer's connection that begins now is told."""
        return self.inner_host_keys.front.settings()


Balancers = Mapping[tuple[str, int], tuple[Network, ...]]
"""Host and port of a listener, port 0 for any, and whose PROXY headers are believed there."""


@dataclass(slots=True)
class Gateway:
    """The process: its reactor, clocks, counters, log, stores, and the live sessions."""

    reactor: Any
    clock: Clock
    meters: Meters
    audit: AuditLog
    store: Store
    startups: StartupLimiter
    budget: Budget
    services: Services
    state: StateStore
    others: Elsewhere = ALONE  # the other workers, and where they see what this one holds
    per_target: PerTarget = field(default_factory=lambda: PerTarget(Meters()))  # of targets that have figures
    key_counters: KeyCounters = field(default_factory=KeyCounters)
    live: LiveSessions = field(default_factory=LiveSessions)
    present: Presence = field(default_factory=Presence)
    opening: int = 0  # sessions that are being opened
    locks: LockSet = field(
        default_factory=LockSet
    )  # what the security team has locked, whatever the rules say
    locks_until: float | None = (
        None  # on the reactor's clock and with `slept`: until then they are known; None: they always are
    )
    break_glass: BreakGlass = field(init=False)  # whether an admin has opened the accounts for emergencies
    balancers: Balancers = field(default_factory=dict)  # who must say for whom they connect
    draining: bool = False  # nothing new begins
    closing: bool = False  # and what runs is being ended
    reloads: int = 0  # how often the services were swapped
    typed: tuple[str, int] | None = None  # the host and port that engineers type, as configured
    listening: tuple[str, int] = ("bastion", 22)  # the host's own name and the port that it listens at
    log: Logger = field(default_factory=lambda: Logger(namespace="bastion.session"))
    written: Written = field(init=False)  # by the running sessions of each person
    personal: PersonalSessions = field(init=False)  # how many those are
    rationed: RationedLog = field(init=False)  # the audit log for what peers may repeat
    approvals: Approvals = field(init=False)  # requests for somebody else's word
    key_ages: KeyAges = field(init=False)  # since when keys have logged in
    traces: Traces = field(init=False)  # the steps of logins, where they are told to a collector

    _emergency_threads: Workers = field(
        init=False
    )  # for codes of break-glass accounts while the store is away
    _descriptors_logged_at: float = field(init=False, default=float("-inf"))

    def __post_init__(self) -> None:
        self.rationed = RationedLog(self.audit, self.reactor, self.meters)
        self.written = Written(self.others)
        self.break_glass = BreakGlass(self.clock)
        self.personal = PersonalSessions(self.others)
        told = self.state, self.clock, self.meters, self.audit
        self.key_ages = KeyAges(*told, lambda: self.services.limits.key_age)
        self.approvals = Approvals(
            self.state,
            self.reactor,
            self.clock,
            self.meters,
            self.audit,
            lambda: self.services.approvals,
            lambda: self.draining,
            self.others,
        )
        self._emergency_threads = Workers(self.reactor, "glass", 1, WAITING)
        posts = Workers(self.reactor, "traces", 1, 1)
        self.traces = Traces(self.reactor, self.clock, posts.run, self.meters, lambda: self.services.traces)
        threads = Workers(self.reactor, "announce", 1, WAITING)
        announcer = Announcer(
            self.reactor, threads.run, self.meters, lambda: self.services.announce, lambda: self.lobby_command
        )
        self.approvals.on_filed = announcer.announce

    @property
    def public(self) -> tuple[str, int]:
        """The host and port that engineers type."""
        return self.typed or self.listening

    @property
    def lobby_command(self) -> str:
        """What somebody types to reach the lobby, without a name."""
        host, port = self.public
        return f"ssh -p {port} {host}" if port != 22 else f"ssh {host}"

    @property
    def codes(self) -> Codes | None:
        """What knows one-time codes, where there is a key for their secrets."""
        key = self.services.totp_key
        if key is None:
            return None
        emergency = self.services.auth.break_glass.uids
        return StoredCodes(self.state, key, self.clock, emergency, self._emergency_threads).check

    @property
    def broken_by(self) -> str:
        """What has opened the break-glass accounts (`auth.break_glass`); "" while they are closed."""
        auth = self.services.auth
        return self.break_glass.opened_by(auth.directory.servers(), auth.break_glass.after)

    def list_in_force(self) -> Revocation:
        """What is revoked by the list of now, whatever services a connection began with."""
        return self.services.auth.revocation

    def allowance(self, user: str) -> Allowance | None:
        """How large the recording of a session of that person may grow; None: as large as it will."""
        limits = self.services.limits
        of_session, of_user = limits.recording_bytes, limits.user_recording_bytes
        return Allowance(self.written, user, of_session, of_user) if of_session or of_user else None

    def admit_connection(self, source: str) -> Startup:
        """Count a new connection from `source`, or raise Refused(LimitReason) before a byte is spent on it."""
        if self.draining:
            raise Refused(LimitReason.DRAINING, "the gateway is closing down, try again in a moment")
        if not self.services.auth.penalties.allows_source(source):
            raise Refused(LimitReason.PENALTY, "too many failures from this address")
        lock = self.locks.source(source, self.clock.time())
        if lock is not None:
            raise Refused(LimitReason.LOCKED, lock.text)
        return self.startups.admit(source, self.reactor.seconds())

    def take_place(self, session: str, person: str, most: int | None) -> None:
        """A place for a session of `person`, who may have `most`, until it is over. Raises Refused(SESSIONS) or
        Refused(USER_SESSIONS)."""
        self.others.add(Cell.SESSIONS, 1)  # before the others are read, so that they see this one
        if (
            len(self.live) + self.opening + self.others.elsewhere(Cell.SESSIONS)
            >= self.services.limits.sessions
        ):
            self.others.add(Cell.SESSIONS, -1)
            raise Refused(LimitReason.SESSIONS, "the gateway has as many sessions as it may have")
        try:
            self.personal.take(session, person, most)
        except Refused:
            self.others.add(Cell.SESSIONS, -1)
            raise
        self.others.begin(session)
        self.opening += 1

    def opened(self, session: Session, right: Right | None) -> None:
        """A session that had a place is live from here on."""
        self.opening -= 1
        self.live.add(session, right)
        self.meters.add(SESSIONS_STARTED, session.door)
        self.meters.add(SESSIONS_LIVE, session.door)
        self.per_target.started(self.present.target_of(session.session_id))

    def not_opened(self, session: str) -> None:
        """A session that had a place will not be."""
        self.opening -= 1
        self._give_place(session)

    def know_locks(self, seconds: float) -> None:
        """They are known for so long."""
        self.locks_until = self.reactor.seconds() + slept(self.clock) + seconds

    def check_known(self) -> None:
        """Raises Refused(LOCKS_UNCONFIRMED) when nobody has said for too long what is locked: nothing new begins."""
        if not locks_known(self):
            self.meters.add(UNCONFIRMED_REFUSALS)
            raise Refused(LimitReason.LOCKS_UNCONFIRMED, UNCONFIRMED)

    def check_locks(self, identity: Identity, target: Target | None = None) -> None:
        """Raises Refused(PolicyReason.LOCKED) when somebody has locked whoever this is, the target or a hop to it, and
        when what was shown in proof has been revoked since."""
        if self.services.auth.revocation.names(shown_by(identity)):
            raise Refused(PolicyReason.LOCKED, REVOKED)
        locks = self.locks
        if not len(locks):
            return
        now = self.clock.time()
        lock = locks.party(party_of(identity), now) or (None if target is None else locks.target(target, now))
        if lock is not None:
            raise Refused(PolicyReason.LOCKED, lock.text)
        for hop in () if target is None else road_of(self.services.inventory, target):
            if (lock := locks.target(hop, now)) is not None:
                raise Refused(PolicyReason.LOCKED, f"its hop {hop.name} is {lock.text}")

    def check_locks_of_tunnel(self, identity: Identity, host: str, address: str = "") -> None:
        """The same of a tunnel to `host`; `address` is what it is connected to, once that is known."""
        self.check_known()
        self.check_locks(identity)
        lock = self.locks.tunnel(self.services.inventory, host, address or host, self.clock.time())
        if lock is not None:
            raise Refused(PolicyReason.LOCKED, lock.text)

    def pays_key_exchanges(self, name: str) -> Callable[[int], None]:
        """What a connection of `name`, or to its target, calls with the microseconds of what its peer asks for."""
        return lambda microseconds: self.budget.identity(name).spend(Work.KEY_EXCHANGE, microseconds)

    def session_ended(self, session: Session, end: End) -> None:
        """A session that was live is over."""
        self.live.remove(session)
        self.per_target.ended(self.present.target_of(session.session_id))
        self.present.remove(session.session_id)
        self.meters.add(SESSIONS_LIVE, session.door, by=-1)
        SessionMeters(self.meters, self.clock, session.session_id).add(
            SESSIONS_ENDED, session.door, end.reason
        )
        moved, size = session.moved_in_all()
        self.state.note(
            session_ended(session.session_id, ENDED, self.clock.time(), str(end.reason), moved, size)
        )
        self._give_place(session.session_id)

    def _give_place(self, session: str) -> None:
        self.personal.give(session)
        self.others.finish(session)
        self.others.add(Cell.SESSIONS, -1)

    def out_of_descriptors(self, what: str) -> None:
        """`what` (accept, dial, recording) found no file descriptor: counted, and told the operator now and then."""
        self.meters.add(DESCRIPTORS_EXHAUSTED, what)
        now = self.clock.monotonic()
        if now - self._descriptors_logged_at >= DESCRIPTORS_EVERY:
            self._descriptors_logged_at = now
            self.log.error("out of file descriptors ({what}): raise the limit of open files", what=what)

    def log_failure(self, doing: str, failure: Failure) -> None:
        """A fault of ours: the operator's log has the traceback, nobody else sees it."""
        self.log.failure("{doing} failed", failure=failure, doing=doing)


def locks_known(gateway: Gateway) -> bool:
    """Somebody has said not long ago what is locked; while the machine was suspended nobody has."""
    until = gateway.locks_until
    return until is None or bool(gateway.reactor.seconds() + slept(gateway.clock) < until)

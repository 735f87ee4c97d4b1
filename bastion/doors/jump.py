"""The jump door: an SSH connection inside a channel of the outer one, ended here and joined to its target.

`ssh -J bastion deploy@web1` opens `direct-tcpip web1:22` on the outer connection and speaks SSH inside. For a
target of the inventory the gateway is the server of that inner SSH: it shows a host certificate for the target,
takes the inner user name as the login there, and the rest is a session as through any other door. There is no
socket in between: the inner transport runs on the outer connection's channel.

Invariants: the identity of the session is the outer one; a target that is ended here is one that some rule lets
this identity reach, so that the words of a refusal reveal nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bastion.auth.factors import Chain
from bastion.auth.identity import Destination, Identity
from bastion.clock import Timers
from bastion.doors.authentication import Authentication
from bastion.doors.door import Asked, Outer
from bastion.doors.handshakes import COUNTED_ONLY, line_of, result_of
from bastion.doors.inner_authentication import InnerAuthentication
from bastion.doors.step_up import StepUp, context_of
from bastion.endpoint.channel import OuterChannel
from bastion.errors import HandshakeResult, PolicyReason, Refused
from bastion.observe.events.logins import Jump
from bastion.observe.meters import HANDSHAKES
from bastion.observe.spans import INTERRUPTED
from bastion.policy.grant import FactorsNeeded, Grant, LoginRefused, authorise
from bastion.policy.route import ToSession
from bastion.policy.targets import Target
from bastion.recording.store import new_session_id
from bastion.session.ending import End
from bastion.session.opening import Opening
from bastion.session.session import Session
from bastion.transport.settings import CloseReason
from bastion.transport.transport import server_transport
from bastion.userauth.server import UserauthService
from bastion.wire.forwards import TcpipOpen

UNPROVED_BURST: Final = 100
"""Inner connections of one outer connection that may end at once without a login, as unfinished logins of one
source at the front door (`limits.startups_per_source`). Any process of the engineer's machine can open them behind
`-L`, and the front door does not see them."""

UNPROVED_RATE: Final = 1.0
"""... and per second after that. 1,000 cost 0.2 s of CPU when they are only opened, 1.5 s with a key exchange and a
login that is refused; without a bound one connection writes 5,000 audit lines a second, 1.4 MB, and keeps a core
busy. What is left may be a port that is looked at once a second."""

SESSION_LINES: Final = 5
"""Lines of a session beside those of its channels: jump, auth, authorise, session_started, session_ended."""


@dataclass(frozen=True, slots=True)
class StdioMark:
    """What one client says as the originator of a channel that is its own standard input and output."""

    version: bytes
    originator: str
    port: int


STDIO_MARKS: Final = (
    # -J and -W: "fake addr/port to appease peers that validate it", because a pipe has no address.
    StdioMark(b"SSH-2.0-OpenSSH_", "127.0.0.1", 65535),
)
"""Clients that tell stdio forwarding from a forwarded socket. Measured for others: dbclient -B and -J say 127.0.0.1
port 22, which wherever low ports are free to all (containers, macOS) a local process can have too; PuTTY says
0.0.0.0 port 0 for both; asyncssh and paramiko say whatever their caller does. They prove the identity again, which
a key does without a word."""


def opened_as_stdio(version: bytes, place: TcpipOpen, peer_number: int, first: bool) -> bool:
    """True when the channel was opened as the client's own standard input is, which is half of the proof.

    The mark alone says nothing: a local process that connects to an `-L` port from 127.0.0.1 port 65535 looks the
    same, and gets number 0 when a listener before it was taken back. But OpenSSH opens the channel of `-W` before it
    says anything else (`first`), and only then says `no-more-sessions@openssh.com`, which is the other half: a client
    with listening sockets takes connections from its main loop, after it has said that, and one that shares its
    connection (ControlMaster), where all this can be imitated, never says it (OpenSSH ssh.c, ssh_session2; the
    same in 5.4 to 10). So who opened first, and says it after that, has nobody else behind this channel.
    """
    if not first or peer_number != 0:
        return False
    return any(
        version.startswith(mark.version)
        and (place.originator, place.originator_port) == (mark.originator, mark.port)
        for mark in STDIO_MARKS
    )


class _Unproved:
    """A leaky bucket of inner connections that ended before anybody had proved who is there."""

    __slots__ = ("_at", "_level")

    def __init__(self) -> None:
        self._level = self._at = 0.0

    def full(self, now: float) -> bool:
        """May none be opened at `now`, seconds of a monotonic clock?"""
        self._drain(now)
        return self._level > UNPROVED_BURST - 1

    def add(self, now: float) -> None:
        """One has ended at `now`."""
        self._drain(now)
        self._level += 1

    def _drain(self, now: float) -> None:
        self._level = max(0.0, self._level - max(0.0, now - self._at) * UNPROVED_RATE)
        self._at = now


class JumpDoor:
    """The `Door` to targets whose sessions are recorded: keeps the inner connections of one outer connection."""

    __slots__ = ("_inner", "_timers", "_unproved")

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._inner: set[InnerConnection] = set()
        self._unproved = _Unproved()

    def __len__(self) -> int:
        """Inner connections that are open."""
        return len(self._inner)

    def open(self, outer: Outer, channel: OuterChannel, asked: Asked | None) -> None:
        """Speak SSH inside `channel` as the server of the target that `asked` leads to."""
        assert asked is not None and isinstance(asked.way, ToSession)
        target = asked.way.target
        limit = outer.services.limits.sessions_per_connection
        if len(self._inner) >= limit:
            raise Refused(PolicyReason.CHANNEL_LIMIT, f"no more than {limit} sessions per connection")
        if self._unproved.full(self._timers.seconds()):
            raise Refused(PolicyReason.CHANNEL_RATE, "too many unfinished logins, try again in a moment")
        outer.pay_lines(SESSION_LINES)
        stdio = opened_as_stdio(outer.peer_version, asked.place, channel.peer, asked.first)
        session = new_session_id()
        # Before anything is granted: without its line, where that is required, there is no session.
        outer.emit(Jump(target=target.name, stdio=int(stdio), facts=asked.facts), session)
        self._inner.add(InnerConnection(outer, channel, target, session, stdio, self._ended))

    def _ended(self, inner: InnerConnection) -> None:
        self._inner.discard(inner)
        if not inner.proved:
            self._unproved.add(self._timers.seconds())

    def shut_down(self, end: End) -> None:
        for inner in list(self._inner):
            inner.end(end)

    def closed(self) -> None:
        self._inner.clear()


class InnerConnection:
    """One inner SSH connection, from the open of its channel to its end. `on_ended` is called once."""

    __slots__ = (
        "_began",
        "_gateway",
        "_on_ended",
        "_opening",
        "_outer",
        "_services",
        "_session",
        "_stdio",
        "_step_up",
        "_target",
        "_userauth",
        "id",
        "proved",
        "trace",
        "transport",
    )

    def __init__(
        self,
        outer: Outer,
        channel: OuterChannel,
        target: Target,
        session_id: str,
        stdio: bool,
        on_ended: Callable[[InnerConnection], None],
    ) -> None:
        self._outer = outer
        self._gateway = gateway = outer.gateway
        self._services = services = outer.services
        self._target = target
        self._stdio = stdio
        self._on_ended: Callable[[InnerConnection], None] | None = on_ended
        self._opening: Opening | None = None
        self._session: Session | None = None
        self.id = session_id
        self.proved = False  # somebody has shown to be the engineer of the outer connection
        settings = services.inner_host_keys.settings_for(target)
        self.transport = server_transport(settings, gateway.reactor, f"{session_id} inner")
        self._began = gateway.reactor.seconds()
        link = outer.trace
        self.trace = None if link is None else gateway.traces.inside(session_id, link)
        context = context_of(outer, self.id, self.trace)
        proof = Authentication(context)
        inner = InnerAuthentication(
            outer.identity, target.name, proof, self._needs_no_proof, self._authenticated
        )
        self._userauth: UserauthService | None = UserauthService(self.transport, inner, gateway.reactor)
        self._step_up: StepUp | None = StepUp(
            context, gateway.reactor, self._userauth.ask, settings.login_grace
        )
        proof.on_notice = self._userauth.banner
        self.transport.service = self._userauth.receive
        self.transport.on_secure = self._secured
        self.transport.on_closed = self.closed
        self.transport.keys.charge(gateway.pays_key_exchanges(outer.identity.name))
        channel.attach(self.transport)
        channel.confirm()
        self.transport.makeConnection(channel)

    def _secured(self) -> None:
        self._gateway.meters.add(HANDSHAKES, "jump", HandshakeResult.OK)
        if self.trace is not None:
            self.trace.took("key exchange", self._gateway.reactor.seconds() - self._began)
            self.trace.enter("authentication")

    # -- the identity ------------------------------------------------------------------------------------

    def _needs_no_proof(self, login: str) -> bool:
        """On the outer connection's word: the engineer's own client, or a rule that trusts forwards.

        Whatever answers our words inside was sent after the client had heard that its channel is open, so what it
        said of itself in one flight with the open has been read by now.
        """
        if self._stdio and self._outer.no_more_sessions:
            return True
        try:
            return self._authorise(login).trust_forwards
        except FactorsNeeded as needed:
            return needed.trust_forwards
        except Refused:
            return False

    def _authorise(self, login: str) -> Grant:
        identity, services = self._outer.identity, self._services
        now = self._gateway.clock.time()
        return authorise(
            services.policy,
            services.inventory,
            identity,
            self._target.name,
            login,
            identity.source_address,
            now,
        )

    # -- the session -------------------------------------------------------------------------------------

    def _authenticated(self, identity: Identity, destination: Destination, owed: Chain) -> None:
        """Whoever is there is the outer identity: the login grace ends, policy decides, the target is dialled."""
        assert self._userauth is not None
        self.proved = True
        if self.trace is not None:
            self.trace.leave()
        self.transport.end_login_grace()
        self._opening = Opening(self._gateway, "jump", self, self._userauth, identity, destination, owed)
        self._opening.begin()

    # -- session.opening.Engineer ------------------------------------------------------------------------

    @property
    def outer(self) -> str:
        return self._outer.id

    def refusal_text(self, refusal: Refused) -> str:
        """A refused login, with the command that works instead."""
        if not isinstance(refusal, LoginRefused):
            return refusal.text
        what = refusal.text.partition(";")[0]
        return f"{what}; use: ssh -J bastion {refusal.logins[0]}@{self._target.name}"

    async def prove(self, identity: Identity, destination: Destination, needed: FactorsNeeded) -> Identity:
        """For this session, and for what the outer connection opens in the time to come."""
        assert self._step_up is not None
        shown = Destination(identity.name, destination.login, self._target.name)
        proved = await self._step_up.prove(identity, shown, needed)
        self._outer.note_factors(needed.missing)
        return proved

    def started(self, session: Session) -> None:
        self._session = session
        self._opening = self._userauth = self._step_up = self.trace = None

    def closed(self, reason: CloseReason) -> None:
        opening, self._opening = self._opening, None
        userauth, self._userauth = self._userauth, None
        self._step_up = None
        if opening is not None:
            opening.cancel()
        if userauth is not None:
            userauth.stop()
        self.transport.on_secure = self.transport.on_closed = None
        trace, self.trace = self.trace, None
        if trace is not None:
            self._gateway.traces.finish(trace, "jump", self._target.name, INTERRUPTED)
        result = result_of(self.transport, reason)
        if result is not HandshakeResult.OK:
            self._gateway.meters.add(HANDSHAKES, "jump", result)
        if result not in COUNTED_ONLY:
            self._outer.handshake_failed(self.id, line_of(self.transport, result, reason, self._target.name))
        on_ended, self._on_ended = self._on_ended, None
        if on_ended is not None:
            on_ended(self)

    def end(self, end: End) -> None:
        """The outer connection is to end, or to end this."""
        if self._session is not None:
            self._session.end(end)
        else:
            self.transport.disconnect(end.code, end.line)

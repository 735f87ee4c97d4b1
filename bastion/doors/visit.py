"""The door of an outer connection: which room serves a channel that the engineer opens on it.

An outer connection (`ssh alice@bastion`, `ssh -J bastion web1`) belongs to an authenticated engineer and leads
to no target by itself. `session` channels go to the lobby; `direct-tcpip` to the SSH port of a target becomes a
session of its own (`doors.jump`); everything else that rules allow is a tunnel. What each of them needs to
know of the connection is a `Visit`.

Invariants: the SSH port of a target that could be recorded is never tunnelled, however it is spelt; a target that
this engineer may not reach is refused in the words that refuse what does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from bastion.auth.budget import Hold, Work
from bastion.auth.identity import Identity
from bastion.clock import DelayedCall
from bastion.doors.jump import InnerConnection, opened_as_stdio, reachable_at
from bastion.endpoint.connection import OuterChannel, OuterConnection
from bastion.errors import EndReason, LimitReason, PolicyReason, RecorderReason, Refused
from bastion.observe.audit import AuditFailed
from bastion.observe.meters import CHANNELS, REQUESTS
from bastion.policy.grant import check_credential, not_reachable
from bastion.policy.targets import Target
from bastion.recording.format import REF_LENGTH
from bastion.recording.store import new_session_id
from bastion.relay.limits import REFUSALS
from bastion.relay.paying import OPEN_LINES
from bastion.session.ending import End
from bastion.session.gateway import Gateway, Services
from bastion.session.paying import LINE_BYTES
from bastion.session.standing import Standing
from bastion.session.tap import AUDIT_TEXT
from bastion.transport.settings import ClosedBy, CloseReason
from bastion.transport.transport import ServerTransport
from bastion.wire.forwards import Detail, TcpipOpen
from bastion.wire.numbers import Disconnect, OpenFailure
from bastion.wire.printable import printable

LAST_WORDS = 1.0
"""Seconds between the end of the inner sessions and that of the outer connection. OpenSSH forgets what it has not
written yet when it reads a DISCONNECT, and with it the reason that stands inside."""

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


class Visit(Protocol):
    """One outer connection, for those who serve its channels."""

    gateway: Gateway
    id: str
    ref: str

    @property
    def services(self) -> Services:
        """The services of now: a channel that opens later gets those of a reload."""
        ...

    @property
    def identity(self) -> Identity:
        """Who is there, with the groups that the directory said last."""
        ...

    @property
    def no_more_sessions(self) -> bool:
        """The client has said so, as OpenSSH does when it shares its connection with nobody."""
        ...

    def check_fresh(self) -> None:
        """Raises Refused when this login may open nothing new (age, expiry, source)."""
        ...

    def unreachable(self, host: str, port: int) -> Refused:
        """The one answer for what does not exist and for what is not this engineer's."""
        ...

    def pay_lines(self, count: int) -> None:
        """Pay for `count` audit lines of what is about to happen. Raises Refused(BUDGET_LOG)."""
        ...

    def note(self, event: str, **fields: str | int) -> None:
        """One audit line with the connection, its user and source."""
        ...

    def handshake_failed(self, session: str, target: str, fields: dict[str, Any]) -> None:
        """One line about an inner connection that never got as far as a login; its identity pays for it."""
        ...

    def emit(self, event: str, **fields: str | int) -> None:
        """The same about something that is to be allowed. Raises AuditFailed when it must be there and is not."""
        ...


class OpenSession(Protocol):
    """`doors.lobby.open_session`: serve a session channel. May raise Refused before confirming it."""

    def __call__(self, visit: Visit, channel: OuterChannel) -> None: ...


class OpenTunnel(Protocol):
    """`doors.tunnel.open_tunnel`: carry `place`, which is no SSH target that could be recorded.

    `target` is the gateway (`kind = "gateway"`) that it is, when it is one. May raise Refused before confirming.
    """

    def __call__(
        self, visit: Visit, channel: OuterChannel, place: TcpipOpen, target: Target | None
    ) -> None: ...


class OuterVisit:
    """One outer connection from its USERAUTH_SUCCESS to its end: `endpoint.connection.OuterDoor` and `Visit`."""

    __slots__ = (
        "_closing",
        "_inner",
        "_keepalive",
        "_opened",
        "_outer",
        "_refused",
        "_standing",
        "_transport",
        "_unproved",
        "gateway",
        "id",
        "ref",
    )

    def __init__(
        self, gateway: Gateway, transport: ServerTransport, connection: str, identity: Identity
    ) -> None:
        self.gateway = gateway
        self._standing = Standing(gateway, identity)
        self.id = connection
        self.ref = connection[:REF_LENGTH]
        self._transport = transport
        self._outer = OuterConnection(transport, self, gateway.reactor)
        self._inner: set[InnerConnection] = set()
        self._unproved = _Unproved()
        self._opened = 0
        self._refused = 0
        self._keepalive = _Keepalive(self._outer, gateway, self._silent)
        self._closing: DelayedCall | None = None

    def start(self) -> None:
        """From now on the connection's messages come here. Call it in the turn of USERAUTH_SUCCESS."""
        self.note("outer_started", uid=self.identity.uid)
        self._outer.start()
        self._transport.receiver = self._outer
        self._keepalive.start()

    # -- Visit -------------------------------------------------------------------------------------------

    @property
    def services(self) -> Services:
        return self.gateway.services

    @property
    def identity(self) -> Identity:
        return self._standing.identity

    @property
    def no_more_sessions(self) -> bool:
        return self._outer.no_more_sessions

    def check_fresh(self) -> None:
        if self.gateway.draining:
            raise Refused(LimitReason.DRAINING, "the gateway is closing down, try again")
        identity = self.identity
        check_credential(self.services.policy, identity, identity.source_address, self.gateway.clock.time())

    def unreachable(self, host: str, port: int) -> Refused:
        services, identity = self.services, self.identity
        known = services.inventory.is_ssh_place(host, port)
        text = not_reachable(services.policy, services.inventory, identity, host, identity.source_address)
        hint = self._right_port(host, port)
        return Refused(PolicyReason.NO_RULE if known else PolicyReason.UNKNOWN_TARGET, hint or text)

    def _right_port(self, host: str, port: int) -> str:
        """For a name that this engineer may reach and a port where it is not."""
        target = self.services.inventory.find(host)
        if target is None or port == target.port:
            return ""
        if (
            reachable_at(self.services, self.identity, TcpipOpen(target.name, target.port, "", 0))
            is not target
        ):
            return ""
        return (
            f"{target.name} is reached at port {target.port}: ssh -J bastion -p {target.port} {target.name}"
        )

    def pay_lines(self, count: int) -> None:
        self.gateway.budget.identity(self.identity.name).spend(Work.LOG, count * LINE_BYTES)

    def note(self, event: str, **fields: str | int) -> None:
        about = self._about() | fields
        if event != "refused":  # what it tells of was paid when it was let happen
            self.gateway.audit.note(event, **about)
            return
        purse = self.gateway.budget.identity(self.identity.name)
        self.gateway.rationed.note(purse, self.identity.name, event, **about)
        self._refused += 1
        if self._refused == REFUSALS + 1:  # as in a session: a line each, so one peer fills no disk
            self._transport.disconnect(Disconnect.PROTOCOL_ERROR, "bastion: too many refused requests")

    def handshake_failed(self, session: str, target: str, fields: dict[str, Any]) -> None:
        gateway, who = self.gateway, self.identity.name
        about: dict[str, Any] = self._about() | {"target": target} | fields
        del about["ref"]  # the session's own, not the connection's
        gateway.rationed.note(gateway.budget.identity(who), who, "handshake_failed", session=session, **about)

    def emit(self, event: str, **fields: str | int) -> None:
        self.gateway.audit.emit(event, **(self._about() | fields))

    def _about(self) -> dict[str, Any]:
        return {
            "connection": self.id,
            "ref": self.ref,
            "user": self.identity.name,
            "source": self.identity.source_address,
        }

    # -- endpoint.connection.OuterDoor -------------------------------------------------------------------------------

    def open_session(self, channel: OuterChannel) -> None:
        self._opened += 1

        def serve() -> None:
            from bastion.doors.lobby import open_session

            self._count_others()
            self.check_fresh()
            self.pay_lines(1)
            open_session(self, channel)

        self._serve(channel, {}, serve)

    def open_direct_tcpip(self, channel: OuterChannel, place: TcpipOpen, first: bool) -> None:
        self._opened += 1
        self._serve(channel, place.detail(), lambda: self._lead(channel, place, first))

    def hold(self, size: int) -> Hold | None:
        try:
            return self.gateway.budget.identity(self.identity.name).take(Work.BUFFERED, size)
        except Refused as refusal:
            self.note("refused", what="buffer", reason=refusal.reason, text=refusal.text)
            return None

    def refused(self, what: str, name: str, reason: PolicyReason, text: str, detail: Detail) -> None:
        family = CHANNELS if what == "channel" else REQUESTS
        self.gateway.meters.add(family, name, reason)
        key = "kind" if what == "channel" else "name"
        about = {"what": what, key: printable(name, 64), "reason": reason, "text": text}
        self.note("refused", **(about | _plain(detail)))

    def _serve(self, channel: OuterChannel, detail: Detail, serve: Callable[[], None]) -> None:
        """Run what answers the channel, once the account is known to be one; refusals are written down here."""
        waiting = _Waiting()
        channel.attach(waiting)

        def answered(refusal: Refused | None) -> None:
            if waiting.over:
                return
            if refusal is None:
                self._answer(channel, detail, serve)
            else:
                self._refuse(channel, refusal, detail)

        self._standing.ask(answered)

    def _answer(self, channel: OuterChannel, detail: Detail, serve: Callable[[], None]) -> None:
        try:
            serve()
        except Refused as refusal:
            self._refuse(channel, refusal, detail)
        except AuditFailed:
            self._refuse(channel, Refused(RecorderReason.AUDIT_FAILED, AUDIT_TEXT), detail)

    def _refuse(self, channel: OuterChannel, refusal: Refused, detail: Detail) -> None:
        reason = refusal.reason
        if isinstance(reason, PolicyReason):
            self.gateway.meters.add(CHANNELS, channel.kind, reason)
        self.note(
            "refused", what="channel", kind=channel.kind, reason=reason, text=refusal.text, **_plain(detail)
        )
        shortage = reason in (PolicyReason.CHANNEL_LIMIT, PolicyReason.CHANNEL_RATE) or isinstance(
            reason, LimitReason
        )
        code = OpenFailure.RESOURCE_SHORTAGE if shortage else OpenFailure.ADMINISTRATIVELY_PROHIBITED
        channel.refuse(code, f"{refusal.text} (ref {self.ref})")

    # -- direct-tcpip --------------------------------------------------------------------------------------

    def _lead(self, channel: OuterChannel, place: TcpipOpen, first: bool) -> None:
        """A session, a tunnel, or the one answer for what is not there and what is not this engineer's."""
        services = self.services
        target = reachable_at(services, self.identity, place)
        if target is not None and target.kind == "ssh":
            self._jump(channel, place, target, first)
            return
        # What is refused for another reason than its name is refused before anybody looks at the name: the answer
        # would tell a target that is not this engineer's from what does not exist.
        self._count_others()
        self.check_fresh()
        self.pay_lines(OPEN_LINES)
        if target is None and services.inventory.is_ssh_place(place.host, place.port):
            raise self.unreachable(place.host, place.port)
        if not 1 <= place.port <= 65535:
            raise self.unreachable(place.host, place.port)
        from bastion.doors.tunnel import open_tunnel

        open_tunnel(self, channel, place, target)

    def _jump(self, channel: OuterChannel, place: TcpipOpen, target: Target, first: bool) -> None:
        limit = self.services.limits.sessions_per_connection
        if len(self._inner) >= limit:
            raise Refused(PolicyReason.CHANNEL_LIMIT, f"no more than {limit} sessions per connection")
        if self._unproved.full(self.gateway.reactor.seconds()):
            raise Refused(PolicyReason.CHANNEL_RATE, "too many unfinished logins, try again in a moment")
        self.pay_lines(SESSION_LINES)
        stdio = opened_as_stdio(self._transport.peer_version, place, channel.peer, first)
        session = new_session_id()
        # Before anything is granted: without its line, where that is required, there is no session.
        self.emit("jump", session=session, target=target.name, stdio=int(stdio), **_plain(place.detail()))
        self._inner.add(InnerConnection(self, channel, target, session, stdio, self._inner_ended))

    def _inner_ended(self, inner: InnerConnection) -> None:
        self._inner.discard(inner)
        if not inner.proved:
            self._unproved.add(self.gateway.reactor.seconds())

    def _count_others(self) -> None:
        """Tunnels and lobby channels together, this one included."""
        limit = self.services.limits.channels
        if len(self._outer) - len(self._inner) > limit:
            raise Refused(PolicyReason.CHANNEL_LIMIT, f"no more than {limit} channels per connection")

    # -- endings -------------------------------------------------------------------------------------------

    def _silent(self) -> None:
        end = End(EndReason.KEEPALIVE, "the client does not answer any more", ref=self.ref)
        self._end_inner(end)
        self._transport.disconnect(end.code, end.told)

    def _end_inner(self, end: End) -> None:
        for inner in list(self._inner):
            inner.end(end)

    def shut_down(self, text: str) -> None:
        """End all that is inside, then the connection: as soon as its channels are gone, or a moment later."""
        self._keepalive.stop()
        self._end_inner(End(EndReason.SHUTDOWN, text, ref=self.ref))
        if self._closing is None:
            wait = LAST_WORDS if len(self._outer) else 0.0
            self._closing = self.gateway.reactor.callLater(wait, self._disconnect, text)

    def _disconnect(self, text: str) -> None:
        self._closing = None
        self._transport.disconnect(Disconnect.BY_APPLICATION, f"bastion: {text}")

    def closed(self, reason: CloseReason) -> None:
        """The connection is over, and all that was inside."""
        self._keepalive.stop()
        self._standing.stop()
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        clean = reason.by is not ClosedBy.NETWORK
        self._outer.lost(Failure(ConnectionDone() if clean else ConnectionLost()))  # type: ignore[no-untyped-call]
        self._inner.clear()
        self.note("outer_ended", text=printable(reason.text), channels=self._opened)


class _Waiting:
    """Owns a channel between its open and the answer, in which the client can say nothing on it."""

    __slots__ = ("over",)

    def __init__(self) -> None:
        self.over = False

    def dataReceived(self, data: bytes) -> None: ...

    def readConnectionLost(self) -> None: ...

    def connectionLost(self, reason: Failure) -> None:
        self.over = True


class _Keepalive:
    """Asks a silent client whether it lives. An inner session's traffic is an answer too."""

    __slots__ = ("_count", "_heard", "_interval", "_missed", "_on_silent", "_outer", "_reactor", "_timer")

    def __init__(self, outer: OuterConnection, gateway: Gateway, on_silent: Callable[[], None]) -> None:
        self._outer = outer
        self._reactor = gateway.reactor
        limits = gateway.services.limits
        self._interval, self._count = limits.keepalive_interval, limits.keepalive_count
        self._on_silent: Callable[[], None] | None = on_silent
        self._heard = 0
        self._missed = 0
        self._timer: DelayedCall | None = None

    def start(self) -> None:
        if self._interval:
            self._timer = self._reactor.callLater(self._interval, self._look)

    def _look(self) -> None:
        self._timer = None
        heard = self._outer.heard
        self._missed = self._missed + 1 if heard == self._heard else 0
        self._heard = heard
        if self._missed > self._count and self._on_silent is not None:
            self._on_silent()
            return
        if self._missed:
            self._outer.ask_alive(_alive)
        self.start()

    def stop(self) -> None:
        self._on_silent = None
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


def _alive() -> None:
    """The answer counts as something heard; there is nothing more in it."""


def _plain(detail: Mapping[str, str | int]) -> dict[str, str | int]:
    """A channel's facts for the audit log: the client's text, cut and with nothing hidden in it."""
    return {key: printable(value, 255) if isinstance(value, str) else value for key, value in detail.items()}

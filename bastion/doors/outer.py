"""An outer connection and the doors on it: which of them serves a channel that the engineer opens.

An outer connection (`ssh alice@bastion`, `ssh -J bastion web1`) belongs to an authenticated engineer and leads
to no target by itself. `session` channels go to the lobby; `direct-tcpip` to the SSH port of a target becomes a
session of its own (`doors.jump`); everything else that rules allow is a tunnel. Each of the three is a `Door`, and
sees the connection as an `Outer` (`doors.door`).

Invariants: the SSH port of a target that could be recorded is never tunnelled, however it is spelt; a target that
this engineer may not reach is refused in the words that refuse what does not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from bastion.auth.budget import Hold, Work
from bastion.auth.factors import Chain
from bastion.auth.identity import Identity
from bastion.clock import DelayedCall
from bastion.doors.door import Asked, Door
from bastion.doors.jump import JumpDoor
from bastion.doors.lobby import LobbyDoor
from bastion.doors.step_up import NotedFactors
from bastion.doors.tunnel import TunnelDoor
from bastion.endpoint.channel import OuterChannel
from bastion.endpoint.connection import OuterConnection
from bastion.errors import EndReason, LimitReason, PolicyReason, RecorderReason, Refused
from bastion.observe.audit import AuditFailed
from bastion.observe.events import NOWHERE, About, AuditEvent, Facts
from bastion.observe.events.logins import HandshakeFailed, OuterEnded, OuterStarted
from bastion.observe.events.refusals import BufferRefused, ChannelRefused, Refusal, RequestRefused
from bastion.observe.meters import CHANNELS, REQUESTS
from bastion.observe.spans import Link
from bastion.policy.grant import check_credential
from bastion.policy.route import Nowhere, ToSession, route, unreachable
from bastion.recording.format import REF_LENGTH
from bastion.relay.limits import REFUSALS
from bastion.relay.paying import OPEN_LINES
from bastion.session.ending import End
from bastion.session.gateway import Gateway, Services
from bastion.session.paying import LINE_BYTES
from bastion.session.session import PARTING
from bastion.session.standing import Standing
from bastion.session.tap import AUDIT_TEXT
from bastion.transport.settings import ClosedBy, CloseReason
from bastion.transport.transport import Transport
from bastion.wire.body import Detail
from bastion.wire.forwards import TcpipOpen
from bastion.wire.numbers import Disconnect, OpenFailure
from bastion.wire.printable import printable

LAST_WORDS = 1.0
"""Seconds between the end of the inner sessions and that of the outer connection. OpenSSH forgets what it has not
written yet when it reads a DISCONNECT, and with it the reason that stands inside."""


class OuterDoors:
    """One outer connection from its USERAUTH_SUCCESS to its end: the endpoint's `ChannelRouter`, its doors' `Outer`."""

    __slots__ = (
        "_closing",
        "_connection",
        "_jump",
        "_keepalive",
        "_lobby",
        "_noted",
        "_opened",
        "_refused",
        "_standing",
        "_transport",
        "_tunnel",
        "gateway",
        "id",
        "ref",
        "trace",
    )

    def __init__(
        self,
        gateway: Gateway,
        transport: Transport,
        connection: str,
        identity: Identity,
        trace: Link | None = None,
    ) -> None:
        self.gateway = gateway
        self.trace = trace
        self._standing = Standing(gateway, identity)
        self._noted = NotedFactors(gateway.reactor)
        self.id = connection
        self.ref = connection[:REF_LENGTH]
        self._transport = transport
        self._connection = OuterConnection(transport, self, gateway.reactor)
        self._lobby, self._jump, self._tunnel = LobbyDoor(), JumpDoor(gateway.reactor), TunnelDoor()
        self._opened = 0
        self._refused = 0
        self._keepalive = _Keepalive(self._connection, gateway, self._silent)
        self._closing: DelayedCall | None = None

    def start(self) -> None:
        """From now on the connection's messages come here. Call it in the turn of USERAUTH_SUCCESS."""
        self.note(OuterStarted(self.identity.uid))
        self._connection.start()
        self._transport.receiver = self._connection.burst
        news = self.services.inner_host_keys.front.news(self._transport.keys)
        if news is not None:
            self._connection.tell_host_keys(news.message(), news.prove)
        self._keepalive.start()

    # -- Outer -------------------------------------------------------------------------------------------

    @property
    def services(self) -> Services:
        return self.gateway.services

    @property
    def identity(self) -> Identity:
        return self._noted.added_to(self._standing.identity)

    def note_factors(self, factors: Chain) -> None:
        self._noted.note(factors, self.services.auth.factor_ttl)

    @property
    def peer_version(self) -> bytes:
        return self._transport.keys.peer_version

    @property
    def no_more_sessions(self) -> bool:
        return self._connection.no_more_sessions

    def check_fresh(self) -> None:
        if self.gateway.draining:
            raise Refused(LimitReason.DRAINING, "the gateway is closing down, try again")
        identity = self.identity
        check_credential(self.services.policy, identity, identity.source_address, self.gateway.clock.time())

    def unreachable(self, host: str, port: int) -> Refused:
        services, identity = self.services, self.identity
        now = self.gateway.clock.time()
        return unreachable(
            services.policy, services.inventory, identity, host, port, identity.source_address, now
        )

    def pay_lines(self, count: int) -> None:
        self.gateway.budget.identity(self.identity.name).spend(Work.LOG, count * LINE_BYTES)

    def note(self, event: AuditEvent) -> None:
        if not isinstance(event, Refusal):  # what it tells of was paid when it was let happen
            self.gateway.audit.note(event, self._about())
            return
        purse = self.gateway.budget.identity(self.identity.name)
        self.gateway.rationed.note(purse, self.identity.name, event, self._about())
        self._refused += 1
        if self._refused == REFUSALS + 1:  # as in a session: a line each, so one peer fills no disk
            self._transport.disconnect(Disconnect.PROTOCOL_ERROR, "bastion: too many refused requests")

    def handshake_failed(self, session: str, event: HandshakeFailed) -> None:
        gateway, who = self.gateway, self.identity.name
        about = replace(self._about(), session=session, ref="")  # the session's own, not the connection's
        gateway.rationed.note(gateway.budget.identity(who), who, event, about)

    def emit(self, event: AuditEvent, session: str = "") -> None:
        self.gateway.audit.emit(event, self._about(session))

    def _about(self, session: str = "") -> About:
        identity = self.identity
        return About(session, self.ref, self.id, identity.name, identity.source_address)

    # -- endpoint.connection.ChannelRouter ---------------------------------------------------------------

    def open_session(self, channel: OuterChannel) -> None:
        self._opened += 1

        def serve() -> None:
            self._count_others()
            self.check_fresh()
            self.pay_lines(1)
            self._lobby.open(self, channel, None)

        self._serve(channel, NOWHERE, serve)

    def open_direct_tcpip(self, channel: OuterChannel, place: TcpipOpen, first: bool) -> None:
        self._opened += 1
        facts = facts_of(place.detail())
        self._serve(channel, facts, lambda: self._lead(channel, place, first, facts))

    def hold(self, size: int) -> Hold | None:
        try:
            return self.gateway.budget.identity(self.identity.name).take(Work.BUFFERED, size)
        except Refused as refusal:
            self.note(BufferRefused(refusal.reason, refusal.text))
            return None

    def refused(self, what: str, name: str, reason: PolicyReason, text: str, detail: Detail) -> None:
        shown, facts = printable(name, 64), facts_of(detail)
        if what == "channel":
            self.gateway.meters.add(CHANNELS, name, reason)
            self.note(ChannelRefused(kind=shown, reason=reason, text=text, facts=facts))
        else:
            self.gateway.meters.add(REQUESTS, name, reason)
            self.note(RequestRefused(name=shown, reason=reason, text=text, facts=facts))

    def _serve(self, channel: OuterChannel, facts: Facts, serve: Callable[[], None]) -> None:
        """Run what answers the channel, once the account is known to be one; refusals are written down here."""
        waiting = _Waiting()
        channel.attach(waiting)

        def answered(refusal: Refused | None) -> None:
            if waiting.over:
                return
            if refusal is None:
                self._answer(channel, facts, serve)
            else:
                self._refuse(channel, refusal, facts)

        self._standing.ask(answered)

    def _answer(self, channel: OuterChannel, facts: Facts, serve: Callable[[], None]) -> None:
        try:
            serve()
        except Refused as refusal:
            self._refuse(channel, refusal, facts)
        except AuditFailed:
            self._refuse(channel, Refused(RecorderReason.AUDIT_FAILED, AUDIT_TEXT), facts)

    def _refuse(self, channel: OuterChannel, refusal: Refused, facts: Facts) -> None:
        reason = refusal.reason
        if isinstance(reason, PolicyReason):
            self.gateway.meters.add(CHANNELS, channel.kind, reason)
        self.note(ChannelRefused(kind=channel.kind, reason=reason, text=refusal.text, facts=facts))
        shortage = reason in (PolicyReason.CHANNEL_LIMIT, PolicyReason.CHANNEL_RATE) or isinstance(
            reason, LimitReason
        )
        code = OpenFailure.RESOURCE_SHORTAGE if shortage else OpenFailure.ADMINISTRATIVELY_PROHIBITED
        channel.refuse(code, f"{refusal.text} (ref {self.ref})")

    # -- direct-tcpip --------------------------------------------------------------------------------------

    def _lead(self, channel: OuterChannel, place: TcpipOpen, first: bool, facts: Facts) -> None:
        """A session, a tunnel, or the one answer for what is not there and what is not this engineer's."""
        services, identity = self.services, self.identity
        way = route(
            services.policy,
            services.inventory,
            identity,
            place.host,
            place.port,
            identity.source_address,
            self.gateway.clock.time(),
        )
        if isinstance(way, ToSession):
            waits = services.inner_host_keys.prepare(way.target)
            if waits is not None:  # the agent that signs host certificates
                self._wait(waits, channel, facts, lambda: self._lead(channel, place, first, facts))
                return
            self._jump.open(self, channel, Asked(place, way, first, facts))
            return
        # What is refused for another reason than its name is refused before the name is answered for: the answer
        # would tell a target that is not this engineer's from what does not exist.
        self._count_others()
        self.check_fresh()
        self.pay_lines(OPEN_LINES)
        if isinstance(way, Nowhere):
            raise self.unreachable(place.host, place.port)
        self._tunnel.open(self, channel, Asked(place, way, first, facts))

    def _wait(
        self, ready: Deferred[None], channel: OuterChannel, facts: Facts, serve: Callable[[], None]
    ) -> None:
        """Answer the channel once that is there; what refuses it is written down."""
        waiting = _Waiting()
        channel.attach(waiting)

        def done(_: None) -> None:
            if not waiting.over:
                self._answer(channel, facts, serve)

        def failed(failure: Failure) -> None:
            if not isinstance(failure.value, Refused):
                self.gateway.log_failure("making a host certificate", failure)
                channel.abortConnection()
            elif not waiting.over:
                self._refuse(channel, failure.value, facts)

        ready.addCallbacks(done, failed)

    def _count_others(self) -> None:
        """Tunnels and lobby channels together, this one included."""
        limit = self.services.limits.channels
        if len(self._connection) - len(self._jump) > limit:
            raise Refused(PolicyReason.CHANNEL_LIMIT, f"no more than {limit} channels per connection")

    # -- endings -------------------------------------------------------------------------------------------

    def _silent(self) -> None:
        end = End(EndReason.KEEPALIVE, "the client does not answer any more", ref=self.ref)
        self._shut_doors(end)
        self._transport.disconnect(end.code, end.line)

    @property
    def idle(self) -> bool:
        """It has no channel."""
        return not len(self._connection)

    @property
    def _doors(self) -> tuple[Door, ...]:
        return self._lobby, self._jump, self._tunnel

    def _shut_doors(self, end: End) -> None:
        for door in self._doors:
            door.shut_down(end)

    def shut_down(self, text: str) -> None:
        """End all that is inside, then the connection: as soon as its channels are gone, or a moment later."""
        self._keepalive.stop()
        self._shut_doors(End(EndReason.SHUTDOWN, text, ref=self.ref))
        if self._closing is None:
            wait = LAST_WORDS if len(self._connection) else 0.0
            self._closing = self.gateway.reactor.callLater(
                wait, self._disconnect, End(EndReason.SHUTDOWN, text)
            )

    def end(self, end: End) -> None:
        """Somebody ends the connection: all that is inside, and then itself, a moment later and not as patiently."""
        self._keepalive.stop()
        self._shut_doors(end)
        if self._closing is not None:
            self._closing.cancel()
        wait = PARTING + PARTING if len(self._connection) else 0.0
        self._closing = self.gateway.reactor.callLater(wait, self._disconnect, end)

    def _disconnect(self, end: End) -> None:
        self._closing = None
        self._transport.disconnect(end.code, end.line)

    def closed(self, reason: CloseReason) -> None:
        """The connection is over, and all that was inside."""
        self._keepalive.stop()
        self._standing.stop()
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        clean = reason.by is not ClosedBy.NETWORK
        self._connection.lost(Failure(ConnectionDone() if clean else ConnectionLost()))  # type: ignore[no-untyped-call]
        for door in self._doors:
            door.closed()
        self.note(OuterEnded(printable(reason.text), self._opened))


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

    __slots__ = (
        "_connection",
        "_count",
        "_heard",
        "_interval",
        "_missed",
        "_on_silent",
        "_reactor",
        "_timer",
    )

    def __init__(self, outer: OuterConnection, gateway: Gateway, on_silent: Callable[[], None]) -> None:
        self._connection = outer
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
        heard = self._connection.heard
        self._missed = self._missed + 1 if heard == self._heard else 0
        self._heard = heard
        if self._missed > self._count and self._on_silent is not None:
            self._on_silent()
            return
        if self._missed:
            self._connection.ask_alive(_alive)
        self.start()

    def stop(self) -> None:
        self._on_silent = None
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


def _alive() -> None:
    """The answer counts as something heard; there is nothing more in it."""


def facts_of(detail: Detail) -> Facts:
    """A channel's facts for the audit log: the client's text, cut and with nothing hidden in it."""
    shown = {key: printable(value, 255) for key, value in detail.items() if isinstance(value, str)}
    numbers = {key: value for key, value in detail.items() if isinstance(value, int)}
    return Facts(
        host=shown.get("host", ""),
        port=numbers.get("port"),
        path=shown.get("path", ""),
        originator=shown.get("originator", ""),
        originator_port=numbers.get("originator_port"),
    )

"""A tunnel: the bytes of one channel of an outer connection, to and from a place that is no SSH target.

`ssh -L`, `-D` and `-W` without a session. Policy decides about the name and then about the address (`policy.tunnel`),
the gateway connects to that very address, and pumps. Nothing is recorded, for nobody could replay it; it is counted,
and the audit log has a line when it opens and one when it ends.

Invariants: the client hears of success when the far side is connected and the audit line is written; SSH does not
pass unless a rule says so; a tunnel ends with its channel, its far side, its limits and its grant, once. Back-pressure
is the sockets': whoever takes nothing pauses the other, and nothing is queued here but the first three bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from bastion.clock import DelayedCall
from bastion.doors.door import Asked, Outer
from bastion.doors.step_up import without_asking
from bastion.endpoint.channel import OuterChannel
from bastion.errors import (
    LimitReason,
    PolicyReason,
    Reason,
    RecorderReason,
    Refused,
    TunnelReason,
    UpstreamReason,
)
from bastion.net.connect import reach
from bastion.net.socket import Client
from bastion.observe.audit import AuditFailed
from bastion.observe.events.refusals import TunnelRefused
from bastion.observe.events.tunnels import TunnelClosed, TunnelOpened, TunnelSsh
from bastion.observe.meters import BYTES, CHANNELS, CHANNELS_LIVE, TUNNEL_DIALS, TUNNELS_ENDED
from bastion.policy.locks import party_of
from bastion.policy.patterns import canonical
from bastion.policy.route import ToGateway
from bastion.policy.tunnel import TunnelGrant, TunnelRoute, authorise_tunnel
from bastion.relay.first_bytes import FirstBytes, Look
from bastion.session.ending import BEFORE_IT_BEGAN, End
from bastion.session.present import Counts, Kind, Present
from bastion.session.tap import AUDIT_TEXT
from bastion.session.watch import CALENDAR_LOOK
from bastion.sides import Side
from bastion.state.rows import ENDED, Moved, TunnelStart, tunnel_ended, tunnel_started
from bastion.wire.forwards import TcpipOpen
from bastion.wire.numbers import OpenFailure

LINGER = 10.0
"""Seconds that a far side gets to take what was sent to it after the client closed the channel."""

KIND = "tunnel"

ENDED_BY_SOMEBODY: Final = {why: TunnelReason(why) for why in BEFORE_IT_BEGAN}
"""What ends a tunnel although its connection may go on."""


class TunnelDoor:
    """The `Door` to what is no target, or a gateway of the inventory. Keeps nothing of what goes through."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: set[Tunnel] = set()

    def open(self, outer: Outer, channel: OuterChannel, asked: Asked | None) -> None:
        """Carry `channel` to `asked.place`. Raises Refused before anything is resolved or dialled."""
        assert asked is not None
        services, place = outer.services, asked.place
        try:
            grant = authorise_tunnel(
                services.policy,
                services.inventory,
                outer.identity,
                place.host,
                place.port,
                outer.identity.source_address,
                outer.gateway.clock.time(),
                asked.way if isinstance(asked.way, ToGateway) else None,
            )
        except Refused as refusal:
            raise _in_the_doors_words(outer, place, refusal) from None
        outer.gateway.check_locks_of_tunnel(outer.identity, place.host)
        tunnel = Tunnel(outer, channel, place, grant, self._open.discard)
        self._open.add(tunnel)
        tunnel.start()

    def shut_down(self, end: End) -> None:
        """A tunnel has nobody to speak to: it ends with the connection, or at once when somebody ends that."""
        if end.reason in ENDED_BY_SOMEBODY:
            for tunnel in list(self._open):
                tunnel.end(end)

    def closed(self) -> None:
        """Each tunnel has heard of it as the owner of its channel."""


def _in_the_doors_words(outer: Outer, place: TcpipOpen, refusal: Refused) -> Refused:
    """What no rule allows, and what is a target under another name, read like what does not exist."""
    if refusal.reason in (PolicyReason.DESTINATION_NOT_ALLOWED, PolicyReason.NESTED_SSH):
        return Refused(refusal.reason, outer.unreachable(place.host, place.port).text)
    return without_asking(outer, place, refusal)


@dataclass(slots=True)
class _Timers:
    """What is running; each is cancelled when the tunnel ends."""

    dial: DelayedCall | None = None
    end: DelayedCall | None = None

    def stop(self) -> None:
        for timer in (self.dial, self.end):
            if timer is not None and timer.active():
                timer.cancel()
        self.dial = self.end = None


class Tunnel:
    """One tunnel, from the decision to its end. The owner of its channel (`endpoint.channel.ChannelOwner`)."""

    def __init__(
        self,
        outer: Outer,
        channel: OuterChannel,
        place: TcpipOpen,
        grant: TunnelGrant,
        on_ended: Callable[[Tunnel], None],
    ) -> None:
        self._on_ended = on_ended
        self._outer = outer
        self._gateway = outer.gateway
        self._channel: OuterChannel | None = channel
        self._place = place
        self._grant = grant
        self._number = channel.number
        self._own = outer.services.dialler.own
        self._routes: dict[str, TunnelRoute] = {}
        self._route: TunnelRoute | None = None
        self._far: Client | None = None
        self._first: FirstBytes | None = FirstBytes()
        self._ssh = False
        self._moved = [0, 0]
        self._ended = [False, False]  # EOF, by the side that sent it
        self._timers = _Timers()
        self._began: float | None = None
        self._ends_at = 0.0
        self._reaching: Deferred[Any] | None = None
        meters = self._gateway.meters
        self._cells = meters.cell(BYTES, KIND, "to_target"), meters.cell(BYTES, KIND, "to_client")

    def start(self) -> None:
        """Resolve and dial; the channel is answered when that has ended."""
        channel, outer, gateway = self._channel, self._outer, self._gateway
        assert channel is not None
        channel.attach(self)
        self._be_present()
        timeout = outer.services.dialler.timeout
        self._timers.dial = gateway.reactor.callLater(timeout, self._late)
        self._reaching = Deferred.fromCoroutine(
            reach(
                gateway.reactor,
                self._grant.host,
                self._grant.port,
                judge=self._judge,
                build=self._build,
                timeout=timeout,
                payer=gateway.budget.identity(outer.identity.name),
            )
        )
        self._reaching.addErrback(self._not_reached)

    # -- reaching the far side ---------------------------------------------------------------------------

    def _judge(self, address: str) -> None:
        try:
            self._routes[address] = self._grant.route(address, self._own)
        except Refused as refusal:
            raise _in_the_doors_words(self._outer, self._place, refusal) from None

    def _build(self, address: str) -> _FarProtocol:
        self._route = self._routes[address]
        return _FarProtocol(self)

    def _not_reached(self, failure: Failure) -> None:
        """Nobody waits any more when `_stop` has cancelled it."""
        if isinstance(failure.value, Refused):
            self._fail(failure.value.reason, failure.value.text)
        elif self._reaching is not None:
            self._gateway.log_failure("opening a tunnel", failure)

    def _late(self) -> None:
        self._fail(UpstreamReason.CONNECT_TIMEOUT, "no answer to the connection attempt")

    def _fail(self, reason: Reason, text: str) -> None:
        """The far side cannot be had: the channel is refused."""
        channel, self._channel = self._channel, None
        if channel is None:
            return
        self._stop()
        self._on_ended(self)
        meters = self._gateway.meters
        code = OpenFailure.ADMINISTRATIVELY_PROHIBITED
        if isinstance(reason, UpstreamReason):
            meters.add(TUNNEL_DIALS, reason)
            text = f"{canonical(self._place.host)}:{self._place.port}: {text}"
            if reason is UpstreamReason.NO_DESCRIPTOR:
                self._gateway.out_of_descriptors("dial")
                code = OpenFailure.RESOURCE_SHORTAGE
            elif reason is not UpstreamReason.ADDRESS_REFUSED:
                code = OpenFailure.CONNECT_FAILED
        elif isinstance(reason, PolicyReason):
            meters.add(CHANNELS, KIND, reason)
        elif isinstance(reason, LimitReason):
            code = OpenFailure.RESOURCE_SHORTAGE
        self._outer.note(TunnelRefused(reason=reason, text=text, **self._about()._asdict()))
        channel.refuse(code, f"{text} (ref {self._outer.ref})")

    def connected(self, far: Client) -> None:
        """The far side is there: write it down, then let the client know, then pump."""
        channel, route = self._channel, self._route
        if channel is None or route is None:
            far.abortConnection()
            return
        try:
            self._gateway.check_locks_of_tunnel(self._outer.identity, self._grant.host, route.address)
            self._outer.emit(TunnelOpened(**self._about()._asdict()))
        except AuditFailed:
            self._fail(RecorderReason.AUDIT_FAILED, AUDIT_TEXT)
            far.abortConnection()
            return
        except Refused as refusal:
            self._fail(refusal.reason, refusal.text)
            far.abortConnection()
            return
        self._far, self._reaching = far, None
        self._gateway.state.note([tunnel_started(self._row(route), self._gateway.state.writer)])
        self._timers.stop()
        self._began = self._gateway.reactor.seconds()
        if self._grant.ends_at is not None:
            self._ends_at = self._began + self._grant.ends_at - self._gateway.clock.time()
            self._look_at_end()
        meters = self._gateway.meters
        meters.add(TUNNEL_DIALS, UpstreamReason.OK)
        meters.add(CHANNELS, KIND, PolicyReason.ALLOWED)
        meters.add(CHANNELS_LIVE, KIND)
        self._be_present()
        channel.confirm()
        channel.registerProducer(far, True)
        far.registerProducer(channel, True)

    def _be_present(self) -> None:
        """From now on somebody may see and end it, and once it is connected by its address too."""
        outer = self._outer
        self._gateway.present.add(
            Present(
                self._name,
                Kind.TUNNEL,
                party_of(outer.identity),
                KIND,
                self._gateway.clock.time(),
                self.end,
                f"{self._grant.host}:{self._grant.port}",
                connection=outer.id,
                address="" if self._route is None else self._route.address,
                counts=lambda: Counts(1, *self._moved),
                tunnel=self._grant,
            )
        )

    @property
    def _name(self) -> str:
        return f"{self._outer.id}.{self._number}"

    # -- pumping -----------------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """From the client."""
        if self._far is not None and self._look(Side.CLIENT, data):
            self._pass(Side.CLIENT, data)

    def far_data(self, data: bytes | memoryview) -> None:
        """From the far side; a view is only good until this returns."""
        if self._channel is not None and self._look(Side.TARGET, data):
            self._pass(Side.TARGET, bytes(data))

    def _pass(self, side: Side, data: bytes) -> None:
        """Send bytes on, as far as the limit goes."""
        route = self._route
        if not data or route is None:
            return
        if route.bytes_max is not None and sum(self._moved) + len(data) > route.bytes_max:
            self._end(TunnelReason.BYTES)
            return
        self._moved[side] += len(data)
        self._cells[side][0] += len(data)
        if side is Side.CLIENT and self._far is not None:
            self._far.write(data)
        elif side is Side.TARGET and self._channel is not None:
            self._channel.write(data)

    def _look(self, side: Side, data: bytes | memoryview) -> bool:
        """Is it SSH? False when `data` does not go on."""
        first, route = self._first, self._route
        if first is None or route is None:
            return True
        look = first.look(side, data)
        if look is Look.SSH:
            if not route.allow_ssh:
                self._end(TunnelReason.NESTED_SSH)
                return False
            self._ssh = True
            self._first = None
            self._outer.note(TunnelSsh(**self._about()._asdict()))
            self._set_free(first.end)
        else:
            self._set_free(first.release)
            if first.over:
                self._first = None
        return look is not Look.HOLD and self._route is not None

    def _set_free(self, release: Callable[[Side], bytes]) -> None:
        for side in (Side.CLIENT, Side.TARGET):
            self._pass(side, release(side))

    # -- endings -----------------------------------------------------------------------------------------

    def readConnectionLost(self) -> None:
        """The client sends no more."""
        self._eof(Side.CLIENT)

    def far_eof(self) -> None:
        """The far side sends no more."""
        self._eof(Side.TARGET)

    def _eof(self, side: Side) -> None:
        if self._first is not None:
            self._pass(side, self._first.end(side))
        channel, far = self._channel, self._far
        if channel is None or far is None:
            return
        self._ended[side] = True
        if all(self._ended):
            self._end(TunnelReason.CLIENT_CLOSED if side is Side.CLIENT else TunnelReason.FAR_CLOSED)
        elif side is Side.CLIENT:
            far.unregisterProducer()
            far.loseWriteConnection()
        else:
            channel.unregisterProducer()
            channel.loseWriteConnection()

    def connectionLost(self, reason: Failure) -> None:
        """The client closed the channel, or the connection is gone."""
        self._channel = None
        shutdown = self._gateway.closing
        self._end(TunnelReason.SHUTDOWN if shutdown else TunnelReason.CLIENT_CLOSED)

    def far_lost(self, reason: Failure) -> None:
        """The far side's connection is gone."""
        self._far = None
        self._end(TunnelReason.FAR_CLOSED)

    def _look_at_end(self) -> None:
        """The longest duration passes as time does; a credential also ends by the calendar, which may be set."""
        reactor, by_calendar = self._gateway.reactor, self._grant.ends_at
        assert by_calendar is not None
        left = self._ends_at - reactor.seconds()
        by_credential = by_calendar == self._outer.identity.restrictions.valid_before
        if by_credential:
            left = min(left, by_calendar - self._gateway.clock.time())
        if left <= 0.0:
            self._end(TunnelReason.GRANT_ENDED if by_credential else TunnelReason.DURATION)
            return
        wait = min(left, CALENDAR_LOOK) if by_credential else left
        self._timers.end = reactor.callLater(wait, self._look_at_end)

    def end(self, end: End) -> None:
        """Somebody ends it. It has nobody to speak to: the audit log says why."""
        if self._began is None:
            refusal = end.refusal
            self._fail(refusal.reason, refusal.text)
            return
        self._end(ENDED_BY_SOMEBODY[end.reason])

    def _end(self, reason: TunnelReason) -> None:
        """Close both sides, once. What was already sent on still arrives, unless a limit or SSH ended it."""
        route, self._route = self._route, None
        channel, self._channel = self._channel, None
        far, self._far = self._far, None
        self._stop()
        self._on_ended(self)
        self._first = None
        gentle = reason in (TunnelReason.CLIENT_CLOSED, TunnelReason.FAR_CLOSED)
        if far is not None:
            far.unregisterProducer()
            if gentle:
                far.loseConnection()
                if far.queued:
                    self._gateway.reactor.callLater(LINGER, far.abortConnection)
            else:
                far.abortConnection()
        if channel is not None:
            channel.unregisterProducer()
            (channel.loseConnection if gentle else channel.abortConnection)()
        if route is None or self._began is None:
            return
        meters = self._gateway.meters
        meters.add(CHANNELS_LIVE, KIND, by=-1)
        meters.add(TUNNELS_ENDED, reason)
        about = self._about()._replace(address=route.address, rules=",".join(route.rules))
        moved = Moved(self._moved[Side.CLIENT], self._moved[Side.TARGET], 1, 1)
        self._gateway.state.note(
            [tunnel_ended(self._id, ENDED, self._gateway.clock.time(), str(reason), moved)]
        )
        self._outer.note(
            TunnelClosed(
                reason=reason,
                bytes_in=self._moved[Side.CLIENT],
                bytes_out=self._moved[Side.TARGET],
                seconds=round(self._gateway.reactor.seconds() - self._began, 3),
                ssh=self._ssh,
                **about._asdict(),
            )
        )

    @property
    def _id(self) -> str:
        return f"{self._outer.id}/{self._number}"

    def _row(self, route: TunnelRoute) -> TunnelStart:
        outer = self._outer
        return TunnelStart(
            id=self._id,
            connection=outer.id,
            identity=outer.identity.name,
            uid=outer.identity.uid,
            host=self._grant.host,
            port=self._grant.port,
            address=route.address,
            source=outer.identity.source_address,
            rules=",".join(route.rules),
            started_at=self._gateway.clock.time(),
        )

    def _stop(self) -> None:
        """No timers, no dialling, and nothing that somebody could end."""
        self._gateway.present.remove(self._name)
        self._timers.stop()
        reaching, self._reaching = self._reaching, None
        if reaching is not None:
            reaching.cancel()

    def _about(self) -> _About:
        about, route = _About(self._number, self._grant.host, self._grant.port), self._route
        return about if route is None else about._replace(address=route.address, rules=",".join(route.rules))


class _About(NamedTuple):
    """What every line of one tunnel says of it."""

    tunnel: int
    host: str
    port: int
    address: str = ""
    rules: str = ""


@implementer(IHalfCloseableProtocol)
class _FarProtocol:
    """The far side's TCP connection, as Twisted calls it."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel: Tunnel | None = tunnel

    def makeConnection(self, transport: Client) -> None:
        if self._tunnel is not None:
            self._tunnel.connected(transport)

    def dataReceived(self, data: bytes | memoryview) -> None:
        if self._tunnel is not None:
            self._tunnel.far_data(data)

    def readConnectionLost(self) -> None:
        if self._tunnel is not None:
            self._tunnel.far_eof()

    def writeConnectionLost(self) -> None:
        """Our own doing."""

    def connectionLost(self, reason: Failure) -> None:
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.far_lost(reason)

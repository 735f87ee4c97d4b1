"""The front door: accepts connections, runs each through authentication, and hands it to its door.

`Front` is the factory behind the listening port. One `FrontConnection` is one TCP connection of an engineer: it
releases the startup slot at the last factor. A user name with a target is the direct door (`session.opening`);
one without leads to the outer endpoint at once (`doors.outer`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory
from twisted.python.failure import Failure

from bastion.auth.budget import Purse, Work
from bastion.auth.context import AuthContext
from bastion.auth.factors import Chain
from bastion.auth.identity import Destination, Identity
from bastion.auth.startups import Startup
from bastion.auth.throttle import source_block
from bastion.doors.authentication import Authentication
from bastion.doors.break_glass import break_glass
from bastion.doors.handshakes import COUNTED_ONLY, line_of, result_of
from bastion.doors.outer import OuterDoors
from bastion.doors.step_up import StepUp
from bastion.errors import HandshakeResult, LimitReason, PolicyReason, Refused
from bastion.observe.events import About, AuditEvent
from bastion.observe.events.logins import ConnectionRefused
from bastion.observe.events.refusals import ConnectionCutOff
from bastion.observe.meters import (
    CONNECTIONS_ACCEPTED,
    CONNECTIONS_CLOSED,
    CONNECTIONS_LIVE,
    CONNECTIONS_REFUSED,
    HANDSHAKE_SECONDS,
    HANDSHAKES,
)
from bastion.observe.spans import INTERRUPTED
from bastion.policy.grant import FactorsNeeded
from bastion.policy.locks import party_of
from bastion.recording.store import new_session_id
from bastion.session.ending import End
from bastion.session.gateway import Gateway
from bastion.session.opening import Opening
from bastion.session.present import Kind, Present
from bastion.session.session import Session
from bastion.sharing.rows import Cell
from bastion.transport.settings import CloseReason
from bastion.transport.transport import Transport, server_transport
from bastion.userauth.server import UserauthService
from bastion.wire.numbers import Disconnect
from bastion.wire.userauth import Prompt

A_LOGIN = "a login here"
"""What needs the factors that others judge."""

TURNED_AWAY = 64
"""Connections at the same time that are told, while the gateway drains, that it does; others are closed."""

LINGERING = 4096
"""Connections that are waited for at the end until they have taken their last words."""


class Front(ServerFactory[Any]):
    """Builds the transport of every accepted connection, or refuses it before a byte is spent on it."""

    noisy = False

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.connections: set[FrontConnection] = set()
        self.waiting: set[Any] = (
            set()
        )  # connections of load balancers that are nobody's yet (`doors.balancer`)
        self._closing: list[Transport] = []

    def joins_others(self) -> None:
        """Other processes accept from the same sockets: whoever has fewer connections goes first."""
        self.gives_way = self._has_more

    def _has_more(self) -> bool:
        least = self.gateway.others.least(Cell.CONNECTIONS)
        return least is not None and least < len(self.connections)

    @property
    def lingering(self) -> bool:
        """While the gateway stops: some connection has not taken its last words yet."""
        self._closing = [transport for transport in self._closing if transport.below is not None]
        return bool(self._closing or self.connections)

    def ended(self, connection: FrontConnection) -> None:
        """A connection has closed; its socket may still be sending."""
        self.connections.discard(connection)
        if self.gateway.draining:
            self._linger(connection.transport)

    def _linger(self, transport: Transport) -> None:
        if self.lingering:  # which forgets those that are gone
            self._closing = self._closing[-LINGERING:]
        self._closing.append(transport)

    def out_of_descriptors(self) -> None:
        """Somebody connects and there is no descriptor for it (`net.socket.Port`)."""
        self.gateway.out_of_descriptors("accept")

    def buildProtocol(self, addr: IAddress | None) -> Transport | None:
        return self.admit(str(getattr(addr, "host", "")))

    def admit(self, source: str, came: float | None = None) -> Transport | None:
        """What a connection from that address speaks to, or None. `came`: when it did, by the reactor's clock."""
        gateway = self.gateway
        gateway.meters.add(CONNECTIONS_ACCEPTED)
        purse = gateway.budget.source(source)
        try:
            startup = gateway.admit_connection(source)
        except Refused as refusal:
            gateway.meters.add(CONNECTIONS_REFUSED, refusal.reason)
            gateway.meters.add(CONNECTIONS_CLOSED)
            assert isinstance(refusal.reason, LimitReason)
            gateway.rationed.note(purse, source, ConnectionRefused(source, refusal.reason))
            return self._turn_away(refusal)
        return FrontConnection(self, source, purse, startup, came).transport

    def _turn_away(self, refusal: Refused) -> Transport | None:
        """While the gateway drains it says so: a version and a DISCONNECT (RFC 4253 section 11.1), no key exchange."""
        if refusal.reason is not LimitReason.DRAINING or (
            self.lingering and len(self._closing) >= TURNED_AWAY
        ):
            return None
        gateway = self.gateway
        transport = server_transport(gateway.services.front_settings, gateway.reactor, "turned away front")

        def tell() -> None:
            transport.disconnect(Disconnect.BY_APPLICATION, f"bastion: {refusal.text}")
            self._linger(transport)

        gateway.reactor.callLater(0, tell)
        return transport


class FrontConnection:
    """One engineer's TCP connection, from accept to close.

    Once the engineer is in, who proved what, and how, is no longer kept.
    """

    __slots__ = (
        "_began",
        "_context",
        "_exchanges",
        "_front",
        "_gateway",
        "_opening",
        "_outer",
        "_proving",
        "_purse",
        "_secure",
        "_source",
        "_startup",
        "_userauth",
        "id",
        "trace",
        "transport",
    )

    def __init__(
        self, front: Front, source: str, purse: Purse, startup: Startup, came: float | None = None
    ) -> None:
        """`purse` is the source's: it pays for a stranger's work and lines."""
        self._front = front
        self._gateway = gateway = front.gateway
        self._source = source
        self._purse = purse
        self.id = new_session_id()
        self._began = now = gateway.reactor.seconds()
        self.trace = gateway.traces.begin(self.id, now if came is None else came, now)
        self._opening: Opening | None = None
        self._outer: OuterDoors | None = None
        self._proving: Deferred[Any] | None = None  # while others are asked
        self._secure = False
        self._exchanges = 0  # microseconds of key exchanges that the source has paid
        self._startup: Startup | None = startup  # until its slot was given back
        startup.on_displaced = self._displaced
        services = gateway.services
        self.transport = server_transport(services.front_settings, gateway.reactor, f"{self.id} front")
        context = AuthContext(
            services.auth,
            source,
            purse,
            source_block(source),
            gateway.clock,
            gateway.meters,
            gateway.audit,
            gateway.rationed,
            self.id,
            gateway.codes,
            gateway.key_counters,
            gateway.list_in_force,
            self.trace,
        )
        self._context: AuthContext | None = context  # until nothing more can be asked
        authentication = Authentication(context, self._authenticated, gateway.check_locks)
        self._userauth: UserauthService | None = UserauthService(
            self.transport, authentication, gateway.reactor
        )
        authentication.on_notice = self._userauth.banner
        self.transport.service = self._userauth.receive
        self.transport.on_secure = self._secured
        self.transport.on_closed = self.closed
        self.transport.keys.charge(self._pay_exchange)
        gateway.meters.add(CONNECTIONS_LIVE)
        gateway.others.add(Cell.CONNECTIONS, 1)
        front.connections.add(self)

    # -- before the last factor --------------------------------------------------------------------------

    def _pay_exchange(self, microseconds: int) -> None:
        """A stranger's source pays; it is given back once somebody has proved who they are."""
        self._purse.spend(Work.KEY_EXCHANGE, microseconds)
        self._exchanges += microseconds

    def _secured(self) -> None:
        self._secure = True
        self._gateway.meters.add(HANDSHAKES, "front", HandshakeResult.OK)
        took = self._gateway.reactor.seconds() - self._began
        self._gateway.meters.observe(HANDSHAKE_SECONDS, took)
        if self.trace is not None:
            self.trace.took("key exchange", took)
            self.trace.enter("authentication")

    def _authenticated(self, identity: Identity, destination: Destination, owed: Chain) -> None:
        """The last factor is there: the login grace ends, the door is chosen, dialling has its own timer.

        What is owed others judge, within a time of its own; the place of an unfinished login is held meanwhile.
        """
        userauth = self._userauth
        assert userauth is not None
        self.transport.end_login_grace()
        if owed:
            proving = self.prove(identity, destination, FactorsNeeded(A_LOGIN, owed))
            self._proving = running = Deferred.fromCoroutine(proving)
            running.addCallbacks(
                lambda proved: self._authenticated(proved, destination, ()), self._stays_outside
            )
            return
        self._proving = None
        if self.trace is not None:
            self.trace.leave()
        self._release_startup()
        self._purse.refund(Work.KEY_EXCHANGE, self._exchanges)
        self.transport.keys.charge(self._gateway.pays_key_exchanges(identity.name))
        try:
            self._gateway.check_locks(identity)  # one may have been made while the last answer was held back
        except Refused as refusal:
            self.transport.disconnect(Disconnect.BY_APPLICATION, f"bastion: {refusal.text}")
            return
        self._gateway.present.add(
            Present(
                self.id,
                Kind.CONNECTION,
                party_of(identity),
                "direct" if destination.target else "outer",
                self._gateway.clock.time(),
                self.end,
            )
        )
        self._gateway.key_ages.logged_in(identity, self.id)
        if identity.is_break_glass:
            self._break_glass(identity, destination)
        else:
            self._enter(identity, destination)

    def _break_glass(self, identity: Identity, destination: Destination) -> None:
        """More is asked before the door opens, if it does."""
        gateway, userauth = self._gateway, self._userauth
        assert userauth is not None
        opened_by = gateway.broken_by
        if not opened_by:  # the next try may find it known that no server answers
            gateway.services.auth.directory.ask_again()

        async def ask(prompt: Prompt, instruction: str, seconds: float) -> bytes:
            (answer,) = await userauth.ask((prompt,), instruction, seconds)
            return answer

        way = break_glass(self._paid_by(identity), opened_by, identity, destination, self.prove, ask)
        Deferred.fromCoroutine(way).addCallbacks(
            lambda proved: self._enter(proved, destination), self._stays_outside
        )

    def _stays_outside(self, failure: Failure) -> None:
        """One line, unless the engineer has left."""
        error = failure.value
        if self._userauth is None or isinstance(error, CancelledError):
            return
        if not isinstance(error, Refused):
            self._gateway.log_failure("a login", failure)
            error = Refused(PolicyReason.NO_RULE, "the gateway failed, the operator's log says how")
        assert self._context is not None
        self._trace_over("", error.reason)
        self._userauth.turn_away(f"bastion: {error.text}{self._context.reference}")

    def _enter(self, identity: Identity, destination: Destination) -> None:
        userauth = self._userauth
        assert userauth is not None
        if destination.target is None:
            link = None if self.trace is None else self.trace.as_link
            self._outer = outer = OuterDoors(self._gateway, self.transport, self.id, identity, link)
            self._trace_over("outer")
            self._userauth = self._context = None
            userauth.succeed()
            outer.start()
            return
        self._opening = Opening(self._gateway, "direct", self, userauth, identity, destination)
        self._opening.begin()

    def _release_startup(self) -> None:
        startup, self._startup = self._startup, None
        if startup is not None:
            startup.on_displaced = None
            startup.release()

    def _displaced(self) -> None:
        """Its place is needed for a source that holds less."""
        self._startup = None
        self.transport.give_up("its place was needed for another source", LimitReason.DISPLACED)

    # -- session.opening.Engineer ------------------------------------------------------------------------

    outer = ""

    def refusal_text(self, refusal: Refused) -> str:
        return refusal.text

    async def prove(self, identity: Identity, destination: Destination, needed: FactorsNeeded) -> Identity:
        userauth = self._userauth
        assert userauth is not None
        step_up = StepUp(
            self._paid_by(identity), self._gateway.reactor, userauth.ask, self.transport.settings.login_grace
        )
        return await step_up.prove(identity, destination, needed)

    def _paid_by(self, identity: Identity) -> AuthContext:
        """What attempts need that are made by somebody who has proved to be there."""
        assert self._context is not None
        purse = self._gateway.budget.identity(identity.name)
        return replace(self._context, purse=purse, payer=identity.name)

    def started(self, session: Session) -> None:
        self._opening = self._userauth = self._context = self.trace = None

    def closed(self, reason: CloseReason) -> None:
        gateway = self._gateway
        self._release_startup()
        self._stop_login()
        self._trace_over("", INTERRUPTED)
        outer, self._outer = self._outer, None
        if outer is not None:
            outer.closed(reason)
        if isinstance(reason.reason, LimitReason):
            gateway.meters.add(CONNECTIONS_REFUSED, reason.reason)
        if not self._secure:
            self._handshake_failed(reason)
        elif isinstance(reason.reason, LimitReason):
            self._write_down(ConnectionCutOff(reason.reason, reason.text))
        gateway.meters.add(CONNECTIONS_LIVE, by=-1)
        gateway.others.add(Cell.CONNECTIONS, -1)
        gateway.meters.add(CONNECTIONS_CLOSED)
        self._front.ended(self)
        gateway.present.remove(self.id)
        self.transport.on_secure = self.transport.on_closed = None

    # -- the end ------------------------------------------------------------------------------------------

    @property
    def unproved(self) -> bool:
        """Nobody has proved who they are yet."""
        return self._userauth is not None and self._opening is None

    @property
    def idle(self) -> bool:
        """An engineer is there, and nothing runs inside."""
        return self._outer is not None and self._outer.idle

    def shut_down(self, text: str) -> None:
        """The gateway stops: last words, then the end."""
        if self._outer is not None:
            self._outer.shut_down(text)
        else:
            self.transport.disconnect(Disconnect.BY_APPLICATION, f"bastion: {text}")

    def end(self, end: End) -> None:
        """Somebody ends it: all that is inside, with these last words."""
        if self._outer is not None:
            self._outer.end(end)
        else:
            self.transport.disconnect(end.code, end.line)

    def _stop_login(self) -> None:
        opening, self._opening = self._opening, None
        userauth, self._userauth = self._userauth, None
        proving, self._proving = self._proving, None
        if proving is not None:
            proving.cancel()
        self._context = None
        if opening is not None:
            opening.cancel()
        if userauth is not None:
            userauth.stop()

    def _trace_over(self, door: str, error: str = "") -> None:
        trace, self.trace = self.trace, None
        if trace is not None:
            self._gateway.traces.finish(trace, door, "", error)

    def _handshake_failed(self, reason: CloseReason) -> None:
        """Who said nothing that is SSH is counted; who tried gets a line with what both sides offered."""
        result = result_of(self.transport, reason)
        self._gateway.meters.add(HANDSHAKES, "front", result)
        if result not in COUNTED_ONLY:
            self._write_down(line_of(self.transport, result, reason))

    def _write_down(self, event: AuditEvent) -> None:
        """A line that its source pays for: a stranger can cause as many as it opens connections."""
        source = self._source
        self._gateway.rationed.note(self._purse, source, event, About(connection=self.id, source=source))

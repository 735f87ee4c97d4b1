"""The front door: accepts connections, runs each through authentication, and hands it to its door.

`Front` is the factory behind the listening port. One `FrontConnection` is one TCP connection of an engineer: it
releases the startup slot at the last factor, shows the waiting engineer signs of life while the
target is being reached, and sends USERAUTH_SUCCESS only when a session is ready (design.md section 3).
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory
from twisted.python.failure import Failure

from bastion.auth.identity import Destination, Identity
from bastion.auth.throttle import Startup
from bastion.errors import LimitReason, PolicyReason, Refused
from bastion.observe.meters import (
    CONNECTIONS_ACCEPTED,
    CONNECTIONS_CLOSED,
    CONNECTIONS_LIVE,
    CONNECTIONS_REFUSED,
    HANDSHAKE_SECONDS,
    HANDSHAKES,
)
from bastion.recording.format import REF_LENGTH
from bastion.recording.store import new_session_id
from bastion.session.authentication import Authentication
from bastion.session.gateway import Gateway
from bastion.session.opening import Opening
from bastion.session.session import Session
from bastion.ssh.settings import CloseReason
from bastion.ssh.transport import ServerTransport
from bastion.ssh.userauth import UserauthService
from bastion.wire.data import byte, string
from bastion.wire.numbers import MSG_IGNORE, MSG_USERAUTH_SUCCESS, Disconnect

# While the engineer waits for the target an IGNORE goes out this often: a client with ServerAliveInterval
# drops a silent leg (design.md section 3).
SIGN_OF_LIFE = 5.0


class Front(ServerFactory):
    """Builds the transport of every accepted connection, or refuses it before a byte is spent on it."""

    noisy = False

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.connections: set[FrontConnection] = set()
        self._closing: list[ServerTransport] = []

    @property
    def lingering(self) -> bool:
        """While the gateway stops: some connection has not taken its last words yet."""
        self._closing = [transport for transport in self._closing if transport.transport is not None]
        return bool(self._closing)

    def ended(self, connection: FrontConnection) -> None:
        """A connection has closed; its socket may still be sending."""
        self.connections.discard(connection)
        if self.gateway.draining:
            self._closing.append(connection.transport)

    def buildProtocol(self, addr: IAddress | None) -> ServerTransport | None:
        gateway = self.gateway
        gateway.meters.add(CONNECTIONS_ACCEPTED)
        source = str(getattr(addr, "host", ""))
        try:
            startup = gateway.admit_connection(source)
        except Refused as refusal:
            gateway.meters.add(CONNECTIONS_REFUSED, refusal.reason)
            gateway.meters.add(CONNECTIONS_CLOSED)
            gateway.audit.note("connection_refused", source=source, reason=refusal.reason)
            return None
        return FrontConnection(self, source, startup).transport


class FrontConnection:
    """One engineer's TCP connection, from accept to close."""

    def __init__(self, front: Front, source: str, startup: Startup) -> None:
        self._front = front
        self._gateway = gateway = front.gateway
        self._source = source
        self.id = new_session_id()
        self._began = gateway.reactor.seconds()
        self._opening: Opening | None = None
        self._life: Any = None
        self._secure = False
        self._startup = startup
        services = gateway.services
        self.transport = ServerTransport(services.front_settings, gateway.reactor)
        self._authentication = Authentication(
            services.auth,
            source,
            gateway.clock,
            gateway.meters,
            gateway.audit,
            self.id,
            self._authenticated,
        )
        self._userauth = UserauthService(self.transport, self._authentication, gateway.reactor)
        self._authentication.on_notice = self._userauth.banner
        self.transport.service = self._userauth
        self.transport.on_secure = self._secured
        self.transport.on_closed = self._closed
        gateway.meters.add(CONNECTIONS_LIVE)
        front.connections.add(self)

    # -- before the last factor --------------------------------------------------------------------------

    def _secured(self) -> None:
        self._secure = True
        self._gateway.meters.add(HANDSHAKES, "ok")
        self._gateway.meters.observe(HANDSHAKE_SECONDS, self._gateway.reactor.seconds() - self._began)

    def _authenticated(self, identity: Identity, destination: Destination) -> None:
        """The last factor is there: the login grace ends, the door is chosen, dialling has its own timer."""
        self._startup.release()
        self.transport.end_login_grace()
        self._life = self._gateway.reactor.callLater(SIGN_OF_LIFE, self._show_life)
        self._opening = opening = Opening(self._gateway, "direct", self.id, identity, destination)
        opening.on_banner = self._userauth.banner
        opening.open(self.transport).addCallbacks(self._ready, self._refused)

    def _show_life(self) -> None:
        self._life = self._gateway.reactor.callLater(SIGN_OF_LIFE, self._show_life)
        self.transport.send_payload(byte(MSG_IGNORE) + string(b""))

    # -- ready, or not ------------------------------------------------------------------------------------

    def _ready(self, session: Session) -> None:
        """The target's leg is up and the recorder runs: success and the session begin in one turn."""
        self._opening = None
        self._stop_waiting()
        self._userauth.stop()
        self._authentication.stop()
        # From here the session hears of the close; the connection only counts it.
        self.transport.authenticated()
        self.transport.send_payload(byte(MSG_USERAUTH_SUCCESS))
        session.start(on_client_closed=self._closed)

    def _refused(self, failure: Failure) -> None:
        """One line in the banner and in the DISCONNECT, with the reference that `bastion explain` takes."""
        if self._opening is None:
            return  # the engineer left, and the opening was cancelled for that
        self._opening = None
        self._stop_waiting()
        error = failure.value
        if not isinstance(error, Refused):
            self._gateway.log_failure("opening a session", failure)
            error = Refused(PolicyReason.NO_RULE, "the gateway failed, the operator's log says how")
        line = f"bastion: {error.text} (ref {self.id[:REF_LENGTH]})"
        self._userauth.banner(line + "\r\n")
        self.transport.disconnect(Disconnect.BY_APPLICATION, line)

    def _stop_waiting(self) -> None:
        if self._life is not None and self._life.active():
            self._life.cancel()
        self._life = None

    def _closed(self, reason: CloseReason) -> None:
        gateway = self._gateway
        self._startup.release()
        self._stop_waiting()
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
        self._userauth.stop()
        self._authentication.stop()
        if not self._secure:
            gateway.meters.add(HANDSHAKES, "failed")
        if isinstance(reason.reason, LimitReason):
            gateway.meters.add(CONNECTIONS_REFUSED, reason.reason)
            gateway.audit.note(
                "refused", connection=self.id, source=self._source, reason=reason.reason, text=reason.text
            )
        gateway.meters.add(CONNECTIONS_LIVE, by=-1)
        gateway.meters.add(CONNECTIONS_CLOSED)
        self._front.ended(self)
        self.transport.on_secure = self.transport.on_closed = None

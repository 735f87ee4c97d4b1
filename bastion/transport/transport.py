"""The SSH transport (RFC 4253), of either role: reads packets and control messages, and gives the rest to its users.

A `Transport` is made of parts: an `Output` that seals and holds back, a `KeyExchange` with all that the roles differ
in, a `Reading` that pauses, a `Stranger` until the login is done, a `Closing` once the last word is said.

Invariants: a message is looked at only when `states.TABLE` has it for the present state; connection messages of one
read reach the receiver in one call, in order with all others; after `_finish` nothing is processed or sent, every
timer is stopped and nobody is held, so that a closed transport is freed without the garbage collector; every wait has
a timer. The attributes are slots: with so many of them CPython gives each instance a whole dictionary of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.error import ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion.clock import Timers
from bastion.errors import LimitReason, ProtocolError, Reason, Refused, UpstreamReason
from bastion.net.read_size import PIECE
from bastion.transport.byte_stream import BelowLost, ByteTransport, abort
from bastion.transport.closing import Closing, goodbye, read_goodbye, reason_of_failure, reason_of_leaving
from bastion.transport.key_exchange import CheckHostKey, KeyExchange
from bastion.transport.output import Output
from bastion.transport.packet_conn import PacketConn
from bastion.transport.reading import Reading
from bastion.transport.settings import (
    LINGER,
    LINGER_TOTAL,
    OPENED_BEFORE_AUTH,
    PING_SIZE,
    ClosedBy,
    CloseReason,
    TransportSettings,
)
from bastion.transport.stalls import STALLS
from bastion.transport.states import ROUTES, Role, Route, State
from bastion.transport.stranger import Stranger
from bastion.transport.trace import packets_of
from bastion.wire.data import Reader, byte, string, uint32
from bastion.wire.interning import one_of_equal
from bastion.wire.kexinit import VersionReader
from bastion.wire.numbers import (
    MSG_DISCONNECT,
    MSG_EXT_INFO,
    MSG_KEXINIT,
    MSG_NEWKEYS,
    MSG_PING,
    MSG_PONG,
    MSG_UNIMPLEMENTED,
    Disconnect,
    name_of,
)

_RECEIVER = int(Route.RECEIVER)  # looked at once for each message

_NEVER_HELD = frozenset(range(1, 50)) - {5, 6, 7}
"""What may leave while a key exchange of ours runs (RFC 4253 section 7.1; RFC 8308 section 2.4)."""

_OPENED_AT_ONCE: Final = {Role.SERVER: PIECE, Role.CLIENT: 0}
"""Bytes of payload that go their whole way before the next of the same read do, once the peer is authenticated; 0: all
of a read."""

_log = Logger(namespace="bastion.transport")


class Transport:
    """One connection: a `PacketConn`, and for Twisted an IProtocol (makeConnection, dataReceived, connectionLost).

    `settings` and the clock are shared, everything else is its own. Set by the owner, beside what a `PacketConn` has:
    `service` (takes 5, 6, 50-79 as whole payloads, until `authenticated`) and `on_secure` (the first key exchange is
    done). All are dropped when it closes. Plain ints for meters: `bytes_received`, `bytes_sent`, `keys.count`.
    """

    __slots__ = (
        "__weakref__",
        "_at_once",
        "_clock",
        "_closing",
        "_output",
        "_reader",
        "_reading",
        "_routes",
        "_stranger",
        "_trusted",
        "below",
        "bytes_received",
        "close_reason",
        "closed",
        "keys",
        "on_closed",
        "on_secure",
        "on_writable",
        "other",
        "receiver",
        "service",
        "settings",
        "state",
    )

    def __init__(
        self,
        role: Role,
        settings: TransportSettings,
        clock: Timers,
        check_host_key: CheckHostKey | None = None,
        name: str = "",
    ) -> None:
        """A client needs `check_host_key`, a server `settings` with host keys. `name` is for a trace."""
        self.settings = settings
        self.service: Callable[[bytes], None] | None = None
        self.receiver: Callable[[list[bytes]], None] | None = None
        self.on_secure: Callable[[], None] | None = None
        self.on_closed: Callable[[CloseReason], None] | None = None
        self.on_writable: Callable[[bool], None] | None = None
        self.other: PacketConn | None = None
        self.below: ByteTransport | None = None
        """The connection that carries this one, while there is one."""
        self.bytes_received = 0
        self.close_reason: CloseReason | None = None
        self._clock = clock
        self._at_once = OPENED_BEFORE_AUTH
        self._trusted = False
        self._stranger: Stranger | None = Stranger(role, clock)
        self._closing: Closing | None = None
        self._reading = Reading(clock)
        self._reader, writer = packets_of(settings, name)
        self._output = Output(self, settings, clock, writer, STALLS[role])
        self.keys = KeyExchange(
            role, settings, clock, self, self._reader, self._output, self._reading, check_host_key
        )
        self.enter(State.VERSION)

    # -- state -------------------------------------------------------------------------------------------

    def enter(self, state: State) -> None:
        """From the next message on the peer may say what `states.TABLE` has for `state`."""
        self.state = state
        self.closed = state is State.CLOSED  # nothing is processed or sent any more
        self._routes = ROUTES[self.keys.role][state]

    @property
    def exchanging(self) -> bool:
        """A key exchange has begun on either side and is not finished on both."""
        return self.keys.running

    @property
    def may_rekey(self) -> bool:
        """A key exchange of ours may begin now."""
        return self._trusted and (self.other is None or not self.other.exchanging)

    @property
    def blocked(self) -> bool:
        """Something waits that the source should not add to."""
        return self._output.blocked

    @property
    def bytes_sent(self) -> int:
        """Bytes written to the connection below."""
        return self._output.bytes_sent

    def makeConnection(self, below: ByteTransport) -> None:
        """Say our version, and a client its KEXINIT with it."""
        self.below = below
        output, stranger = self._output, self._stranger
        assert stranger is not None
        output.attach(below)
        self._reading.attach(below)
        output.cork()
        stranger.start(self.settings.login_grace, self._login_due)
        output.write(self.settings.version.encode("ascii") + b"\r\n")
        self.keys.start()
        output.uncork()

    def authenticated(self) -> None:
        """From now on the connection protocol is spoken.

        A server calls this before it sends USERAUTH_SUCCESS, a client when it has read it: what follows in
        the same read goes to `receiver` already.
        """
        if self.closed or self._trusted:
            return
        self._trusted = True
        self._at_once = _OPENED_AT_ONCE[self.keys.role]
        self._output.trust()
        self.end_login_grace()
        self._stranger = None
        if self.state in (State.SECURED, State.UNAUTHENTICATED, State.LATE_EXT_INFO):
            self.enter(State.AUTHENTICATED)
        self.service = None  # no message is for one from here on (`states.TABLE`)
        self.keys.authenticated()

    def end_login_grace(self) -> None:
        """The last factor was given: dialling has timers of its own, and nothing waits behind strangers any more."""
        if self._stranger is not None:
            self._stranger.end_grace()
        leave_background = getattr(self.below, "leave_background", None)
        if leave_background is not None:  # a connection of `net.socket`; an inner leg runs in a channel
            leave_background()

    def _login_due(self) -> None:
        server = self.keys.role is Role.SERVER
        reason: Reason = LimitReason.LOGIN_GRACE if server else UpstreamReason.TIMEOUT
        self.end(Disconnect.BY_APPLICATION, "the login took too long", reason)

    # -- bytes in ----------------------------------------------------------------------------------------

    def dataReceived(self, data: bytes | memoryview) -> None:
        """Take one read. `data` may be a view of a buffer that is used again: nothing keeps it."""
        self.bytes_received += len(data)
        if self.closed:
            if self._closing is not None:
                self._closing.discard(len(data))
        elif self._trusted:
            try:  # the hot path
                self._reader.feed(data)
                self._read_packets()
            except Exception as error:
                self.broke(error)
        else:
            self._output.cork()
            self._take_read(data)
            self._output.uncork()

    def _take_read(self, data: bytes | memoryview) -> None:
        """One read of a peer that is not authenticated."""
        stranger = self._stranger
        try:
            if stranger is not None and stranger.version is not None:
                self._read_version(stranger, stranger.version, data)
            elif stranger is not None and stranger.held is not None:
                self._reader.feed(bytes(data))
            else:
                self._reader.feed(data)
                self._read_packets()
        except Exception as error:
            self.broke(error)

    def _read_version(self, stranger: Stranger, reader: VersionReader, data: bytes | memoryview) -> None:
        """Feed the identification reader, and what follows the line to the packet reader."""
        rest = reader.feed(data)
        if rest is None:
            return
        assert reader.version is not None
        stranger.version = None
        self.keys.peer_version = one_of_equal(reader.version)
        self.enter(State.FIRST_KEXINIT)
        if rest:
            self._reader.feed(rest)
            self._read_packets()
        if self.state is State.FIRST_KEXINIT:
            self.keys.await_kexinit()

    def _read_packets(self) -> None:
        reader = self._reader
        while True:
            payloads = reader.packets(self._at_once, keep=False)
            if not payloads or not self._dispatch(payloads):
                break
            if not reader.pending:
                break
        reader.keep()
        if self.closed:
            return
        if self._stranger is not None:
            self._stranger.check_size(reader.buffered)
        settings = self.settings
        if (
            reader.bytes_since_kex >= settings.rekey_bytes
            or reader.packets_since_kex >= settings.rekey_packets
        ):
            self.keys.rekey_due()

    def _dispatch(self, payloads: list[bytes]) -> bool:
        """Take the messages of one read in order; False when the rest may not be looked at now."""
        at, count = 0, len(payloads)
        while at < count:
            routes, run = self._routes, at
            while run < count and routes[payloads[run][0]] == _RECEIVER:
                run += 1
            if run > at:
                if self.receiver is None:
                    raise ProtocolError("a connection message came before there was anybody to read it")
                self.receiver(payloads if run - at == count else payloads[at:run])
                at = run
            else:
                payload = payloads[at]
                at += 1
                self._take(routes[payload[0]], payload, count - at + 1)
            if self.closed:
                return False
            if self._stranger is not None and self.keys.checking:
                self._stranger.held = payloads[at:]
                self._reading.hold(True)
                return False
        return True

    def go_on(self) -> None:
        """What was held back may be looked at now."""
        stranger = self._stranger
        if stranger is None or stranger.held is None:
            return
        held, stranger.held = stranger.held, None
        self._reading.hold(False)
        try:
            if self._dispatch(held):
                self._read_packets()
        except Exception as error:
            self.broke(error)

    def _take(self, route: int, payload: bytes, from_end: int) -> None:
        """One message that is not for the receiver; `from_end` is its place counted from the last read."""
        number = payload[0]
        if self._stranger is not None:
            self._stranger.check_size(len(payload))
        first = self.state is State.SECURED
        if first:
            self.enter(State.UNAUTHENTICATED)
        if route == Route.CONTROL:
            self._control(number, payload, first)
        elif route == Route.EXCHANGE:
            self.keys.take_method(payload)
        elif route == Route.SERVICE:
            if self.service is None:
                raise ProtocolError("no service was asked for", Disconnect.SERVICE_NOT_AVAILABLE)
            self.service(payload)
        elif route == Route.UNIMPLEMENTED:
            # RFC 4253 section 11.4: the sequence number of the packet that was not understood
            sequence = (self._reader.sequence - from_end) & 0xFFFFFFFF
            self.send_any(byte(MSG_UNIMPLEMENTED) + uint32(sequence))
        elif route == Route.REFUSE:
            raise ProtocolError(f"{name_of(number)} is not allowed in state {self.state.value}")

    def _control(self, number: int, payload: bytes, first: bool) -> None:
        """A message for the transport itself; `first`: it is the first since the peer's first NEWKEYS."""
        if number == MSG_KEXINIT:
            self.keys.take_kexinit(payload)
        elif number == MSG_NEWKEYS:
            if len(payload) != 1:
                raise ProtocolError("NEWKEYS takes no data")
            if self.keys.take_newkeys():
                on_secure, self.on_secure = self.on_secure, None
                if on_secure is not None:
                    on_secure()
        elif number == MSG_DISCONNECT:
            self._disconnect_received(payload)
        elif number == MSG_EXT_INFO:
            self.keys.take_ext_info(payload)
            if not first and self.keys.role is Role.CLIENT:
                # RFC 8308 section 2.4: a server's second EXT_INFO stands right before USERAUTH_SUCCESS
                self.enter(State.LATE_EXT_INFO)
        else:
            self._noise_received(number, payload)

    def _noise_received(self, number: int, payload: bytes) -> None:
        """IGNORE, DEBUG, UNIMPLEMENTED: nothing. PING is answered on its own leg (OpenSSH PROTOCOL 1.9)."""
        if self._stranger is not None:
            self._stranger.take_noise(len(payload))
        if number == MSG_PING:
            if len(payload) > PING_SIZE:
                raise ProtocolError("PING is too long")
            body = Reader(payload, 1)
            data = body.string(PING_SIZE)
            body.end()
            self.send_any(byte(MSG_PONG) + string(data))

    def _disconnect_received(self, payload: bytes) -> None:
        code, text = read_goodbye(payload)
        self._finish(CloseReason(ClosedBy.PEER, code, text, reason_of_leaving(self.keys)))
        self._linger()

    # -- sending -----------------------------------------------------------------------------------------

    def send(self, payloads: list[bytes], pad_to: int = 0) -> None:
        """Send messages of the services above (5-7, 50 and up), in order and in one write."""
        if self.closed:
            return
        output = self._output
        output.send(payloads, pad_to)
        writer, settings = output.writer, self.settings
        # RFC 4253 section 9: a key exchange when one direction has used its keys enough; reads look too.
        if (
            writer.bytes_since_kex >= settings.rekey_bytes
            or writer.packets_since_kex >= settings.rekey_packets
        ):
            self.keys.rekey_due()

    def send_any(self, payload: bytes) -> None:
        """Send one message, of any number; a key exchange holds back what it must."""
        if self.closed:
            return
        if payload[0] in _NEVER_HELD:
            self._output.send_now(payload)
        else:
            self.send([payload])

    def writable(self, yes: bool) -> None:
        """Output: the source should stop, or may go on."""
        if self.other is not None:
            self.other.set_reading(yes)
        elif self.on_writable is not None:
            self.on_writable(yes)

    # -- reading and not reading -------------------------------------------------------------------------

    def set_reading(self, yes: bool) -> None:
        """Read, or do not, for the other leg's sake."""
        self._reading.want(yes)

    def rest(self, seconds: float) -> None:
        """Do not read for so long, whatever the other leg wants: what is read is written to a disk."""
        self._reading.rest(seconds)

    # -- endings -----------------------------------------------------------------------------------------

    def disconnect(self, code: int, text: str) -> None:
        """Say goodbye, then close: at once when the peer does, else by abort (C24), see `Closing`.

        `text` is one line of ours. `on_closed` is called before this returns.
        """
        self.end(code, text, None)

    def end(self, code: int, text: str, reason: Reason | None) -> None:
        """The same, with a reason that has a metric of its own."""
        if self.closed:
            return
        if self.below is not None:
            self._output.send_now(goodbye(code, text))
        if not self.closed:  # the output may have given up on it
            self._finish(CloseReason(ClosedBy.US, code, text, reason))
            self._linger()

    def give_up(self, text: str, reason: LimitReason) -> None:
        """End without a word: the peer would not read it."""
        if not self.closed:
            self._finish(CloseReason(ClosedBy.US, 0, text, reason))
            if self.below is not None:
                abort(self.below)

    def broke(self, error: Exception) -> None:
        """Something was raised while the peer's bytes were looked at: end with the words that fit."""
        if isinstance(error, ProtocolError):
            self.end(error.code, error.text, reason_of_failure(self.keys))
        elif isinstance(error, Refused):
            limit = isinstance(error.reason, LimitReason)
            code = Disconnect.BY_APPLICATION if limit else Disconnect.HOST_KEY_NOT_VERIFIABLE
            self.end(code, error.text, error.reason)
        else:
            _log.failure("a connection failed by a fault of ours")
            self.end(Disconnect.BY_APPLICATION, "internal error", None)

    def _finish(self, reason: CloseReason) -> None:
        """The state is final: drop every reference, then tell the owner, once."""
        self.close_reason = reason
        on_closed = self.on_closed
        self.enter(State.CLOSED)
        if self._stranger is not None:
            self._stranger.end_grace()
            self._stranger = None
        self.keys.stop()
        self._reading.detach()
        self._output.detach()
        self.service = self.receiver = None
        self.on_secure = self.on_closed = self.on_writable = self.other = None
        if on_closed is not None:
            on_closed(reason)

    def _linger(self) -> None:
        """Close our side after what is queued, and wait for the peer's."""
        if self.below is not None:
            total = LINGER_TOTAL if self._trusted else LINGER
            self._closing = Closing(self.below, self._clock, total)
            self._closing.begin(self._reading.on)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """The connection below is gone."""
        if not self.closed:
            clean = reason is not None and isinstance(reason.value, ConnectionDone)
            by = ClosedBy.PEER if clean else ClosedBy.NETWORK
            text = reason.value.text if reason is not None and isinstance(reason.value, BelowLost) else ""
            self._finish(CloseReason(by, 0, text, reason_of_leaving(self.keys)))
        closing, self._closing = self._closing, None
        if closing is not None:
            closing.stop()
        self.below = None


def server_transport(settings: TransportSettings, clock: Timers, name: str = "") -> Transport:
    """An engineer's connection: waits for the client's KEXINIT, proves a host key, tells what it accepts."""
    return Transport(Role.SERVER, settings, clock, name=name)


def client_transport(
    settings: TransportSettings, clock: Timers, check_host_key: CheckHostKey, name: str = ""
) -> Transport:
    """A connection to a target, whose host key is asked about once (`CheckHostKey`)."""
    return Transport(Role.CLIENT, settings, clock, check_host_key, name)

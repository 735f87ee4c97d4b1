"""The body of a connection, whatever it says: what it holds, its timers, sending, pausing, ending.

Invariants: after `_finish` nothing is processed or sent, every timer is stopped and nobody is held, so that a
closed transport is freed without the garbage collector (performance.md rule 7); every wait has a timer; what
only the login needed is gone once it is over (`authenticated`), because most connections then stand idle for
hours. The attributes are slots: with more than thirty of them CPython gives each instance a whole dictionary of
its own (1.6 KiB), where slots are 0.4 KiB.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.error import ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion.clock import DelayedCall, Timers
from bastion.errors import LimitReason, ProtocolError, Reason, Refused, UpstreamReason
from bastion.transport.byte_stream import ByteTransport, left_to_take
from bastion.transport.exchange import Exchange
from bastion.transport.output import Output
from bastion.transport.rekeys import Rekeys
from bastion.transport.settings import (
    LINGER,
    LINGER_INPUT,
    LINGER_LOOK,
    LINGER_TOTAL,
    SECRET_PADDING,
    ClosedBy,
    CloseReason,
    TransportSettings,
)
from bastion.transport.states import ROUTES, Role, State
from bastion.wire.data import byte, string, uint32
from bastion.wire.kexinit import VersionReader
from bastion.wire.numbers import MSG_DISCONNECT, Disconnect
from bastion.wire.packets import PacketReader

_NEVER_HELD = frozenset(range(1, 50)) - {5, 6, 7}
"""What may leave while a key exchange of ours runs (RFC 4253 section 7.1; RFC 8308 section 2.4)."""

_log = Logger(namespace="bastion.transport")


class Receiver(Protocol):
    """Where connection messages go after authentication."""

    def burst(self, payloads: list[bytes]) -> None:
        """All consecutive messages from 80 up of one read, in order."""
        ...


class Service(Protocol):
    """Where service and userauth messages go before it."""

    def packetReceived(self, number: int, payload: bytes) -> None: ...


class OtherLeg(Protocol):
    """The connection at the other end of a relay: it is read as long as ours takes what comes of it, and while it
    exchanges keys we begin no exchange."""

    @property
    def key_exchanging(self) -> bool: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Connection:
    """One connection, for Twisted an IProtocol (`makeConnection`, `dataReceived`, `connectionLost`).

    `settings` and `clock` are shared, everything else is its own.

    Set by the owner: `service` (5, 6, 50-79), `receiver` (connection messages, after `authenticated`),
    `on_secure`, `on_closed`, and `other` or `on_blocked` and `on_drained`. All are dropped when it closes.
    Plain ints for meters: `kex_count`, `bytes_received`, `bytes_sent`.
    """

    __slots__ = (
        "__weakref__",
        "_began",
        "_clock",
        "_discarded",
        "_exchange",
        "_first_message",
        "_held",
        "_kex_began",
        "_linger_end",
        "_linger_mark",
        "_linger_until",
        "_noise",
        "_output",
        "_paused_at",
        "_paused_by_owner",
        "_paused_seconds",
        "_peer_extensions",
        "_reader",
        "_reading",
        "_rekey_timer",
        "_resting",
        "_routes",
        "_timers",
        "_trusted",
        "_version_reader",
        "bytes_received",
        "close_reason",
        "closed",
        "kex_count",
        "on_blocked",
        "on_closed",
        "on_drained",
        "on_secure",
        "other",
        "peer_version",
        "receiver",
        "rekeys",
        "service",
        "session_id",
        "settings",
        "state",
        "strict_kex",
        "transport",
    )

    role: Role

    def __init__(self, settings: TransportSettings, clock: Timers) -> None:
        self.transport: ByteTransport | None = None
        self.settings = settings
        self.service: Service | None = None
        self.receiver: Receiver | None = None
        self.on_secure: Callable[[], None] | None = None
        self.on_closed: Callable[[CloseReason], None] | None = None
        self.on_blocked: Callable[[], None] | None = None
        self.on_drained: Callable[[], None] | None = None
        self.other: OtherLeg | None = None
        self.session_id = b""
        self.peer_version = b""
        self._peer_extensions: tuple[tuple[str, bytes], ...] = ()
        self.kex_count = 0
        self.bytes_received = 0
        self.strict_kex = False
        self.close_reason: CloseReason | None = None
        self._clock = clock
        self._output = Output(self, settings, clock)
        self._reader = PacketReader()
        self._version_reader: VersionReader | None = VersionReader(client_role=self.role is Role.CLIENT)
        self._exchange: Exchange | None = None
        self._held: list[bytes] | None = None  # messages behind a host key that is being checked
        self._paused_by_owner = False
        self._resting = False
        self._reading = True
        self._paused_at = 0.0
        self._paused_seconds = 0.0  # since the key exchange that runs began
        self._kex_began = 0.0
        self._trusted = False
        self._noise = 0
        self._began = 0.0
        self.rekeys: Rekeys | None = None  # what the peer may ask for once it is authenticated
        self._first_message = False  # the message being looked at is the first since the first NEWKEYS
        self._timers: dict[str, DelayedCall] | None = None  # None: none runs
        self._rekey_timer: DelayedCall | None = None  # apart, since it is all that an idle connection has
        self._discarded = 0
        self._linger_mark = 0  # bytes that the peer had still to take at the last look
        self._linger_until = self._linger_end = 0.0
        self._enter(State.VERSION)

    # -- state -------------------------------------------------------------------------------------------

    def _enter(self, state: State) -> None:
        self.state = state
        self.closed = state is State.CLOSED  # nothing is processed or sent any more
        self._routes = ROUTES[self.role][state]

    @property
    def key_exchanging(self) -> bool:
        """A key exchange has begun on either side and is not finished on both."""
        return self._exchange is not None

    @property
    def bytes_sent(self) -> int:
        """Bytes written to the connection below."""
        return self._output.bytes_sent

    def makeConnection(self, below: ByteTransport) -> None:
        """Say our version; a client says its KEXINIT with it, a server waits for the client's."""
        self.transport = below
        self._began = self._clock.seconds()
        self._output.attach(below)
        self._output.hold()  # nothing of a service leaves before the first NEWKEYS (failures.md C3)
        self._start_timer("handshake", self.settings.handshake_timeout, self._handshake_due)
        self._start_timer("login", self.settings.login_grace, self._login_due)
        self._output.write(self.settings.version.encode("ascii") + b"\r\n")

    def authenticated(self) -> None:
        """From now on the connection protocol is spoken.

        A server calls this before it sends USERAUTH_SUCCESS, a client when it has read it: what follows in
        the same read goes to `receiver` already.
        """
        if self.closed or self._trusted:
            return
        self._trusted = True
        if self.rekeys is None:
            self.rekeys = Rekeys(self._clock.seconds())
        self._output.trust()
        self.end_login_grace()
        if self.state in (State.SECURED, State.UNAUTHENTICATED, State.LATE_EXT_INFO):
            self._enter(State.AUTHENTICATED)
        self.service = None  # no message is for one from here on (`states.TABLE`)
        self._start_rekey_timer(self.settings.rekey_seconds)

    def charge_exchanges(self, spend: Callable[[int], None]) -> None:
        """Who pays for the key exchanges that the peer asks for: `spend(microseconds)`, which may raise Refused."""
        rekeys = self.rekeys
        if rekeys is None:
            rekeys = self.rekeys = Rekeys(self._clock.seconds())
        rekeys.spend = spend

    def end_login_grace(self) -> None:
        """The last factor was given: dialling has timers of its own, and nothing waits behind strangers any more."""
        self._stop_timer("login")
        leave_background = getattr(self.transport, "leave_background", None)
        if leave_background is not None:  # a connection of `net.socket`; an inner leg runs in a channel
            leave_background()

    # -- the key exchange (transport.transport) ------------------------------------------------------------------

    def _kexinit_awaited(self) -> None:
        """The peer's identification line has come, and its KEXINIT not with it."""

    def _kexinit_received(self, payload: bytes) -> None:
        raise NotImplementedError

    def _exchange_received(self, number: int, payload: bytes) -> None:
        raise NotImplementedError

    def _newkeys_received(self) -> None:
        raise NotImplementedError

    def _ext_info_received(self, payload: bytes) -> None:
        raise NotImplementedError

    def _rekey_due(self) -> None:
        raise NotImplementedError

    def _rekey_time_due(self) -> None:
        raise NotImplementedError

    def _handshake_due(self) -> None:
        raise NotImplementedError

    def _login_due(self) -> None:
        raise NotImplementedError

    # -- sending -----------------------------------------------------------------------------------------

    def send_payloads(self, payloads: list[bytes]) -> None:
        """Send messages of the services above (5-7, 50 and up), in order and in one write."""
        if self.closed:
            return
        output = self._output
        output.send(payloads)
        writer, settings = output.writer, self.settings
        # RFC 4253 section 9: a key exchange when one direction has used its keys enough; reads look too.
        if (
            writer.bytes_since_kex >= settings.rekey_bytes
            or writer.packets_since_kex >= settings.rekey_packets
        ):
            self._rekey_due()

    def send_payload(self, payload: bytes) -> None:
        """Send one message, of any number; a key exchange holds back what it must."""
        if self.closed:
            return
        if payload[0] in _NEVER_HELD:
            self._output.send_now(payload)
        else:
            self.send_payloads([payload])

    def send_secret(self, payload: bytes) -> None:
        """Send one message that holds a password: the packet does not tell how long it is."""
        if not self.closed:
            self._output.send([payload], pad_to=SECRET_PADDING)

    def output_blocked(self) -> None:
        """Output: the source should stop."""
        if self.other is not None:
            self.other.pause_reading()
        elif self.on_blocked is not None:
            self.on_blocked()

    def output_drained(self) -> None:
        """Output: the source may go on."""
        if self.other is not None:
            self.other.resume_reading()
        elif self.on_drained is not None:
            self.on_drained()

    @property
    def blocked(self) -> bool:
        """Whether `on_blocked` was the last thing said."""
        return self._output.blocked

    # -- reading and not reading -------------------------------------------------------------------------

    def pause_reading(self) -> None:
        """Stop reading, for the other leg's sake. Takes effect after a running key exchange (design.md 3)."""
        self._paused_by_owner = True
        self._apply_pause()

    def resume_reading(self) -> None:
        """Read again."""
        self._paused_by_owner = False
        self._apply_pause()

    def rest(self, seconds: float) -> None:
        """Do not read for so long, whatever the other leg wants: what is read is written to a disk."""
        if seconds > 0 and not self.closed:
            self._resting = True
            self._start_timer("rest", seconds, self._rested)
            self._apply_pause()

    def _rested(self) -> None:
        self._resting = False
        self._apply_pause()

    def _apply_pause(self) -> None:
        """Read unless the owner asked not to. A peer that has sent KEXINIT sends no data until its NEWKEYS,
        and two legs that wait for each other's exchange would wait for ever: then reading goes on."""
        if self.closed or self.transport is None:
            return
        exchange = self._exchange
        paused = (self._paused_by_owner or self._resting) and (exchange is None or not exchange.theirs)
        paused = paused or self._held is not None
        if paused == self._reading:
            self._reading = not paused
            if paused:
                self._paused_at = self._clock.seconds()
                self.transport.pauseProducing()
            else:
                self._paused_seconds += self._clock.seconds() - self._paused_at
                self.transport.resumeProducing()

    # -- endings -----------------------------------------------------------------------------------------

    def disconnect(self, code: int, text: str) -> None:
        """Say goodbye, then close: at once when the peer does, else by abort (C24), see `_linger`.

        `text` is one line of ours. `on_closed` is called before this returns.
        """
        self._end(code, text, None)

    def give_up(self, text: str, reason: LimitReason) -> None:
        """End without a word: the peer would not read it."""
        if not self.closed:
            self._finish(CloseReason(ClosedBy.US, 0, text, reason))
            self._abort()

    def _end(self, code: int, text: str, reason: Reason | None) -> None:
        if self.closed:
            return
        if self.transport is not None:
            # RFC 4253 section 11.1: code, description in UTF-8, language tag
            self._output.send_now(byte(MSG_DISCONNECT) + uint32(code) + string(text) + string(b""))
        if not self.closed:  # the output may have given up on it
            self._finish(CloseReason(ClosedBy.US, code, text, reason))
            self._linger()

    def _finish(self, reason: CloseReason) -> None:
        """The state is final: drop every reference, then tell the owner, once."""
        self.close_reason = reason
        on_closed = self.on_closed
        self._enter(State.CLOSED)
        for name in tuple(self._timers or ()):
            self._stop_timer(name)
        self._start_rekey_timer(0.0)
        self._output.detach()
        self._exchange = self._held = self._version_reader = None
        self.service = self.receiver = None
        self.on_secure = self.on_closed = self.on_blocked = self.on_drained = self.other = None
        if on_closed is not None:
            on_closed(reason)

    def _linger(self) -> None:
        """Close our side after what is queued, wait for the peer's, abort when it takes too long.

        Too long is `LINGER` since the peer last took something of what is left, `LINGER_TOTAL` in all. Input
        is read and thrown away meanwhile: closing a socket with unread input resets it, and the peer would
        lose the DISCONNECT that tells it why.
        """
        below = self.transport
        if below is None:
            return
        now = self._clock.seconds()
        self._linger_mark, self._linger_until = left_to_take(below), now + LINGER
        self._linger_end = now + LINGER_TOTAL if self._trusted else self._linger_until
        self._start_timer("linger", LINGER_LOOK, self._look_at_linger)
        if not self._reading:
            self._reading = True
            below.resumeProducing()
        close = getattr(below, "loseWriteConnection", None) or below.loseConnection
        close()

    def _look_at_linger(self) -> None:
        """Is the peer still taking the last of what it was sent?"""
        below, now = self.transport, self._clock.seconds()
        if below is None:
            return
        left = left_to_take(below)
        if left < self._linger_mark:
            self._linger_mark, self._linger_until = left, now + LINGER
        wait = min(self._linger_until, self._linger_end) - now
        if wait > 0.001:
            self._start_timer("linger", min(LINGER_LOOK, wait), self._look_at_linger)
        else:
            self._abort()

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > LINGER_INPUT:
            self._abort()

    def _abort(self) -> None:
        self._stop_timer("linger")
        below = self.transport
        if below is not None:
            (getattr(below, "abortConnection", None) or below.loseConnection)()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """The connection below is gone."""
        if not self.closed:
            clean = reason is not None and isinstance(reason.value, ConnectionDone)
            by = ClosedBy.PEER if clean else ClosedBy.NETWORK
            self._finish(CloseReason(by, 0, "", self._early_reason()))
        self._stop_timer("linger")
        self.transport = None

    # -- timers ------------------------------------------------------------------------------------------

    def _start_timer(self, name: str, seconds: float, due: Callable[[], None]) -> None:
        """Start the timer called `name`; 0 seconds means that it is switched off."""
        self._stop_timer(name)
        if seconds:
            timers = self._timers
            if timers is None:
                timers = self._timers = {}
            timers[name] = self._clock.callLater(seconds, self._timer_due, name, due)

    def _timer_due(self, name: str, due: Callable[[], None]) -> None:
        self._forget_timer(name)
        due()

    def _stop_timer(self, name: str) -> None:
        timer = self._forget_timer(name)
        if timer is not None:
            timer.cancel()

    def _forget_timer(self, name: str) -> DelayedCall | None:
        timers = self._timers
        if timers is None:
            return None
        timer = timers.pop(name, None)
        if not timers:
            self._timers = None
        return timer

    def _start_rekey_timer(self, seconds: float) -> None:
        """Ask for new keys in `seconds`, and no more at the time that was set before; 0 is never."""
        timer, self._rekey_timer = self._rekey_timer, None
        if timer is not None and timer.active():
            timer.cancel()
        if seconds:
            self._rekey_timer = self._clock.callLater(seconds, self._rekey_time_due)

    def _broke(self, error: Exception) -> None:
        """Something was raised while the peer's bytes were looked at: end with the words that fit."""
        if isinstance(error, ProtocolError):
            self._end(error.code, error.text, self._failure_reason())
        elif isinstance(error, Refused):
            limit = isinstance(error.reason, LimitReason)
            code = Disconnect.BY_APPLICATION if limit else Disconnect.HOST_KEY_NOT_VERIFIABLE
            self._end(code, error.text, error.reason)
        else:
            _log.failure("a connection failed by a fault of ours")
            self._end(Disconnect.BY_APPLICATION, "internal error", None)

    def _failure_reason(self) -> Reason:
        """Which metric a broken protocol counts for."""
        if self.kex_count:
            return LimitReason.PROTOCOL_ERROR
        if self.role is Role.SERVER:
            return LimitReason.HANDSHAKE_FAILED
        return UpstreamReason.KEX_FAILED if self.peer_version else UpstreamReason.NOT_SSH

    def _early_reason(self) -> Reason | None:
        """The same for a peer that left."""
        if self.role is Role.SERVER and not self.kex_count:
            return LimitReason.HANDSHAKE_FAILED
        return None

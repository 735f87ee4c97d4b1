"""The two roles of the SSH transport: `ServerTransport` for engineers, `ClientTransport` for targets.

Here the key exchange is driven: who sends KEXINIT when, what goes out around NEWKEYS, when a new one begins.
A key exchange is a chain of plain calls; only a host key that somebody must look up makes it wait.

Invariants: each direction changes its keys exactly at its own NEWKEYS; with strict kex both sequence numbers
begin again there (OpenSSH PROTOCOL 1.10); we begin no exchange while the other leg is in one (`other`),
nor before authentication; an exchange that does not end is ended by a timer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from bastion.clock import Timers
from bastion.errors import LimitReason, ProtocolError, Reason, UpstreamReason
from bastion.net.read_size import PIECE
from bastion.transport.base import TransportBase
from bastion.transport.byte_stream import ByteTransport
from bastion.transport.exchange import ClientExchange, Exchange, ServerExchange
from bastion.transport.rekeys import COSTS
from bastion.transport.settings import (
    EXT_INFO_LIMIT,
    EXT_VALUE_LIMIT,
    KEXINIT_HOLD,
    PACKET_LIMIT_OF_TARGET,
    REKEYS_BEFORE_AUTH,
    TransportSettings,
)
from bastion.transport.states import Role, State
from bastion.wire.ciphers import GCM_CIPHERS
from bastion.wire.data import NAME_LIMIT, Reader, byte, string, uint32
from bastion.wire.interning import KEPT_SIZE, one_of_equal
from bastion.wire.kexinit import Algorithms, KexInit, Mismatch, Negotiated, mismatches
from bastion.wire.numbers import MSG_EXT_INFO, MSG_NEWKEYS, Disconnect

CheckHostKey = Callable[[bytes], "Deferred[None] | None"]


class KeyedTransport(TransportBase):
    """A transport with keys: what both roles share of the key exchange."""

    __slots__ = ("_client_has_ext_info", "_early_exchanges", "_first_offer", "_skip_guess", "agreed")

    def __init__(self, settings: TransportSettings, clock: Timers) -> None:
        super().__init__(settings, clock)
        self._skip_guess = False
        self._early_exchanges = 0
        self._client_has_ext_info = False
        self._first_offer: KexInit | None = None  # the peer's, until something was agreed
        self.agreed: Negotiated | None = None
        """What the first key exchange agreed on, once it is done."""

    @property
    def mismatches(self) -> tuple[Mismatch, ...]:
        """Where the peer's first offer and ours have nothing in common."""
        offer = self._first_offer
        return () if offer is None else mismatches(self.settings.algorithms, offer)

    # -- what the roles differ in --------------------------------------------------------------------------

    def _make_exchange(self) -> Exchange:
        raise NotImplementedError

    def _admit_method(self, kex: str) -> None:
        """Whoever is logged in pays for what it asks for; nothing of `kex` has been computed. Raises Refused."""
        exchange, rekeys = self._exchange, self.rekeys
        if exchange is None or rekeys is None or not self._trusted or not exchange.by_peer:
            return
        moved = self._reader.bytes_since_kex + self._output.writer.bytes_since_kex
        rekeys.pay(kex, moved, self._clock.seconds())

    def _offered_algorithms(self) -> Algorithms:
        raise NotImplementedError

    def _peer_offered(self, theirs: KexInit) -> None:
        """The peer's KEXINIT was read, ours may not have been sent."""

    def _method_done(self, exchange: Exchange) -> None:
        raise NotImplementedError

    def _after_newkeys(self) -> list[bytes]:
        """What goes out right behind our first NEWKEYS."""
        return []

    # -- KEXINIT -------------------------------------------------------------------------------------------

    def rekey(self) -> bool:
        """Begin a key exchange now. False when there is one already, or the time for it has not come."""
        if self.closed or not self._trusted or self._exchange is not None:
            return False
        self._send_kexinit()
        return True

    def _rekey_due(self) -> None:
        """A limit was passed: begin an exchange as soon as the other leg is in none."""
        if self._exchange is None and (self.other is None or not self.other.key_exchanging):
            self.rekey()

    def _current_exchange(self) -> Exchange:
        exchange = self._exchange
        if exchange is None:
            exchange = self._exchange = self._make_exchange()
            if self.kex_count:
                self._watch_exchange()
        return exchange

    def _send_kexinit(self) -> None:
        exchange = self._current_exchange()
        payload = exchange.offer(self._offered_algorithms(), initial=self.kex_count == 0)
        self._output.send_now(payload)
        self._output.hold()

    def _kexinit_received(self, payload: bytes) -> None:
        if self.kex_count and not self._trusted:
            self._early_exchanges += 1
            if self._early_exchanges > REKEYS_BEFORE_AUTH:
                raise ProtocolError("too many key exchanges before authentication")
        self._stop_timer("hold")
        exchange = self._current_exchange()
        theirs = exchange.answer(payload, self.peer_version)
        if not self.kex_count:
            self._first_offer = theirs
        self._peer_offered(theirs)
        if not exchange.ours:
            exchange.by_peer = True
            self._send_kexinit()
        next_messages = exchange.settle()
        agreed = exchange.agreed
        assert agreed is not None
        if not self.kex_count:
            self.strict_kex = agreed.strict
            self._client_has_ext_info = agreed.client_ext_info
        self._skip_guess = exchange.guess_is_wrong
        self._enter(State.REKEY_METHOD if self.kex_count else State.FIRST_METHOD)
        for message in next_messages:
            self._output.send_now(message)
        self._apply_pause()

    # -- the method and NEWKEYS ----------------------------------------------------------------------------

    def _exchange_received(self, number: int, payload: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            raise ProtocolError("no key exchange is running")
        if self._skip_guess:  # RFC 4253 section 7.1: a wrong guess is dropped unread
            self._skip_guess = False
            return
        for message in exchange.receive(payload):
            self._output.send_now(message)
        if exchange.hash:
            self._method_done(exchange)

    def _send_newkeys(self, exchange: Exchange) -> None:
        """Say NEWKEYS and use the new keys from the next byte on; what waited goes out under them."""
        if not self.session_id:
            self.session_id = exchange.hash  # RFC 4253 section 7.2: the first H stays the session identifier
        self._enter(State.REKEY_NEWKEYS if self.kex_count else State.FIRST_NEWKEYS)
        self._output.send_now(byte(MSG_NEWKEYS))
        keys = exchange.keys(self.session_id, to_server=self.role is Role.CLIENT)
        first = [] if self.kex_count else self._after_newkeys()
        self._output.release(keys, self.strict_kex, first)

    def _newkeys_received(self) -> None:
        exchange = self._exchange
        assert exchange is not None
        keys = exchange.keys(self.session_id, to_server=self.role is Role.SERVER)
        self._reader.switch(keys, self.strict_kex)
        self._exchange = None
        initial = self.kex_count == 0
        if initial:
            self.agreed = one_of_equal(exchange.agreed)
        self.kex_count += 1
        self._stop_timer("handshake")
        self._stop_timer("kex")
        if initial:
            self._enter(State.SECURED)
        else:
            self._enter(State.AUTHENTICATED if self._trusted else State.UNAUTHENTICATED)
        self._apply_pause()
        if self._trusted and self.rekeys is not None:
            self.rekeys.keyed(self._clock.seconds())
            self._start_rekey_timer(self.settings.rekey_seconds)
        if initial:
            on_secure, self.on_secure = self.on_secure, None  # once in a connection
            if on_secure is not None:
                on_secure()

    # -- EXT_INFO ------------------------------------------------------------------------------------------

    def _ext_info_received(self, payload: bytes) -> None:
        """RFC 8308 section 2.3; the table has let it in only where section 2.4 allows it."""
        body = Reader(payload, 1)
        count = body.uint32()
        if count > EXT_INFO_LIMIT:
            raise ProtocolError("EXT_INFO holds too many extensions")
        extensions = {}
        for _ in range(count):
            name = body.string(NAME_LIMIT).decode("ascii", "replace")
            extensions[name] = body.string(EXT_VALUE_LIMIT)
        body.end()
        found = tuple(extensions.items())
        self._peer_extensions = one_of_equal(found) if len(payload) <= KEPT_SIZE else found

    @property
    def peer_extensions(self) -> dict[str, bytes]:
        """What the peer's last EXT_INFO said, by name."""
        return dict(self._peer_extensions)

    @property
    def peer_signature_algorithms(self) -> tuple[str, ...] | None:
        """The peer's server-sig-algs (RFC 8308 section 3.1), None when it did not say."""
        value = self.peer_extensions.get("server-sig-algs")
        return None if value is None else tuple(value.decode("ascii", "replace").split(","))

    # -- timers --------------------------------------------------------------------------------------------

    def _handshake_due(self) -> None:
        self._end(Disconnect.BY_APPLICATION, "the key exchange took too long", self._late_reason())

    def _login_due(self) -> None:
        reason: Reason = LimitReason.LOGIN_GRACE if self.role is Role.SERVER else UpstreamReason.TIMEOUT
        self._end(Disconnect.BY_APPLICATION, "the login took too long", reason)

    def _late_reason(self) -> Reason:
        return LimitReason.HANDSHAKE_FAILED if self.role is Role.SERVER else UpstreamReason.TIMEOUT

    def _rekey_time_due(self) -> None:
        """An hour with the same keys. While the other leg is in an exchange, ask again soon."""
        self._rekey_due()
        if not self.closed and self._exchange is None:
            self._start_rekey_timer(1.0)

    def _watch_exchange(self) -> None:
        self._kex_began = self._paused_at = self._clock.seconds()  # a pause counts from here on
        self._paused_seconds = 0.0
        self._start_timer("kex", self.settings.kex_timeout, self._exchange_due)

    def _exchange_due(self) -> None:
        """The peer's KEXINIT may stand behind data that the other leg does not take: that time is not its."""
        now = self._clock.seconds()
        paused = self._paused_seconds + (0.0 if self._reading else now - self._paused_at)
        wait = self.settings.kex_timeout - (now - self._kex_began - paused)
        if wait > 0.001:
            self._start_timer("kex", wait, self._exchange_due)
        else:
            self._end(
                Disconnect.KEY_EXCHANGE_FAILED, "the key exchange took too long", LimitReason.KEX_TIMEOUT
            )


@lru_cache(maxsize=16)  # every client has the same few GCM ciphers
def _with_ciphers(ours: Algorithms, ciphers: tuple[str, ...]) -> Algorithms:
    return replace(ours, ciphers=ciphers)


class ServerTransport(KeyedTransport):
    """An engineer's connection: waits for the client's KEXINIT, proves a host key, tells what it accepts."""

    __slots__ = ("_common_gcm", "host_key_blob")

    role = Role.SERVER
    piece = PIECE

    def __init__(self, settings: TransportSettings, clock: Timers) -> None:
        super().__init__(settings, clock)
        self._common_gcm: tuple[str, ...] = ()  # ciphers of ours that the client's last KEXINIT has too
        self.host_key_blob = b""
        """The host key or certificate that was proved in the first key exchange."""

    def _kexinit_awaited(self) -> None:
        # design.md 7: the client's list decides which ciphers are offered, so ours comes after it
        self._start_timer("hold", KEXINIT_HOLD, self._send_kexinit)

    def _make_exchange(self) -> Exchange:
        return ServerExchange(self.settings, self._admit_method)

    def _admit_method(self, kex: str) -> None:
        """Before anybody is known the source pays the whole method, whoever began."""
        if self._trusted:
            super()._admit_method(kex)
        elif self.rekeys is not None:
            self.rekeys.spend(COSTS[kex])

    def _offered_algorithms(self) -> Algorithms:
        # The client's order wins, and OpenSSH before 9.9 puts chacha20 and all of aes-ctr before AES-GCM:
        # whoever has a GCM cipher in common with us is offered GCM only.
        ours, common = self.settings.algorithms, self._common_gcm
        return _with_ciphers(ours, common) if common else ours

    def _peer_offered(self, theirs: KexInit) -> None:
        self._common_gcm = one_of_equal(
            tuple(
                name
                for name in self.settings.algorithms.ciphers
                if name in GCM_CIPHERS and name in theirs.ciphers_s2c and name in theirs.ciphers_c2s
            )
        )

    def _method_done(self, exchange: Exchange) -> None:
        self._first_offer = None
        self.host_key_blob = self.host_key_blob or exchange.host_key_blob
        self._send_newkeys(exchange)

    def _after_newkeys(self) -> list[bytes]:
        # RFC 8308 section 2.4: the next packet after our first NEWKEYS, and only to a client that asked
        if not self._client_has_ext_info:
            return []
        extensions = (
            ("server-sig-algs", ",".join(self.settings.signature_algorithms)),
            ("ping@openssh.com", "0"),
            ("publickey-hostbound@openssh.com", "0"),
        )
        body = b"".join(string(name) + string(value) for name, value in extensions)
        return [byte(MSG_EXT_INFO) + uint32(len(extensions)) + body]


class ClientTransport(KeyedTransport):
    """A connection to a target.

    `check_host_key(blob)` is asked in the first exchange, after the signature was verified and before any key
    is used; it returns None, or a Deferred, and refuses with `Refused(UpstreamReason.HOST_KEY_*)`. In later
    exchanges the server must show the same blob.
    """

    __slots__ = ("_check_host_key", "host_key_blob")

    role = Role.CLIENT
    limit_before_auth = PACKET_LIMIT_OF_TARGET

    def __init__(self, settings: TransportSettings, clock: Timers, check_host_key: CheckHostKey) -> None:
        super().__init__(settings, clock)
        self._check_host_key: CheckHostKey | None = check_host_key
        self.host_key_blob = b""

    def makeConnection(self, below: ByteTransport) -> None:
        """Say version and KEXINIT at once: RFC 4253 section 7.1 lets us, and it saves a round trip."""
        self._output.cork()
        super().makeConnection(below)
        self._send_kexinit()
        self._output.uncork()

    def _make_exchange(self) -> Exchange:
        return ClientExchange(self.settings, self._admit_method)

    def _offered_algorithms(self) -> Algorithms:
        """The first offer; afterwards without the legacy names that the first exchange did without: what was
        shown and counted then stays true."""
        ours = self.settings.algorithms
        return ours if self.agreed is None else ours.without_legacy(keep=self.agreed.legacy)

    def _ext_info_received(self, payload: bytes) -> None:
        first = self._first_message
        super()._ext_info_received(payload)
        if not first:
            # RFC 8308 section 2.4: a server's second EXT_INFO stands right before USERAUTH_SUCCESS
            self._enter(State.LATE_EXT_INFO)

    def _method_done(self, exchange: Exchange) -> None:
        self._first_offer = None
        if self.host_key_blob:
            if exchange.host_key_blob != self.host_key_blob:
                raise ProtocolError(
                    "the host key changed within the connection", Disconnect.HOST_KEY_NOT_VERIFIABLE
                )
            self._send_newkeys(exchange)
            return
        check, self._check_host_key = self._check_host_key, None
        assert check is not None
        waiting = check(exchange.host_key_blob)
        if self.closed:
            return
        if waiting is None:
            self._host_key_accepted(exchange)
            return
        exchange.checking = True
        waiting.addCallback(lambda _: self._host_key_accepted(exchange))
        waiting.addErrback(self._host_key_failed)

    def _host_key_accepted(self, exchange: Exchange) -> None:
        if self.closed:
            return
        exchange.checking = False
        blob = exchange.host_key_blob
        self.host_key_blob = one_of_equal(blob) if len(blob) <= KEPT_SIZE else blob
        self._send_newkeys(exchange)
        self._continue()

    def _host_key_failed(self, failure: Failure) -> None:
        if isinstance(failure.value, Exception):
            self._broke(failure.value)

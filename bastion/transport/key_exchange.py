"""The key exchanges of one connection: who sends KEXINIT when, what goes out around NEWKEYS, when a new one begins.

A key exchange is a chain of plain calls; only a host key that somebody must look up makes it wait. The steps of one
exchange are an `Exchange`'s; here is what outlives them: what was agreed, and the timers.

Invariants: each direction changes its keys exactly at its own NEWKEYS; with strict kex both sequence numbers begin
again there (OpenSSH PROTOCOL 1.10); we begin no exchange while the other leg is in one (`Owner.may_rekey`), nor
before authentication; an exchange that does not end is ended by a timer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from bastion.clock import DelayedCall, Timers
from bastion.errors import LimitReason, ProtocolError, Reason, UpstreamReason
from bastion.transport.exchange import Exchange
from bastion.transport.output import Output
from bastion.transport.owner import Owner
from bastion.transport.reading import Reading
from bastion.transport.rekeys import COSTS, Rekeys
from bastion.transport.settings import (
    EXT_INFO_LIMIT,
    EXT_VALUE_LIMIT,
    KEXINIT_HOLD,
    REKEYS_BEFORE_AUTH,
    TransportSettings,
)
from bastion.transport.states import Role, State
from bastion.wire.ciphers import GCM_CIPHERS
from bastion.wire.data import NAME_LIMIT, Reader, byte, string, uint32
from bastion.wire.interning import KEPT_SIZE, one_of_equal
from bastion.wire.kexinit import Algorithms, KexInit, Mismatch, Negotiated, mismatches
from bastion.wire.numbers import MSG_EXT_INFO, MSG_NEWKEYS, Disconnect
from bastion.wire.packets import PacketReader

CheckHostKey = Callable[[bytes], "Deferred[None] | None"]
"""Asked in the first exchange, after the signature was verified and before any key is used. Returns None, or a
Deferred, and refuses with `Refused(UpstreamReason.HOST_KEY_*)`. Later the server must show the same blob."""


class _First:
    """What only a connection needs that has not logged in: most stand idle for hours after that."""

    __slots__ = ("check_host_key", "hold", "offer")

    def __init__(self, check_host_key: CheckHostKey | None) -> None:
        self.check_host_key = check_host_key  # a client's, until it was asked
        self.hold: DelayedCall | None = (
            None  # until a server sends its KEXINIT, whether the client's came or not
        )
        self.offer: KexInit | None = None  # the peer's, until something was agreed


class KeyExchange:
    """What one connection has agreed on, and the driver of its exchanges.

    `count` is the number of finished exchanges, `session_id` the hash of the first, `agreed` what that one agreed on
    once it was done, `host_key_blob` the host key or certificate that was proved in it. `peer_version` is the peer's
    identification line without its end.
    """

    __slots__ = (
        "_clock",
        "_common_gcm",
        "_deadline",
        "_exchange",
        "_extensions",
        "_first",
        "_output",
        "_owner",
        "_reader",
        "_reading",
        "_rekey_timer",
        "_settings",
        "agreed",
        "count",
        "host_key_blob",
        "peer_version",
        "rekeys",
        "role",
        "session_id",
    )

    def __init__(
        self,
        role: Role,
        settings: TransportSettings,
        clock: Timers,
        owner: Owner,
        reader: PacketReader,
        output: Output,
        reading: Reading,
        check_host_key: CheckHostKey | None = None,
    ) -> None:
        self.role = role
        self.count = 0
        self.session_id = b""
        self.agreed: Negotiated | None = None
        self.host_key_blob = b""
        self.peer_version = b""
        self.rekeys: Rekeys | None = None  # what the peer may ask for once it is authenticated
        self._settings = settings
        self._clock = clock
        self._owner: Owner | None = owner
        self._reader = reader
        self._output = output
        self._reading = reading
        self._first: _First | None = _First(check_host_key)
        self._exchange: Exchange | None = None
        self._extensions: tuple[tuple[str, bytes], ...] = ()
        self._common_gcm: tuple[str, ...] = ()  # ciphers of ours that the client's last KEXINIT has too
        self._deadline: DelayedCall | None = None  # of the exchange that runs, or is to come
        self._rekey_timer: DelayedCall | None = None

    # -- what is known -----------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """A key exchange has begun on either side and is not finished on both."""
        return self._exchange is not None

    @property
    def checking(self) -> bool:
        """Somebody looks at a host key: nothing that came behind it may be looked at."""
        return self._exchange is not None and self._exchange.checking

    @property
    def mismatches(self) -> tuple[Mismatch, ...]:
        """Where the peer's first offer and ours have nothing in common."""
        offer = None if self._first is None else self._first.offer
        return () if offer is None else mismatches(self._settings.algorithms, offer)

    @property
    def peer_extensions(self) -> dict[str, bytes]:
        """What the peer's last EXT_INFO said, by name."""
        return dict(self._extensions)

    @property
    def peer_signature_algorithms(self) -> tuple[str, ...] | None:
        """The peer's server-sig-algs (RFC 8308 section 3.1), None when it did not say."""
        value = self.peer_extensions.get("server-sig-algs")
        return None if value is None else tuple(value.decode("ascii", "replace").split(","))

    # -- from the first byte to the last -----------------------------------------------------------------

    def start(self) -> None:
        """Our version goes out. A client says its KEXINIT with it: RFC 4253 section 7.1 lets us, and it saves a round
        trip. A server waits for the client's."""
        self._output.hold()  # nothing of a service leaves before the first NEWKEYS (docs/security.md, C3)
        if self._settings.handshake_timeout:
            self._deadline = self._clock.callLater(self._settings.handshake_timeout, self._handshake_due)
        if self.role is Role.CLIENT:
            self._send_kexinit()

    def await_kexinit(self) -> None:
        """The peer's identification line has come, and its KEXINIT not with it."""
        if self.role is Role.SERVER and self._first is not None:
            # The client's list decides which ciphers are offered, so ours comes after it, but not much.
            self._first.hold = self._clock.callLater(KEXINIT_HOLD, self._hold_due)

    def charge(self, spend: Callable[[int], None]) -> None:
        """Who pays for the key exchanges that the peer asks for: `spend(microseconds)`, which may raise Refused."""
        if self.rekeys is None:
            self.rekeys = Rekeys(self._clock.seconds())
        self.rekeys.spend = spend

    def authenticated(self) -> None:
        """The peer is logged in: from now on there are exchanges of ours too."""
        if self.rekeys is None:
            self.rekeys = Rekeys(self._clock.seconds())
        self._stop_hold()
        self._first = None
        self._start_rekey_timer(self._settings.rekey_seconds)

    def stop(self) -> None:
        """The connection is over. What was agreed stays, and where nothing could be."""
        self._owner = None
        self._exchange = None
        self._stop_hold()
        self._stop_deadline()
        self._start_rekey_timer(0.0)

    def rekey(self) -> bool:
        """Begin a key exchange now. False when there is one already, or the time for it has not come."""
        if self._owner is None or self._first is not None or self._exchange is not None:
            return False
        self._send_kexinit()
        return True

    def rekey_due(self) -> None:
        """A limit was passed: begin an exchange as soon as the other leg is in none."""
        if self._exchange is None and self._owner is not None and self._owner.may_rekey:
            self.rekey()

    # -- KEXINIT -----------------------------------------------------------------------------------------

    def _current(self) -> Exchange:
        exchange = self._exchange
        if exchange is None:
            exchange = self._exchange = Exchange(self.role, self._settings)
            if self.count:
                self._reading.watch(True)
                if self._settings.kex_timeout:
                    self._deadline = self._clock.callLater(self._settings.kex_timeout, self._exchange_due)
        return exchange

    def _send_kexinit(self) -> None:
        payload = self._current().offer(self._offer(), initial=self.count == 0)
        self._output.send_now(payload)
        self._output.hold()

    def _offer(self) -> Algorithms:
        ours, agreed = self._settings.algorithms, self.agreed
        if self.role is Role.SERVER:
            # The client's order wins, and OpenSSH before 9.9 puts chacha20 and all of aes-ctr before AES-GCM:
            # whoever has a GCM cipher in common with us is offered GCM only.
            return _with_ciphers(ours, self._common_gcm) if self._common_gcm else ours
        # Later offers are without the legacy names that the first exchange did without: what was shown and counted
        # then stays true.
        return ours if agreed is None else ours.without_legacy(keep=agreed.legacy)

    def take_kexinit(self, payload: bytes) -> None:
        """The peer's KEXINIT. Raises ProtocolError, or Refused when nobody pays for the exchange."""
        first = self._first
        if first is not None:
            if self.count > REKEYS_BEFORE_AUTH:
                raise ProtocolError("too many key exchanges before authentication")
            self._stop_hold()
        exchange = self._current()
        theirs = exchange.answer(payload, self.peer_version)
        if first is not None and not self.count:
            first.offer = theirs
        if self.role is Role.SERVER:
            self._common_gcm = one_of_equal(_gcm_of_both(self._settings.algorithms, theirs))
        if not exchange.ours:
            exchange.by_peer = True
            self._send_kexinit()
        self._admit(exchange.settle().kex, exchange.by_peer)
        owner = self._owner
        if owner is None:  # the output has given up
            return
        owner.enter(State.REKEY_METHOD if self.count else State.FIRST_METHOD)
        for message in exchange.begin():
            self._output.send_now(message)
        self._reading.peer_exchanges(True)

    def _admit(self, kex: str, by_peer: bool) -> None:
        """Whoever asks for an exchange pays for it, before anything of `kex` is computed. Raises Refused."""
        rekeys = self.rekeys
        if rekeys is None:
            return
        if self._first is None:
            if by_peer:
                moved = self._reader.bytes_since_kex + self._output.writer.bytes_since_kex
                rekeys.pay(kex, moved, self._clock.seconds())
        elif self.role is Role.SERVER:
            # Before anybody is known the source pays the whole method, whoever began.
            rekeys.spend(COSTS[kex])

    # -- the method and NEWKEYS --------------------------------------------------------------------------

    def take_method(self, payload: bytes) -> None:
        """A message of the method (30-49). Raises ProtocolError, or Refused for a host key."""
        exchange = self._exchange
        if exchange is None:
            raise ProtocolError("no key exchange is running")
        for message in exchange.receive(payload):
            self._output.send_now(message)
        if exchange.hash:
            self._method_done(exchange)

    def _method_done(self, exchange: Exchange) -> None:
        if self._first is not None:
            self._first.offer = None
        blob, known = exchange.host_key_blob, self.host_key_blob
        if self.role is Role.SERVER:
            self.host_key_blob = known or blob
            self._send_newkeys(exchange)
        elif not known:
            self._check_host_key(exchange)
        elif blob == known:
            self._send_newkeys(exchange)
        else:
            raise ProtocolError(
                "the host key changed within the connection", Disconnect.HOST_KEY_NOT_VERIFIABLE
            )

    def _check_host_key(self, exchange: Exchange) -> None:
        assert self._first is not None
        check, self._first.check_host_key = self._first.check_host_key, None
        assert check is not None
        waiting = check(exchange.host_key_blob)
        if waiting is None:
            self._host_key_accepted(exchange)
            return
        exchange.checking = True
        waiting.addCallback(lambda _: self._host_key_accepted(exchange))
        waiting.addErrback(self._host_key_failed)

    def _host_key_accepted(self, exchange: Exchange) -> None:
        if self._owner is None:  # whoever looked has closed the connection
            return
        exchange.checking = False
        blob = exchange.host_key_blob
        self.host_key_blob = one_of_equal(blob) if len(blob) <= KEPT_SIZE else blob
        self._send_newkeys(exchange)
        if self._owner is not None:
            self._owner.go_on()

    def _host_key_failed(self, failure: Failure) -> None:
        if self._owner is not None and isinstance(failure.value, Exception):
            self._owner.broke(failure.value)

    def _send_newkeys(self, exchange: Exchange) -> None:
        """Say NEWKEYS and use the new keys from the next byte on; what waited goes out under them."""
        owner, agreed = self._owner, exchange.agreed
        if owner is None:  # the output has given up
            return
        assert agreed is not None
        if not self.session_id:
            self.session_id = exchange.hash  # RFC 4253 section 7.2: the first H stays the session identifier
        owner.enter(State.REKEY_NEWKEYS if self.count else State.FIRST_NEWKEYS)
        self._output.send_now(byte(MSG_NEWKEYS))
        keys = exchange.keys(self.session_id, to_server=self.role is Role.CLIENT)
        first = [] if self.count else self._first_words(agreed)
        self._output.release(keys, self._strict(agreed), first)

    def _first_words(self, agreed: Negotiated) -> list[bytes]:
        """What goes out right behind our first NEWKEYS."""
        # RFC 8308 section 2.4: the next packet after it, and only to a client that asked
        if self.role is Role.CLIENT or not agreed.client_ext_info:
            return []
        extensions = (
            ("server-sig-algs", ",".join(self._settings.signature_algorithms)),
            ("ping@openssh.com", "0"),
            ("publickey-hostbound@openssh.com", "0"),
        )
        body = b"".join(string(name) + string(value) for name, value in extensions)
        return [byte(MSG_EXT_INFO) + uint32(len(extensions)) + body]

    def _strict(self, agreed: Negotiated) -> bool:
        """Strict kex is agreed on in the first exchange, for all."""
        return (self.agreed or agreed).strict

    def take_newkeys(self) -> bool:
        """The peer's NEWKEYS: what follows is under the new keys. True for the first."""
        exchange, owner = self._exchange, self._owner
        assert exchange is not None and exchange.agreed is not None and owner is not None
        keys = exchange.keys(self.session_id, to_server=self.role is Role.SERVER)
        self._reader.switch(keys, self._strict(exchange.agreed))
        self._exchange = None
        initial = self.count == 0
        if initial:
            self.agreed = one_of_equal(exchange.agreed)
        self.count += 1
        self._stop_deadline()
        self._reading.watch(False)
        if initial:
            owner.enter(State.SECURED)
        else:
            owner.enter(State.UNAUTHENTICATED if self._first is not None else State.AUTHENTICATED)
        self._reading.peer_exchanges(False)
        if self._first is None and self.rekeys is not None:
            self.rekeys.keyed(self._clock.seconds())
            self._start_rekey_timer(self._settings.rekey_seconds)
        return initial

    # -- EXT_INFO ----------------------------------------------------------------------------------------

    def take_ext_info(self, payload: bytes) -> None:
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
        self._extensions = one_of_equal(found) if len(payload) <= KEPT_SIZE else found

    # -- timers ------------------------------------------------------------------------------------------

    def _hold_due(self) -> None:
        if self._first is not None:
            self._first.hold = None
            self._send_kexinit()

    def _stop_hold(self) -> None:
        first = self._first
        if first is not None and first.hold is not None:
            first.hold.cancel()
            first.hold = None

    def _handshake_due(self) -> None:
        reason: Reason = LimitReason.HANDSHAKE_FAILED if self.role is Role.SERVER else UpstreamReason.TIMEOUT
        self._too_long(Disconnect.BY_APPLICATION, reason)

    def _exchange_due(self) -> None:
        """The peer's KEXINIT may stand behind data that the other leg does not take: that time is not its."""
        wait = self._settings.kex_timeout - self._reading.seconds_read
        if wait > 0.001:
            self._deadline = self._clock.callLater(wait, self._exchange_due)
        else:
            self._too_long(Disconnect.KEY_EXCHANGE_FAILED, LimitReason.KEX_TIMEOUT)

    def _too_long(self, code: int, reason: Reason) -> None:
        self._deadline = None
        if self._owner is not None:
            self._owner.end(code, "the key exchange took too long", reason)

    def _stop_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()

    def _start_rekey_timer(self, seconds: float) -> None:
        """Ask for new keys in `seconds`, and no more at the time that was set before; 0 is never."""
        timer, self._rekey_timer = self._rekey_timer, None
        if timer is not None:
            timer.cancel()
        if seconds:
            self._rekey_timer = self._clock.callLater(seconds, self._rekey_time_due)

    def _rekey_time_due(self) -> None:
        """An hour with the same keys. While the other leg is in an exchange, ask again soon."""
        self._rekey_timer = None
        self.rekey_due()
        if self._owner is not None and self._exchange is None:
            self._start_rekey_timer(1.0)


@lru_cache(maxsize=16)  # every client has the same few GCM ciphers
def _with_ciphers(ours: Algorithms, ciphers: tuple[str, ...]) -> Algorithms:
    return replace(ours, ciphers=ciphers)


def _gcm_of_both(ours: Algorithms, theirs: KexInit) -> tuple[str, ...]:
    return tuple(
        name
        for name in ours.ciphers
        if name in GCM_CIPHERS and name in theirs.ciphers_s2c and name in theirs.ciphers_c2s
    )

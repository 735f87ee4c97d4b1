"""What both roles of the SSH transport read: identification line, packets, control messages.

Invariants: a message is looked at only when `states.TABLE` has it for the present state; connection messages
of one read reach the receiver in one call, in order with all others.
"""

from __future__ import annotations

from bastion.errors import ProtocolError
from bastion.transport.connection import Connection
from bastion.transport.settings import (
    DISCONNECT_TEXT_LIMIT,
    NOISE_BURST,
    NOISE_SIZE,
    OPENED_BEFORE_AUTH,
    PACKET_LIMIT_BEFORE_AUTH,
    PING_SIZE,
    ClosedBy,
    CloseReason,
)
from bastion.transport.states import Route, State
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


class TransportBase(Connection):
    """One connection, up to what only the key exchange knows.

    `piece`: bytes of payload that go their whole way before the next of the same read do; 0: all of a read.
    `limit_before_auth`: bytes of the longest packet before the login is done.
    """

    piece = 0
    limit_before_auth = PACKET_LIMIT_BEFORE_AUTH

    __slots__ = ()

    # -- bytes in ----------------------------------------------------------------------------------------

    def dataReceived(self, data: bytes | memoryview) -> None:
        """Take one read. `data` may be a view of a buffer that is used again: nothing keeps it."""
        self.bytes_received += len(data)
        if self.closed:
            self._discard(len(data))
        elif self._trusted and self._held is None:
            try:  # the hot path
                self._reader.feed(data)
                self._read_packets()
            except Exception as error:
                self._broke(error)
        else:
            self._output.cork()
            self._take_read(data)
            self._output.uncork()

    def _take_read(self, data: bytes | memoryview) -> None:
        try:
            if self._version_reader is not None:
                self._read_version(self._version_reader, data)
                return
            if self._held is not None:
                self._reader.feed(bytes(data))
                return
            self._reader.feed(data)
            self._read_packets()
        except Exception as error:
            self._broke(error)

    def _continue(self) -> None:
        """What was held back may be looked at now."""
        held, self._held = self._held, None
        if held is None:
            return
        self._apply_pause()
        try:
            if self._dispatch(held):
                self._read_packets()
        except Exception as error:
            self._broke(error)

    def _read_version(self, reader: VersionReader, data: bytes | memoryview) -> None:
        """Feed the identification reader, and what follows the line to the packet reader."""
        rest = reader.feed(data)
        if rest is None:
            return
        assert reader.version is not None
        self._version_reader = None
        self.peer_version = one_of_equal(reader.version)
        self._enter(State.FIRST_KEXINIT)
        if rest:
            self._reader.feed(rest)
            self._read_packets()
        if self.state is State.FIRST_KEXINIT:
            self._kexinit_awaited()

    def _read_packets(self) -> None:
        reader = self._reader
        while True:
            most = self.piece if self._trusted else OPENED_BEFORE_AUTH
            payloads = reader.packets(most, keep=False)
            if not payloads or not self._dispatch(payloads):
                break
            if not reader.pending:
                break
        reader.keep()
        if self.closed:
            return
        if not self._trusted and reader.buffered > self.limit_before_auth:
            raise ProtocolError("packet is too long before authentication")
        settings = self.settings
        if (
            reader.bytes_since_kex >= settings.rekey_bytes
            or reader.packets_since_kex >= settings.rekey_packets
        ):
            self._rekey_due()

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
                self.receiver.burst(payloads if run - at == count else payloads[at:run])
                at = run
            else:
                payload = payloads[at]
                at += 1
                self._take(routes[payload[0]], payload, count - at + 1)
            if self.closed:
                return False
            if self._exchange is not None and self._exchange.checking:
                self._held = payloads[at:]
                self._apply_pause()
                return False
        return True

    def _take(self, route: int, payload: bytes, from_end: int) -> None:
        """One message that is not for the receiver; `from_end` is its place counted from the last read."""
        number = payload[0]
        if not self._trusted and len(payload) > self.limit_before_auth:
            raise ProtocolError("packet is too long before authentication")
        self._first_message = self.state is State.SECURED
        if self._first_message:
            self._enter(State.UNAUTHENTICATED)
        if route == Route.CONTROL:
            self._control(number, payload)
        elif route == Route.EXCHANGE:
            self._exchange_received(number, payload)
        elif route == Route.SERVICE:
            if self.service is None:
                raise ProtocolError("no service was asked for", Disconnect.SERVICE_NOT_AVAILABLE)
            self.service.packetReceived(number, payload[1:])
        elif route == Route.UNIMPLEMENTED:
            # RFC 4253 section 11.4: the sequence number of the packet that was not understood
            sequence = (self._reader.sequence - from_end) & 0xFFFFFFFF
            self.send_payload(byte(MSG_UNIMPLEMENTED) + uint32(sequence))
        elif route == Route.REFUSE:
            raise ProtocolError(f"{name_of(number)} is not allowed in state {self.state.value}")

    def _control(self, number: int, payload: bytes) -> None:
        if number == MSG_KEXINIT:
            self._kexinit_received(payload)
        elif number == MSG_NEWKEYS:
            if len(payload) != 1:
                raise ProtocolError("NEWKEYS takes no data")
            self._newkeys_received()
        elif number == MSG_DISCONNECT:
            self._disconnect_received(payload)
        elif number == MSG_EXT_INFO:
            self._ext_info_received(payload)
        else:
            self._noise_received(number, payload)

    # -- control messages --------------------------------------------------------------------------------

    def _noise_received(self, number: int, payload: bytes) -> None:
        """IGNORE, DEBUG, UNIMPLEMENTED: nothing. PING is answered on its own leg (OpenSSH PROTOCOL 1.9)."""
        if not self._trusted:
            self._noise += 1
            if self._noise > NOISE_BURST + self._clock.seconds() - self._began or len(payload) > NOISE_SIZE:
                raise ProtocolError("too much padding traffic before authentication")
        if number == MSG_PING:
            if len(payload) > PING_SIZE:
                raise ProtocolError("PING is too long")
            body = Reader(payload, 1)
            data = body.string(PING_SIZE)
            body.end()
            self.send_payload(byte(MSG_PONG) + string(data))

    def _disconnect_received(self, payload: bytes) -> None:
        code, text = 0, ""
        try:
            body = Reader(payload, 1)
            code = body.uint32()
            text = body.string()[:DISCONNECT_TEXT_LIMIT].decode("utf-8", "replace")
        except ProtocolError:
            pass  # it says goodbye either way
        self._finish(CloseReason(ClosedBy.PEER, code, text, self._early_reason()))
        self._linger()

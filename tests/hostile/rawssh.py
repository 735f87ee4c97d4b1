"""An SSH peer by hand: says anything in any state, as a client or as a server.

`RawSsh` speaks over a `Wire`: a blocking socket (`SocketWire`) or, without any reactor, a transport of ours
(`MemoryWire`). It uses the codecs of `bastion.wire` for the cryptography and nothing else of the product.
Each step of a handshake is a method, `handshake` does them all; a test leaves out, repeats or reorders steps,
or sends bytes of its own.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from bastion.wire.data import Reader, string, uint32
from bastion.wire.kex import Agreed, Reply, client_kex, direction_keys, exchange_hash, kex_method, server_kex
from bastion.wire.kexinit import COMPAT, Algorithms, KexInit, Negotiated, negotiate
from bastion.wire.keys import PrivateKey
from bastion.wire.numbers import (
    MSG_DISCONNECT,
    MSG_IGNORE,
    MSG_KEXINIT,
    MSG_NEWKEYS,
    MSG_SERVICE_REQUEST,
    MSG_USERAUTH_REQUEST,
)
from bastion.wire.packets import PacketReader, PacketWriter

TIMEOUT = 10.0
"""Seconds a blocking read waits before the test fails."""


class Closed(Exception):
    """The peer has closed, or has nothing more to say."""


class Wire(Protocol):
    """Where the bytes go."""

    def send(self, data: bytes) -> None: ...

    def receive(self) -> bytes:
        """Some bytes; b"" when there are no more."""
        ...


class SocketWire:
    """A blocking socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @classmethod
    def connect(cls, port: int, host: str = "127.0.0.1", source: str = "") -> SocketWire:
        """`source`: the address to come from; all of 127.0.0.0/8 are ours."""
        return cls(socket.create_connection((host, port), TIMEOUT, (source, 0) if source else None))

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def receive(self) -> bytes:
        try:
            return self.sock.recv(256 * 1024)
        except ConnectionResetError:
            return b""

    def close(self) -> None:
        self.sock.close()


class PipeEnd:
    """The connection below a transport of ours, in memory: a Twisted transport as far as it is used.

    `jam()` makes it queue instead of taking bytes, as a socket whose peer does not read; `free()` takes all.
    """

    def __init__(self) -> None:
        self.written = bytearray()
        self.queue = bytearray()
        self.jammed = False
        self.producer: Any = None
        self.reading = True
        self.half_closed = False
        self.aborted = False
        self.bytes_taken = 0

    def write(self, data: bytes) -> None:
        if self.aborted or self.half_closed:
            return
        if not self.jammed:
            self.written += data
            self.bytes_taken += len(data)
            return
        self.queue += data
        if self.producer is not None:
            self.producer.pauseProducing()

    def jam(self) -> None:
        self.jammed = True

    def take(self, size: int) -> None:
        """Take some of the queue."""
        taken, self.queue = self.queue[:size], self.queue[size:]
        self.written += taken
        self.bytes_taken += len(taken)

    def free(self) -> None:
        self.jammed = False
        self.take(len(self.queue))
        if self.producer is not None:
            self.producer.resumeProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming and self.producer is None
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def loseConnection(self) -> None:
        self.half_closed = True

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        self.aborted = True


class MemoryWire:
    """A transport of ours, called directly: what is sent is processed before `send` returns."""

    def __init__(self, transport: Any, end: PipeEnd | None = None) -> None:
        self.end = end or PipeEnd()
        self.transport = transport
        transport.makeConnection(self.end)

    def send(self, data: bytes) -> None:
        self.transport.dataReceived(data)

    def receive(self) -> bytes:
        data = bytes(self.end.written)
        self.end.written.clear()
        return data


class RawSsh:
    """One side of one connection. `inbox` holds payloads that have come and were not read."""

    def __init__(
        self,
        wire: Wire,
        *,
        server: bool = False,
        version: bytes = b"SSH-2.0-raw",
        algorithms: Algorithms = COMPAT,
        host_key: PrivateKey | None = None,
        markers: bool = True,
    ) -> None:
        self.wire = wire
        self.server = server
        self.version = version
        self.algorithms = algorithms
        self.host_key = host_key
        self.host_key_blob = host_key.public.blob if host_key else b""
        self.markers = markers
        self.peer_version = b""
        self.writer = PacketWriter()
        self.reader = PacketReader()
        self.inbox: deque[bytes] = deque()
        self.lines = bytearray()
        self.session_id = b""
        self.kex_count = 0
        self.strict = False
        self.ours = self.theirs = b""
        self.agreed: Negotiated | None = None
        self.shared = b""
        self.hash = b""
        self.signature = b""
        self._method: Any = None

    # -- bytes and packets ---------------------------------------------------------------------------------

    def send_raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self.wire.send(data)

    def send(self, *payloads: bytes) -> None:
        """Packets under the present keys, in one write."""
        self.wire.send(self.writer.seal(payloads))

    def read(self) -> bytes:
        """The next payload. Raises Closed."""
        while not self.inbox:
            if self.reader.pending:
                self.inbox += self.reader.packets()
                continue
            data = self.wire.receive()
            if not data:
                raise Closed
            self.reader.feed(data)
            self.inbox += self.reader.packets()
        return self.inbox.popleft()

    def read_until(self, number: int) -> bytes:
        """The next payload with this number; others before it are dropped."""
        while True:
            payload = self.read()
            if payload[0] == number:
                return payload

    def read_all(self) -> list[bytes]:
        """Everything until the peer closes or (in memory) has nothing more to say."""
        found = []
        with contextlib.suppress(Closed):
            while True:
                found.append(self.read())
        return found

    def read_disconnect(self) -> tuple[int, str]:
        """Code and text of the peer's DISCONNECT; AssertionError when it closes without one."""
        try:
            body = Reader(self.read_until(MSG_DISCONNECT), 1)
        except Closed:
            raise AssertionError("the peer sent no DISCONNECT") from None
        return body.uint32(), body.text()

    # -- versions ------------------------------------------------------------------------------------------

    def send_version(self) -> None:
        self.send_raw(self.version + b"\r\n")

    def read_version(self) -> bytes:
        """The peer's line; what follows it goes to the packet reader."""
        while b"\n" not in self.lines:
            data = self.wire.receive()
            if not data:
                raise Closed
            self.lines += data
        line, _, rest = bytes(self.lines).partition(b"\n")
        self.lines.clear()
        self.peer_version = line.rstrip(b"\r")
        if rest:
            self.reader.feed(rest)
            self.inbox += self.reader.packets()
        return self.peer_version

    # -- key exchange, step by step --------------------------------------------------------------------------

    def make_kexinit(self, **changes: Any) -> KexInit:
        """Our KEXINIT; `changes` replace fields of it."""
        offer = KexInit.offer(
            secrets.token_bytes(16),
            self.algorithms,
            client_role=not self.server,
            initial=self.markers and self.kex_count == 0,
        )
        return replace(offer, **changes)

    def send_kexinit(self, **changes: Any) -> None:
        self.ours = self.make_kexinit(**changes).encode()
        self.send(self.ours)

    def read_kexinit(self) -> KexInit:
        self.theirs = self.read_until(MSG_KEXINIT)
        return KexInit.parse(self.theirs)

    def settle(self) -> Negotiated:
        """Negotiate as both sides must."""
        ours, theirs = KexInit.parse(self.ours), KexInit.parse(self.theirs)
        self.agreed = agreed = negotiate(theirs, ours) if self.server else negotiate(ours, theirs)
        if self.kex_count == 0:
            self.strict = agreed.strict
        self._method = server_kex(agreed.kex) if self.server else client_kex(agreed.kex)
        return agreed

    def send_method(self) -> None:
        """A client's first message of the method."""
        self.send(self._method.start())

    def read_method(self) -> None:
        """Messages 30-49 until the keys are known; a server answers with its signature."""
        while True:
            payload = self.read()
            while not 30 <= payload[0] <= 49:
                payload = self.read()
            outcome = self._method.receive(payload)
            if isinstance(outcome, bytes):
                self.send(outcome)
            elif isinstance(outcome, Reply):
                self.host_key_blob = outcome.host_key
                self._agree(outcome.transcript, outcome.shared)
                return
            else:
                self._answer(outcome)
                return

    def _answer(self, outcome: Agreed) -> None:
        assert self.host_key is not None and self.agreed is not None
        self._agree(outcome.transcript, outcome.shared)
        name = self.agreed.host_key.removesuffix("-cert-v01@openssh.com")
        signature = self.signature or self.host_key.sign(self.hash, name)
        self.send(outcome.reply(self.host_key_blob, signature))

    def _agree(self, transcript: bytes, shared: bytes) -> None:
        assert self.agreed is not None
        versions = (self.peer_version, self.version) if self.server else (self.version, self.peer_version)
        offers = (self.theirs, self.ours) if self.server else (self.ours, self.theirs)
        self.shared = shared
        self.hash = exchange_hash(
            kex_method(self.agreed.kex).hash_name, *versions, *offers, self.host_key_blob, transcript, shared
        )
        self.session_id = self.session_id or self.hash

    def _keys(self, to_server: bool) -> Any:
        agreed = self.agreed
        assert agreed is not None
        cipher = agreed.cipher_c2s if to_server else agreed.cipher_s2c
        mac = agreed.mac_c2s if to_server else agreed.mac_s2c
        return direction_keys(
            agreed.kex, self.shared, self.hash, self.session_id, cipher, mac, to_server=to_server
        )

    def send_newkeys(self) -> None:
        """NEWKEYS, and the new keys for what follows."""
        self.send(bytes([MSG_NEWKEYS]))
        self.writer.switch(self._keys(not self.server), self.strict)

    def read_newkeys(self) -> None:
        """The peer's NEWKEYS; what follows it is read with the new keys."""
        self.read_until(MSG_NEWKEYS)
        self.reader.switch(self._keys(self.server), self.strict)
        self.kex_count += 1

    # -- whole steps -----------------------------------------------------------------------------------------

    def exchange(self, **changes: Any) -> None:
        """A whole key exchange that we begin."""
        self.send_kexinit(**changes)
        self.read_kexinit()
        self.finish_exchange()

    def answer_exchange(self) -> None:
        """A whole key exchange that the peer has begun."""
        self.read_kexinit()
        self.send_kexinit()
        self.finish_exchange()

    def finish_exchange(self) -> None:
        """From both KEXINITs to the keys."""
        self.settle()
        if not self.server:
            self.send_method()
        self.read_method()
        self.send_newkeys()
        self.read_newkeys()

    def handshake(self) -> RawSsh:
        """Versions and the first key exchange."""
        self.send_version()
        self.read_version()
        self.exchange()
        return self

    # -- a few messages --------------------------------------------------------------------------------------

    def request_service(self, name: bytes = b"ssh-userauth") -> None:
        self.send(bytes([MSG_SERVICE_REQUEST]) + string(name))

    def request_login(self, user: bytes, method: bytes = b"none", more: bytes = b"") -> None:
        self.send(
            bytes([MSG_USERAUTH_REQUEST]) + string(user) + string(b"ssh-connection") + string(method) + more
        )


def ignore(size: int = 0) -> bytes:
    """An IGNORE with `size` bytes of data."""
    return bytes([MSG_IGNORE]) + string(b"\0" * size)


def debug(text: bytes = b"x") -> bytes:
    """A DEBUG."""
    return b"\x04\x00" + string(text) + string(b"")


def ext_info(extensions: Sequence[tuple[bytes, bytes]]) -> bytes:
    """An EXT_INFO (RFC 8308 section 2.3)."""
    body = b"".join(string(name) + string(value) for name, value in extensions)
    return b"\x07" + uint32(len(extensions)) + body

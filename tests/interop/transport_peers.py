"""A server of ours that lets people handshake, and a client of ours that says how far it came."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Factory
from twisted.python.failure import Failure

from bastion.net import socket as io
from bastion.transport.settings import CloseReason, TransportSettings
from bastion.transport.transport import Transport, client_transport, server_transport
from bastion.wire.data import Reader, byte, string
from tests.support.reactor import run, start


class EverybodyIn:
    """A userauth service: `none` is refused, accepted, or the connection ended with a `farewell`."""

    def __init__(self, transport: Transport, accept: bool, farewell: str) -> None:
        self.transport = transport
        self.accept = accept
        self.farewell = farewell

    def receive(self, payload: bytes) -> None:
        if payload[0] == 5:
            self.transport.send_any(byte(6) + payload[1:])
        elif self.farewell:
            self.transport.disconnect(11, self.farewell)
        elif self.accept:
            self.transport.receiver = Sessions(self.transport).burst
            self.transport.authenticated()
            self.transport.send_any(b"\x34")
        else:
            self.transport.send_any(b"\x33" + string(b"publickey") + b"\0")


class Sessions:
    """A connection service that is just enough for `ssh host command`: it sends back what it is sent.

    One channel at a time, windows refilled at once; `exec` of a number sends that many bytes of zeros.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.theirs = 0
        self.window = 0
        self.left = 0
        self.echo = False
        transport.on_writable = lambda yes: yes and self.more()

    def burst(self, payloads: list[bytes]) -> None:
        for payload in payloads:
            self.take(payload[0], Reader(payload, 1))
        self.more()

    def take(self, number: int, body: Reader) -> None:
        send = self.transport.send_any
        if number == 80:
            body.string()
            if body.boolean():
                send(b"\x52")
        elif number == 90:
            body.string()
            self.theirs, self.window = body.uint32(), body.uint32()
            numbers = (self.theirs, 0, 1 << 21, 32768)
            send(b"\x5b" + b"".join(value.to_bytes(4, "big") for value in numbers))
        elif number == 93:
            body.uint32()
            self.window += body.uint32()
        elif number == 94:
            body.uint32()
            data = body.string()
            send(b"\x5d" + self._to() + len(data).to_bytes(4, "big"))
            if self.echo:
                self.window -= len(data)
                send(b"\x5e" + self._to() + string(data))
        elif number == 96 and self.echo:
            self.finish()
        elif number == 98:
            self.request(body)

    def request(self, body: Reader) -> None:
        body.uint32()
        kind, wants_reply = body.string(), body.boolean()
        if wants_reply:
            self.transport.send_any(b"\x63" + self._to())
        if kind == b"exec":
            command = body.string()
            if command.isdigit():
                self.left = int(command)
            else:
                self.echo = True

    def more(self) -> None:
        while self.left and self.window and not self.transport.blocked:
            size = min(self.left, self.window, 32768)
            self.left -= size
            self.window -= size
            self.transport.send([b"\x5e" + self._to() + string(bytes(size))])
            if not self.left:
                self.finish()

    def finish(self) -> None:
        status = b"\x62" + self._to() + string(b"exit-status") + b"\0\0\0\0\0"
        self.transport.send([status, b"\x60" + self._to(), b"\x61" + self._to()])

    def _to(self) -> bytes:
        return self.theirs.to_bytes(4, "big")


class Server:
    """What a test sees of a listening server of ours."""

    def __init__(self, settings: TransportSettings, accept: bool, farewell: str) -> None:
        self.settings = settings
        self.accept = accept
        self.farewell = farewell
        self.transports: list[Transport] = []
        self.closed: list[CloseReason] = []
        self.port = 0
        self._listening: Any = None

    def listen(self) -> None:
        server = self
        reactor = start()

        class Accept(Factory):
            noisy = False

            def buildProtocol(self, addr: object) -> Transport:
                transport = server_transport(server.settings, reactor)
                transport.service = EverybodyIn(transport, server.accept, server.farewell).receive
                transport.on_closed = server.closed.append
                server.transports.append(transport)
                return transport

        self._listening = io.listen(reactor, 0, Accept(), interface="127.0.0.1")
        self.port = self._listening.getHost().port

    def stop(self) -> Any:
        for transport in self.transports:
            transport.disconnect(11, "the test is over")
            if transport.below is not None:
                transport.below.abortConnection()  # type: ignore[attr-defined]
        return self._listening.stopListening()


@contextmanager
def serving(settings: TransportSettings, accept: bool = False, farewell: str = "") -> Iterator[Server]:
    """A listening server of ours, in the test reactor's thread."""
    server = Server(settings, accept, farewell)
    run(server.listen)
    try:
        yield server
    finally:
        run(server.stop)


class Client:
    """A client of ours. `ready` fires when the first key exchange is done, or fails with the CloseReason."""

    def __init__(self, port: int, settings: TransportSettings, check: Any = None) -> None:
        self.got: list[tuple[int, bytes]] = []
        self.payloads: list[bytes] = []
        self.ready: Deferred[Client] = Deferred()
        self.over: Deferred[CloseReason] = Deferred()
        self.waiting: list[tuple[int, Deferred[bytes]]] = []
        reactor = start()
        transport = self.transport = client_transport(settings, reactor, check or (lambda blob: None))
        transport.service, transport.receiver = self.receive, self.burst
        transport.on_secure = self.secure
        transport.on_closed = self.gone
        client = self

        class Make(ClientFactory):
            noisy = False

            def buildProtocol(self, addr: object) -> Transport:
                return transport

            def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
                client.ready.errback(reason)

        io.connect(reactor, "127.0.0.1", port, Make(), 10)

    def secure(self) -> None:
        self.ready.callback(self)

    def gone(self, reason: CloseReason) -> None:
        if not self.ready.called:
            self.ready.errback(ConnectionError(repr(reason)))
        self.over.callback(reason)

    def receive(self, payload: bytes) -> None:
        if payload[0] == 52:
            self.transport.authenticated()
        self._heard(payload[0], payload)

    def burst(self, payloads: list[bytes]) -> None:
        for payload in payloads:
            self._heard(payload[0], payload)

    def _heard(self, number: int, payload: bytes) -> None:
        self.payloads.append(payload)
        for wait in self.waiting:
            if wait[0] == number:
                self.waiting.remove(wait)
                wait[1].callback(payload)
                return

    def expect(self, number: int) -> Deferred[bytes]:
        """The next message with this number, from now on."""
        waiting: Deferred[bytes] = Deferred()
        self.waiting.append((number, waiting))
        return waiting

    def stop(self) -> None:
        self.transport.disconnect(11, "the test is over")
        if self.transport.below is not None:
            self.transport.below.abortConnection()  # type: ignore[attr-defined]

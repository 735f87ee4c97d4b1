"""TLS in front of a protocol: nothing in the clear, goodbyes both ways, and a certificate that is replaced."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from bastion.errors import ConfigError
from bastion.net.tls import HELD_MAX, ServerTls, TlsFactory, context_of
from tests.support.tls import make_certificate


class Echo(Protocol):
    """Says everything again, louder; "bye" ends it. `greeting` is said before anybody has spoken."""

    greeting = b""

    def __init__(self) -> None:
        self.lost: list[Failure] = []

    def connectionMade(self) -> None:
        transport: Any = self.transport
        if self.greeting:
            transport.write(self.greeting)

    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        if data == b"bye":
            transport.writeSequence([b"good", b"bye"])
            transport.loseConnection()
        else:
            transport.write(data.upper())

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        self.lost.append(reason)


class Talk:
    """A client, in memory, and the server's side of its connection."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key = make_certificate(folder)
        self.faults: list[str] = []
        self.tls = ServerTls(self.certificate, self.key, self.faults.append)
        self.factory = TlsFactory(Factory.forProtocol(Echo), self.tls)
        self.connect()

    def connect(self) -> None:
        self.server = self.factory.buildProtocol(None)
        self.wire = StringTransport()
        context = ssl.create_default_context(cafile=str(self.certificate))
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context.wrap_bio(self._in, self._out, server_hostname="localhost")
        self.server.makeConnection(self.wire)

    def turn(self, act: Callable[[], Any]) -> Any:
        """`act` of the client's, until it needs nothing more of the server; None when it waits for ever."""
        for _ in range(8):
            try:
                return act()
            except ssl.SSLWantReadError:
                pass
            finally:
                self.carry()
        return None

    def carry(self) -> None:
        data = self._out.read()
        if data:
            self.server.dataReceived(data)
        self._in.write(self.wire.value())
        self.wire.clear()

    def handshake(self) -> None:
        self.turn(self.client.do_handshake)


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    return Talk(tmp_path)


def test_what_is_said_comes_back_and_is_never_seen_on_the_wire(talk: Talk) -> None:
    talk.handshake()
    talk.client.write(b"secret")
    talk.server.dataReceived(talk._out.read())
    assert b"SECRET" not in talk.wire.value() and talk.wire.value()
    assert talk.turn(lambda: talk.client.read(100)) == b"SECRET"
    assert talk.client.version() in ("TLSv1.2", "TLSv1.3")


def test_much_at_once_in_both_directions(talk: Talk) -> None:
    talk.handshake()
    data = bytes(97 + number % 26 for number in range(300_000))
    talk.client.write(data)
    talk.carry()
    got = b""
    while len(got) < len(data):
        got += talk.turn(lambda: talk.client.read(1 << 16))
    assert got == data.upper()


def test_a_goodbye_of_the_server_comes_behind_its_last_words(talk: Talk) -> None:
    talk.handshake()
    talk.client.write(b"bye")
    talk.carry()
    assert talk.turn(lambda: talk.client.read(100)) == b"goodbye"
    assert talk.client.read(100) == b"" and talk.wire.disconnecting


def test_a_goodbye_of_the_client_is_answered(talk: Talk) -> None:
    talk.handshake()
    with pytest.raises(ssl.SSLWantReadError):
        talk.client.unwrap()
    talk.carry()
    assert talk.wire.disconnecting


def test_what_is_written_before_the_handshake_waits_for_it(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Echo, "greeting", b"hello")
    talk.connect()
    assert talk.wire.value() == b""
    talk.handshake()
    assert talk.turn(lambda: talk.client.read(100)) == b"hello"
    monkeypatch.setattr(Echo, "greeting", bytes(HELD_MAX + 1))
    talk.connect()
    assert talk.wire.disconnected


@pytest.mark.parametrize(
    "garbage", [b"GET /metrics HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + bytes(40), b"\x80" * 99]
)
def test_who_speaks_no_tls_is_cut_off_and_the_protocol_hears_nothing(
    talk: Talk, garbage: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def heard(*_: object) -> None:
        pytest.fail("the protocol was told")

    monkeypatch.setattr(Echo, "dataReceived", heard)
    inner = talk.server.wrappedProtocol
    talk.server.dataReceived(garbage)
    assert talk.wire.disconnected
    talk.server.dataReceived(garbage)
    talk.server.connectionLost(Failure(ConnectionDone()))
    assert inner.lost


def test_a_new_certificate_is_used_from_the_next_connection_on_and_a_bad_one_is_not(
    talk: Talk, tmp_path: Path
) -> None:
    def shown() -> Any:
        talk.handshake()
        return talk.client.getpeercert(binary_form=True)

    first = shown()
    make_certificate(tmp_path)
    talk.connect()
    second = shown()
    assert first != second and second is not None
    talk.key.write_text("no key")
    os.utime(talk.key, (1, 1))
    talk.connect()
    assert shown() == second
    (fault,) = talk.faults
    assert str(talk.certificate) in fault and str(talk.key) in fault
    talk.connect()
    assert shown() == second and len(talk.faults) == 1  # told once


def test_a_key_that_is_not_the_certificate_s_or_open_to_others_is_refused(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    _, other = make_certificate(tmp_path, "other")
    for wrong in (other, certificate, tmp_path / "none"):
        with pytest.raises(ConfigError):
            context_of(certificate, wrong)
    key.chmod(0o644)
    with pytest.raises(ConfigError) as refused:
        context_of(certificate, key)
    assert "lets others in" in str(refused.value) and str(key) in str(refused.value)


def test_a_connection_that_is_not_wanted_is_not_made(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    refusing: Any = Factory()
    refusing.buildProtocol = lambda addr: None
    factory = TlsFactory(refusing, ServerTls(certificate, key, lambda text: None))
    assert factory.buildProtocol(None) is None

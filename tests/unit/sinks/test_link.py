"""Connections to sinks: who is believed, how long they last, and what the end of one says."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from bastion.observe.labels import SinkReason
from bastion.options.kinds import Address
from bastion.sinks.fault import SinkFault
from bastion.sinks.link import IGNORED_MAX, PlainLink, TlsLink, Trust, connected
from bastion.sinks.section import Sink
from tests.support.net import LOOPBACK, free_port
from tests.support.pki import Authority
from tests.support.sinks import SyslogServer


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


def sink_of(pki: Authority, port: int, **more: object) -> Sink:
    given = {"address": Address(LOOPBACK, port), "ca_file": pki.certificate, "timeout": 5.0, **more}
    return Sink(kind="syslog", **given)  # type: ignore[arg-type]


def talk(sink: Sink, data: bytes = b"3 abc") -> None:
    """As the sink does."""
    assert sink.address is not None
    context = Trust(sink).context()
    with connected(sink.address.host, sink.address.port, sink.timeout, "there") as opened:
        link = TlsLink(opened, context, sink.verified_name)
        link.send(data)
        link.settle()


def reason_of(sink: Sink, data: bytes = b"3 abc") -> SinkReason:
    with pytest.raises(SinkFault) as caught:
        talk(sink, data)
    return caught.value.reason


def test_what_was_sent_is_read_when_it_settles(pki: Authority) -> None:
    with SyslogServer(pki.issue(LOOPBACK)) as server:
        talk(sink_of(pki, server.port), b"3 abc" * 100_000)
        assert server.messages == [b"abc"] * 100_000


def test_a_name_of_its_own_is_verified_in_place_of_the_address(pki: Authority) -> None:
    with SyslogServer(pki.issue("logs.example.com")) as server:
        assert reason_of(sink_of(pki, server.port)) is SinkReason.TLS
        talk(sink_of(pki, server.port, server_name="logs.example.com"))
        assert reason_of(sink_of(pki, server.port, server_name="other.example.com")) is SinkReason.TLS
        assert server.messages == [b"abc"]


def test_whoever_shows_another_certificate_gets_nothing(pki: Authority, tmp_path: Path) -> None:
    others = Authority(tmp_path / "others")
    cases = [others.issue(LOOPBACK), pki.issue(LOOPBACK, days=-1), pki.issue(LOOPBACK, subject_only=True)]
    for issued in cases:
        with SyslogServer(issued) as server:
            assert reason_of(sink_of(pki, server.port)) is SinkReason.TLS
            assert server.messages == []


def test_a_client_certificate_is_shown_and_one_that_is_missed_is_no_delivery(
    pki: Authority, tmp_path: Path
) -> None:
    clients = Authority(tmp_path / "clients")
    own, other = clients.issue("gw1"), Authority(tmp_path / "x").issue("gw1")
    with SyslogServer(pki.issue(LOOPBACK), clients.certificate) as server:
        good = sink_of(pki, server.port, client_certificate=own.certificate, client_key=own.key)
        talk(good)
        assert server.messages == [b"abc"]
        # TLS 1.3: the server's refusal comes when our side has said everything.
        assert reason_of(sink_of(pki, server.port)) in (SinkReason.TLS, SinkReason.CLOSED)
        bad = replace(good, client_certificate=other.certificate, client_key=other.key)
        assert reason_of(bad) in (SinkReason.TLS, SinkReason.CLOSED)
        assert server.messages == [b"abc"]


def test_a_reset_is_no_end(pki: Authority) -> None:
    with SyslogServer(pki.issue(LOOPBACK)) as server:
        server.resets_after = 3
        assert reason_of(sink_of(pki, server.port)) is SinkReason.CLOSED
        assert reason_of(sink_of(pki, server.port), b"3 abc" * 1_000_000) is SinkReason.CLOSED


def test_a_server_that_never_ends_the_connection_has_confirmed_nothing(pki: Authority) -> None:
    with SyslogServer(pki.issue(LOOPBACK)) as server:
        server.never_closes = True
        assert reason_of(sink_of(pki, server.port, timeout=0.3)) is SinkReason.TIMEOUT


def test_a_server_that_talks_for_ever_is_not_listened_to(pki: Authority) -> None:
    with SyslogServer(pki.issue(LOOPBACK)) as server:
        server.says = b"x" * (IGNORED_MAX * 2)
        assert reason_of(sink_of(pki, server.port)) is SinkReason.CLOSED
        server.says = b"x" * 100
        talk(sink_of(pki, server.port))


def test_one_that_says_nothing_in_the_handshake_is_left_in_time() -> None:
    with socket.create_server((LOOPBACK, 0)) as silent, pytest.raises(SinkFault) as caught:
        talk(Sink(kind="syslog", address=Address(LOOPBACK, silent.getsockname()[1]), timeout=0.3))
    assert caught.value.reason is SinkReason.TIMEOUT


def test_one_that_closes_in_the_handshake() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        threading.Thread(target=lambda: listener.accept()[0].close(), daemon=True).start()
        assert (
            reason_of(Sink(kind="syslog", address=Address(LOOPBACK, listener.getsockname()[1])))
            is SinkReason.CLOSED
        )


def test_nobody_there() -> None:
    assert reason_of(Sink(kind="syslog", address=Address(LOOPBACK, free_port()))) is SinkReason.UNREACHABLE


def test_without_tls() -> None:
    with SyslogServer() as server:
        for _ in range(2):
            with connected(LOOPBACK, server.port, 5.0, "there") as opened:
                link = PlainLink(opened)
                link.send(b"3 abc")
                link.settle()
        assert server.messages == [b"abc"] * 2
        server.never_closes = True
        with pytest.raises(SinkFault) as caught, connected(LOOPBACK, server.port, 0.3, "there") as opened:
            PlainLink(opened).settle()
        assert caught.value.reason is SinkReason.TIMEOUT, "our own end is not the server's"


def test_a_certificate_that_is_replaced_is_used(pki: Authority, tmp_path: Path) -> None:
    others = Authority(tmp_path / "others")
    ca = tmp_path / "ca.pem"
    ca.write_bytes(pki.certificate.read_bytes())
    trust = Trust(sink_of(pki, 1, ca_file=ca))
    first = trust.context()
    assert trust.context() is first
    fresh = tmp_path / "fresh.pem"
    fresh.write_bytes(others.certificate.read_bytes())
    os.replace(fresh, ca)
    assert trust.context() is not first


@pytest.mark.parametrize("broken", ["missing", "garbage", "open key"])
def test_files_that_cannot_be_used_are_settings(pki: Authority, tmp_path: Path, broken: str) -> None:
    own = pki.issue("gw1")
    ca = tmp_path / "ca.pem"
    if broken == "garbage":
        ca.write_text("no certificate")
    elif broken == "open key":
        ca, _ = pki.certificate, own.key.chmod(0o644)
    sink = sink_of(pki, 1, ca_file=ca, client_certificate=own.certificate, client_key=own.key)
    with pytest.raises(SinkFault) as caught:
        Trust(sink).context()
    assert caught.value.reason is SinkReason.SETTINGS

"""The three that are spoken to over HTTP, and what they may answer."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bastion.observe.labels import SinkReason
from bastion.sinks.destinations import destination_of
from bastion.sinks.fault import SinkFault
from bastion.sinks.http import ANSWER_MAX, LATER_MAX, Http
from bastion.sinks.section import HTTP, Sink
from tests.support.net import LOOPBACK, free_port
from tests.support.pki import Authority
from tests.support.sinks import Receiver
from tests.unit.sinks.test_shapes import made

LINES = [made(number, number=number) for number in range(4)]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


def http(kind: str, url: str, **more: Any) -> Http:
    found = destination_of(Sink(kind=kind, url=url, timeout=5.0, **more), "gw1")
    assert isinstance(found, Http)
    return found


def fault_of(sink: Http) -> SinkFault:
    with pytest.raises(SinkFault) as caught:
        sink.deliver(LINES)
    return caught.value


@pytest.mark.parametrize("kind", HTTP)
def test_lines_arrive_and_arrive_once_however_often_they_are_sent(receiver: Receiver, kind: str) -> None:
    sink = http(kind, receiver.url)
    assert list(sink.deliver(LINES)) == [] and list(sink.deliver(LINES[2:])) == []
    texts = [line.text for line in LINES]
    assert receiver.got == texts + texts[2:] and list(receiver.kept.values()) == texts


@pytest.mark.parametrize("kind", HTTP)
def test_a_probe_writes_nothing_and_a_refusal_of_nothing_is_an_answer(receiver: Receiver, kind: str) -> None:
    http(kind, receiver.url + "/").probe()
    assert receiver.got == []
    receiver.answers = 403, {}, b""
    with pytest.raises(SinkFault) as caught:
        http(kind, receiver.url).probe()
    assert caught.value.reason is SinkReason.DENIED


@pytest.mark.parametrize("kind", HTTP)
@pytest.mark.parametrize(
    ("status", "headers", "reason", "later"),
    [
        (400, {}, SinkReason.REFUSED, 0),
        (413, {}, SinkReason.REFUSED, 0),
        (401, {}, SinkReason.DENIED, 0),
        (403, {}, SinkReason.DENIED, 0),
        (404, {}, SinkReason.STATUS, 0),
        (429, {"Retry-After": "7"}, SinkReason.BUSY, 7),
        (503, {"Retry-After": "99999999"}, SinkReason.BUSY, LATER_MAX),
        (503, {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, SinkReason.BUSY, 0),
        (500, {}, SinkReason.STATUS, 0),
        (302, {"Location": "http://127.0.0.1:1/"}, SinkReason.STATUS, 0),
        (206, {}, SinkReason.BAD_ANSWER, 0),
    ],
)
def test_answers_that_are_none(
    receiver: Receiver, kind: str, status: int, headers: Mapping[str, str], reason: SinkReason, later: float
) -> None:
    receiver.answers = status, headers, b'{"error":"secret words of a peer"}'
    fault = fault_of(http(kind, receiver.url))
    if kind == "elastic" and status == 206:
        assert fault.reason is SinkReason.BAD_ANSWER
    assert (fault.reason, fault.later) == (reason, later)
    assert len(receiver.bodies) == 1, "no redirect is followed, and nothing is tried again here"
    assert "secret words" not in fault.text


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("loki", b"<html>welcome</html>"),
        ("elastic", b"<html>welcome</html>"),
        ("elastic", b"[]"),
        ("elastic", b"{}"),
        ("elastic", b'{"items":[]}'),
        ("elastic", b'{"items":[1,2,3,4]}'),
        ("elastic", b'{"items":[{"create":{"status":"201"}},{},{},{}]}'),
        ("otlp", b"<html>welcome</html>"),
    ],
)
def test_a_page_is_no_confirmation(receiver: Receiver, kind: str, answer: bytes) -> None:
    receiver.answers = 200, {}, answer
    assert fault_of(http(kind, receiver.url)).reason is SinkReason.BAD_ANSWER


def items(*statuses: int) -> bytes:
    return json.dumps({"items": [{"create": {"status": status}} for status in statuses]}).encode()


def test_elastic_answers_for_each_line(receiver: Receiver) -> None:
    sink = http("elastic", receiver.url)
    receiver.answers = 200, {}, items(201, 409, 400, 201)
    assert list(sink.deliver(LINES)) == [2]
    for status, reason in (
        (429, SinkReason.BUSY),
        (503, SinkReason.BUSY),
        (403, SinkReason.DENIED),
        (404, SinkReason.STATUS),
    ):
        receiver.answers = 200, {}, items(201, 400, status, 201)
        assert fault_of(sink).reason is reason


@pytest.mark.parametrize(
    "partial", [{"rejectedLogRecords": 2}, {"rejectedLogRecords": "2"}, {"rejectedLogRecords": None}, [1]]
)
def test_a_collector_that_rejects_some_has_not_taken_all(receiver: Receiver, partial: Any) -> None:
    receiver.answers = 200, {}, json.dumps({"partialSuccess": partial}).encode()
    assert fault_of(http("otlp", receiver.url)).reason is SinkReason.REFUSED


def test_a_collector_that_only_warns_has(receiver: Receiver) -> None:
    partial = {"partialSuccess": {"rejectedLogRecords": "0", "errorMessage": "mind your step"}}
    receiver.answers = 200, {}, json.dumps(partial).encode()
    assert http("otlp", receiver.url).deliver(LINES) == ()


def test_who_it_is(receiver: Receiver, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("s3cret\nsecond line\n")
    http("loki", receiver.url, token_file=token, tenant="security").deliver(LINES)
    headers = receiver.headers[-1]
    assert headers["Authorization"] == "Bearer s3cret" and headers["X-Scope-OrgID"] == "security"
    assert headers["Host"] == f"{LOOPBACK}:{receiver.port}"
    token.write_text("changed\n")
    http("elastic", receiver.url, token_file=token, token_scheme="ApiKey").deliver(LINES)
    assert receiver.headers[-1]["Authorization"] == "ApiKey changed"
    token.chmod(0o644)
    fault = fault_of(http("loki", receiver.url, token_file=token))
    assert fault.reason is SinkReason.SETTINGS and "changed" not in fault.text


def test_over_tls_with_a_name_and_a_client_certificate(tmp_path: Path) -> None:
    pki, clients = Authority(tmp_path / "pki"), Authority(tmp_path / "clients")
    own = clients.issue("gw1")
    with Receiver(pki.issue(LOOPBACK), clients.certificate) as receiver:
        shown = {"client_certificate": own.certificate, "client_key": own.key}
        http("loki", receiver.url, ca_file=pki.certificate, **shown).deliver(LINES)
        assert len(receiver.got) == 4
        assert fault_of(http("loki", receiver.url, ca_file=pki.certificate)).reason in (
            SinkReason.TLS, SinkReason.CLOSED,
        )  # fmt: skip
        assert fault_of(http("loki", receiver.url, **shown)).reason is SinkReason.TLS, (
            "of no CA of the system"
        )
        assert len(receiver.got) == 4
    with Receiver(pki.issue("other.example.com")) as receiver:
        assert fault_of(http("loki", receiver.url, ca_file=pki.certificate)).reason is SinkReason.TLS
        assert receiver.bodies == []


def test_a_connection_that_breaks_before_the_answer(receiver: Receiver) -> None:
    receiver.breaks = 1
    assert fault_of(http("elastic", receiver.url)).reason is SinkReason.CLOSED
    assert len(receiver.kept) == 4 and list(http("elastic", receiver.url).deliver(LINES)) == []
    assert len(receiver.kept) == 4


def test_nobody_there() -> None:
    assert fault_of(http("loki", f"http://{LOOPBACK}:{free_port()}")).reason is SinkReason.UNREACHABLE


def raw(answer: bytes, then: str = "close") -> int:
    """A server of one connection that answers with these bytes; the port."""
    listener = socket.create_server((LOOPBACK, 0))

    def serve() -> None:
        accepted, _ = listener.accept()
        with accepted, listener:
            accepted.settimeout(10)
            data = b""
            while b"streams" not in data:
                data += accepted.recv(65536)
            try:
                accepted.sendall(answer)
                while then == "wait" and accepted.recv(65536):
                    pass
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"SSH-2.0-OpenSSH\r\n", SinkReason.BAD_ANSWER),
        (b"HTTP/1.1 204 x\r\n" + b"a: b\r\n" * 200 + b"\r\n", SinkReason.BAD_ANSWER),
        (b"HTTP/1.1 500 x\r\nContent-Length: 9999999\r\n\r\n" + b"x" * (ANSWER_MAX + 2), SinkReason.BAD_ANSWER),
        (b"HTTP/1.1 500 x\r\nContent-Length: 90\r\n\r\nabc", SinkReason.BAD_ANSWER),
        (b"", SinkReason.CLOSED),
    ],
)  # fmt: skip
def test_servers_that_do_not_speak_as_they_should(answer: bytes, reason: SinkReason) -> None:
    assert fault_of(http("loki", f"http://{LOOPBACK}:{raw(answer)}")).reason is reason


def test_a_server_that_never_ends_its_answer_is_left_in_time() -> None:
    port = raw(b"HTTP/1.1 500 x\r\nContent-Length: 90\r\n\r\nabc", "wait")
    sink = destination_of(Sink(kind="loki", url=f"http://{LOOPBACK}:{port}", timeout=0.3), "gw1")
    with pytest.raises(SinkFault) as caught:
        sink.deliver(LINES)
    assert caught.value.reason is SinkReason.TIMEOUT

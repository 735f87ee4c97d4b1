"""HTTP with limits: what is too long, too slow or too many is cut off."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection

from bastion.console import site as site_module
from bastion.console.answers import Answer
from bastion.console.asked import BODY_MAX
from bastion.console.site import HEADER_BYTES, REQUEST_SECONDS, STALL_SECONDS, ConsoleRequest, ConsoleSite

HEAD = b"Host: console.example.com\r\n"


class Transport(StringTransportWithDisconnection):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        if self.connected:
            self.loseConnection()


class Source:
    """What a stream comes from."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.sink: Any = None

    def send_to(self, sink: Any) -> None:
        self.sink = sink
        sink.begin(self)

    def pause(self) -> None:
        self.said.append("pause")

    def resume(self) -> None:
        self.said.append("resume")

    def stop(self) -> None:
        self.said.append("stop")


class Served:
    """A site, and what it handed on."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.clock = Clock()
        self.requests: list[ConsoleRequest] = []
        self.answer = answer
        self.site = ConsoleSite(self._serve, self.clock)

    def _serve(self, request: ConsoleRequest) -> None:
        self.requests.append(request)
        if self.answer is not None:
            request.answer(self.answer, secure=True)

    def connect(self, host: str = "192.0.2.1") -> Any:
        peer = IPv4Address("TCP", host, 40_000)
        protocol = self.site.buildProtocol(peer)
        if protocol is None:
            return None
        transport = Transport(peerAddress=peer)
        transport.protocol = protocol
        protocol.makeConnection(transport)
        return protocol


def test_a_request_is_handed_on_whole_and_answered_with_all_headers() -> None:
    served = Served(Answer(body=b"<p>hello</p>"))
    protocol = served.connect()
    protocol.dataReceived(b"POST /sign-in?a=b HTTP/1.1\r\n" + HEAD + b"Content-Length: 6\r\n\r\nname=x")
    (request,) = served.requests
    assert (request.method, request.uri, request.body, request.peer) == (
        b"POST",
        b"/sign-in?a=b",
        b"name=x",
        "192.0.2.1",
    )
    assert request.all_headers()["host"] == ("console.example.com",)
    said = protocol.transport.value()
    assert said.startswith(b"HTTP/1.1 200 OK\r\n") and said.endswith(b"<p>hello</p>")
    lowered = said.lower()
    for name in (b"content-security-policy", b"x-frame-options", b"strict-transport-security", b"nosniff"):
        assert name in lowered
    assert b"server:" not in lowered and b"twisted" not in lowered


def test_two_requests_on_one_connection_and_a_head() -> None:
    served = Served(Answer(body=b"body"))
    protocol = served.connect()
    protocol.dataReceived(b"HEAD / HTTP/1.1\r\n" + HEAD + b"\r\n" + b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n")
    assert [one.method for one in served.requests] == [b"HEAD", b"GET"]
    assert (
        protocol.transport.value().count(b"content-length: 4".title())
        + protocol.transport.value().count(b"Content-Length: 4")
        >= 2
        and protocol.transport.value().count(b"body") == 1
    )
    protocol.connectionLost(None)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_long_is_not_kept(chunked: bool) -> None:
    served = Served()
    protocol = served.connect()
    size = BODY_MAX + 1
    if chunked:
        protocol.dataReceived(b"POST / HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        protocol.dataReceived(b"%x\r\n" % size + b"x" * size + b"\r\n0\r\n\r\n")
    else:
        protocol.dataReceived(
            b"POST / HTTP/1.1\r\n" + HEAD + b"Content-Length: %d\r\n\r\n" % size + b"x" * size
        )
    (request,) = served.requests
    assert request.too_long and len(request.body) <= BODY_MAX


def test_headers_have_a_length() -> None:
    served = Served()
    protocol = served.connect()
    protocol.dataReceived(b"GET / HTTP/1.1\r\n" + HEAD + b"X: " + b"x" * HEADER_BYTES + b"\r\n\r\n")
    assert served.requests == [] and not protocol.transport.connected


def test_a_request_that_takes_its_time_is_cut_off() -> None:
    served = Served()
    protocol = served.connect()
    for byte in b"GET / HTTP/1.1\r\nX-Slow: ":
        protocol.dataReceived(bytes((byte,)))
        served.clock.advance(REQUEST_SECONDS / 30)
    served.clock.advance(REQUEST_SECONDS / 2)
    assert protocol.transport.aborted and served.requests == []
    assert not served.clock.getDelayedCalls()


def test_an_answer_has_the_time_that_it_takes() -> None:
    served = Served()
    protocol = served.connect()
    protocol.dataReceived(b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n")
    served.clock.advance(REQUEST_SECONDS * 10)
    assert protocol.transport.connected
    served.requests[0].answer(Answer(body=b"late"), secure=False)
    assert protocol.transport.value().endswith(b"late")
    protocol.connectionLost(None)


def test_connections_are_counted_by_address_and_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_module, "MOST_OF_ONE", 2)
    monkeypatch.setattr(site_module, "MOST_CONNECTIONS", 3)
    served = Served()
    first = served.connect("192.0.2.1")
    assert served.connect("192.0.2.1") is not None and served.connect("192.0.2.1") is None
    assert served.connect("192.0.2.2") is not None and served.connect("192.0.2.3") is None
    first.transport.loseConnection()
    assert served.connect("192.0.2.3") is not None


def streaming() -> tuple[Served, Source, Any]:
    source = Source()
    served = Served(Answer(stream=source))
    protocol = served.connect()
    protocol.dataReceived(b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n")
    return served, source, protocol


def test_a_stream_is_written_as_it_comes_and_ends() -> None:
    _, source, protocol = streaming()
    source.sink.write(b"one")
    source.sink.write(b"two")
    source.sink.end()
    said = protocol.transport.value()
    assert b"one" in said and said.endswith(b"two\r\n0\r\n\r\n") and source.said == []
    protocol.connectionLost(None)


def test_a_stream_pauses_and_is_stopped_when_nobody_takes_it() -> None:
    served, source, protocol = streaming()
    source.sink.pauseProducing()
    source.sink.resumeProducing()
    source.sink.pauseProducing()
    served.clock.advance(STALL_SECONDS)
    assert source.said == ["pause", "resume", "pause", "stop"] and protocol.transport.aborted
    source.sink.write(b"late")
    source.sink.end()


def test_a_stream_whose_reader_has_gone_is_stopped() -> None:
    _, source, protocol = streaming()
    protocol.transport.loseConnection()
    assert source.said == ["stop"]


def test_a_stream_that_was_cut_is_no_whole_answer() -> None:
    _, source, protocol = streaming()
    source.sink.write(b"one")
    source.sink.cut()
    assert not protocol.transport.value().endswith(b"0\r\n\r\n") and protocol.transport.aborted


def test_a_head_of_a_stream_stops_it() -> None:
    source = Source()
    served = Served(Answer(stream=source))
    protocol = served.connect()
    protocol.dataReceived(b"HEAD / HTTP/1.1\r\n" + HEAD + b"\r\n")
    assert source.said == ["stop"] and protocol.transport.value().startswith(b"HTTP/1.1 200")
    protocol.connectionLost(None)

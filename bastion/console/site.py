"""HTTP with limits, on twisted.web (L4): connections, headers, bodies and times are bounded; nothing touches the disk.

Invariants: a request is handed on once all of it has come, at most BODY_MAX of it; whoever sends slower than that
within REQUEST_SECONDS, or takes nothing of an answer for STALL_SECONDS, is cut off; no version is shown.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import HTTPChannel, datetimeToString
from zope.interface import implementer

from bastion.clock import DelayedCall
from bastion.console.answers import Answer, headers_of
from bastion.console.asked import BODY_MAX

MOST_CONNECTIONS: Final = 512
MOST_OF_ONE: Final = 64
"""Connections of one address: a browser opens six, and an office is behind one address."""

IDLE_SECONDS: Final = 60
REQUEST_SECONDS: Final = 20.0
STALL_SECONDS: Final = 60.0

MOST_HEADERS: Final = 64
HEADER_BYTES: Final = 16 << 10
"""A request line and its headers: at most so many bytes for each of MOST_CONNECTIONS, 8 MiB."""

Serve = Callable[["ConsoleRequest"], None]


class ConsoleChannel(HTTPChannel):
    """One connection."""

    maxHeaders = MOST_HEADERS
    totalHeadersSize = HEADER_BYTES

    _whole: DelayedCall | None = None

    def connectionMade(self) -> None:
        super().connectionMade()  # type: ignore[no-untyped-call]
        self._wait()

    def allContentReceived(self) -> None:
        self._stop()
        super().allContentReceived()  # type: ignore[no-untyped-call]

    def lineReceived(self, line: bytes) -> None:
        if self._whole is None:
            self._wait()  # the first line of the next request
        super().lineReceived(line)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def _wait(self) -> None:
        if self.site is not None:
            self._whole = self.site.reactor.callLater(REQUEST_SECONDS, self._too_slow)

    def _stop(self) -> None:
        whole, self._whole = self._whole, None
        if whole is not None and whole.active():
            whole.cancel()

    def _too_slow(self) -> None:
        self._whole = None
        transport: Any = self.transport
        transport.abortConnection()

    site: Any = None


class ConsoleRequest(server.Request):
    """One request. Its body is kept in memory, as far as it may be."""

    body = b""
    too_long = False
    gone = False

    def gotLength(self, length: int | None) -> None:
        self.content = io.BytesIO()
        if length is not None and length > BODY_MAX:
            self.too_long = True

    def handleContentChunk(self, data: bytes) -> None:
        if self.too_long or len(self.body) + len(data) > BODY_MAX:
            self.too_long = True  # told once all of it has come, or the time for that is over
            self.body = b""
            return
        self.body += data

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Instead of twisted.web's, which reads forms and files by itself."""
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.args = {}
        channel: Any = self.channel
        channel.site.serve(self)

    @property
    def peer(self) -> str:
        """The address at the other end; "" of a Unix socket."""
        return str(getattr(self.client, "host", "") or "")

    def all_headers(self) -> dict[str, tuple[str, ...]]:
        """By lower-case name."""
        return {
            name.decode("latin-1").lower(): tuple(value.decode("latin-1") for value in values)
            for name, values in self.requestHeaders.getAllRawHeaders()
        }

    def connectionLost(self, reason: Failure) -> None:
        self.gone = True
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def answer(self, answer: Answer, secure: bool) -> None:
        """All of it, or the beginning of a stream."""
        if self.gone:
            if answer.stream is not None:
                answer.stream.stop()
            return
        self.setResponseCode(answer.status)
        self.setHeader(b"date", datetimeToString())  # type: ignore[no-untyped-call]
        for name, value in headers_of(answer, secure):
            self.responseHeaders.addRawHeader(name.encode("ascii"), value.encode("ascii"))
        if answer.stream is not None and self.method != b"HEAD":
            channel: Any = self.channel
            channel.site.begins(self)
            answer.stream.send_to(Sink(self, channel.site.reactor))
            return
        if answer.stream is not None:
            answer.stream.stop()
        else:
            self.setHeader(b"content-length", b"%d" % len(answer.body))  # type: ignore[no-untyped-call]
        if self.method != b"HEAD":
            self.write(answer.body)  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]


@implementer(IPushProducer)
class Sink:
    """Where a stream is written to. What is written while the browser takes nothing is held by the transport: the
    source hears `pause` and `resume`, and is told to `stop` when nobody takes it any more."""

    def __init__(self, request: ConsoleRequest, reactor: Any) -> None:
        self._request, self._reactor = request, reactor
        self._source: Any = None
        self._stall: DelayedCall | None = None
        self._over = False

    def begin(self, source: Any) -> None:
        """`source` has pause, resume and stop."""
        self._source = source
        self._request.registerProducer(self, True)  # type: ignore[no-untyped-call]
        self._request.notifyFinish().addErrback(lambda _: self._lost())

    def write(self, data: bytes) -> None:
        if not self._over:
            self._request.write(data)  # type: ignore[no-untyped-call]

    def end(self) -> None:
        """All of it was written."""
        if not self._over:
            self._close()
            self._request.unregisterProducer()  # type: ignore[no-untyped-call]
            self._request.finish()  # type: ignore[no-untyped-call]

    def cut(self) -> None:
        """It cannot be ended well: the browser is to notice."""
        if not self._over:
            self._close()
            channel: Any = self._request.channel
            self._request.unregisterProducer()  # type: ignore[no-untyped-call]
            channel.forceAbortClient()

    def _close(self) -> None:
        self._over = True
        stall, self._stall = self._stall, None
        if stall is not None and stall.active():
            stall.cancel()

    def _lost(self) -> None:
        if not self._over:
            self._close()
            self._source.stop()

    def _stalled(self) -> None:
        self._stall = None
        source = self._source
        self.cut()
        source.stop()

    # -- IPushProducer -----------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        if self._stall is None and not self._over:
            self._stall = self._reactor.callLater(STALL_SECONDS, self._stalled)
            self._source.pause()

    def resumeProducing(self) -> None:
        stall, self._stall = self._stall, None
        if stall is not None and stall.active():
            stall.cancel()
        if not self._over:
            self._source.resume()

    def stopProducing(self) -> None:
        self._lost()


class ConsoleSite(server.Site):
    """The site: bounded in connections, silent in the log."""

    displayTracebacks = False
    protocol: Any = ConsoleChannel

    def __init__(self, serve: Serve, reactor: Any) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            None, requestFactory=ConsoleRequest, timeout=IDLE_SECONDS, reactor=reactor
        )
        self.serve, self.reactor = serve, reactor
        self._open: Counter[str] = Counter()
        self.streams = 0  # answers that are on their way

    def begins(self, request: ConsoleRequest) -> None:
        """Its answer comes in pieces from now on."""
        self.streams += 1

        def over(_: object) -> None:
            self.streams -= 1

        request.notifyFinish().addBoth(over)

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._open.total()

    def buildProtocol(self, addr: Any) -> Any:
        peer = str(getattr(addr, "host", "") or "")
        if self._open.total() >= MOST_CONNECTIONS or (peer and self._open[peer] >= MOST_OF_ONE):
            return None
        protocol: Any = super().buildProtocol(addr)  # type: ignore[no-untyped-call]
        self._open[peer] += 1
        connection_lost = protocol.connectionLost

        def count_down(reason: Failure) -> None:
            self._open[peer] -= 1
            if self._open[peer] <= 0:
                del self._open[peer]
            connection_lost(reason)

        protocol.connectionLost = count_down
        return protocol

    def log(self, request: object) -> None:
        """What was asked stands in the audit log."""

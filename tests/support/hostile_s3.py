"""An HTTP proxy before the S3 server that answers as a store does on its worst days.

It speaks HTTP, so that it can answer 500, take a body slowly, cut an answer or lie about a checksum; requests are
passed on as they came (their signature is over the Host header, which is not ours to change).
"""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.net import LOOPBACK

PIECE = 16 << 10


class HostileS3:
    """Listens on `port`. `fault` is what the next requests meet: "", "500", "503", "403", "garbage", "cut", "hang",
    "checksum"; of what is read "body" (another byte), "more", "less" (bytes than there are), "broken" (cut in its
    middle), "trickle" (a byte now and then), "endless" (500, and words without end); `applies` chooses which, by method
    and path. `requests` has method and path of all, `met` is set when a fault was met."""

    def __init__(self, target_port: int) -> None:
        self.fault = ""
        self.applies: Callable[[str, str], bool] = lambda method, path: True
        self.requests: list[tuple[str, str]] = []
        self.met = threading.Event()
        self.hung = threading.Event()
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                """Nothing is logged."""

            def handle_expect_100(self) -> bool:
                return front.answer_expect(self)

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return lambda: front.serve(self, target_port)
                raise AttributeError(name)

        self._server = _Server((LOOPBACK, 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.hung.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> HostileS3:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def heal(self) -> None:
        self.fault = ""
        self.met.clear()

    def answer_expect(self, request: BaseHTTPRequestHandler) -> bool:
        request.send_response_only(100)
        request.end_headers()
        return True

    def serve(self, request: BaseHTTPRequestHandler, target_port: int) -> None:
        self.requests.append((request.command, request.path))
        fault = self.fault if self.applies(request.command, request.path) else ""
        if fault:
            self.met.set()
        length = int(request.headers.get("Content-Length") or 0)
        if fault == "hang":
            self.hung.wait()
            request.close_connection = True
            return
        body = request.rfile.read(length // 2 if fault == "cut" else length)
        if fault == "cut":
            request.close_connection = True
            request.connection.close()
        elif fault in ("500", "503", "403"):
            code = {"500": "InternalError", "503": "SlowDown", "403": "AccessDenied"}[fault]
            text = f"<Error><Code>{code}</Code><Message>{SECRET_ECHO}</Message></Error>".encode()
            _answer(request, int(fault), [("Content-Type", "application/xml")], text)
        elif fault == "garbage":
            _answer(request, 200, [("Content-Type", "application/xml")], b"\x1b[31m<<<not xml")
        elif fault == "endless":
            self._without_end(request)
        else:
            self._pass_on(request, target_port, body, fault)

    def _without_end(self, request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        with contextlib.suppress(OSError):
            request.send_response_only(500)
            request.end_headers()
            while not self.hung.is_set():
                request.wfile.write(b"<Error>" + bytes(1 << 20))

    def _trickle(self, request: BaseHTTPRequestHandler, data: bytes) -> None:
        with contextlib.suppress(OSError):
            for byte in data:
                request.wfile.write(bytes((byte,)))
                if self.hung.wait(0.05):
                    break
        request.close_connection = True

    def _pass_on(self, request: BaseHTTPRequestHandler, port: int, body: bytes, fault: str) -> None:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=30)
        with contextlib.closing(connection):
            connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name.lower() not in ("expect", "connection"):
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            data = answer.read()
            headers = [
                (name, value)
                for name, value in answer.getheaders()
                if name.lower() not in ("connection", "transfer-encoding", "date", "server")
            ]
            if fault == "checksum":
                headers = [
                    (name, LIE if name.lower() == "x-amz-checksum-sha256" else value)
                    for name, value in headers
                ]
            if fault == "body" and data:
                data = bytes([data[0] ^ 1]) + data[1:]
            if fault in ("more", "less"):
                data = data + data if fault == "more" else data[:-1]
                headers = [one for one in headers if one[0].lower() != "content-length"]
            if fault in ("broken", "trickle"):
                _answer(request, answer.status, headers, data[: len(data) // 2 if fault == "broken" else 0])
                request.close_connection = True
                if fault == "trickle":
                    self._trickle(request, data)
                return
            _answer(request, answer.status, headers, data)


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Clients are killed here, and servers: nothing to tell of."""


LIE = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
SECRET_ECHO = "words of the store \x9b31m that nobody may see"


def _answer(
    request: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], data: bytes
) -> None:
    with contextlib.suppress(OSError):
        request.send_response_only(status)
        named = {name.lower() for name, _ in headers}
        for name, value in headers:
            request.send_header(name, value)
        if "content-length" not in named:
            request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(data)

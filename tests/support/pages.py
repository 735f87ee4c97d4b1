"""A real HTTPS server on loopback whose pages a test makes, well and badly."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Callable
from typing import Any, Self

from tests.support.net import LOOPBACK
from tests.support.pki import Issued

PAUSE = 0.05
"""Seconds between two bytes of one that is slow."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that does not believe us, or has gone."""


class Pages:
    """Serves from the beginning until `close`. `pages` is path -> what answers it, as a body or by hand; `asked` are
    the headers of each request so far."""

    def __init__(self, issued: Issued) -> None:
        self.pages: dict[str, bytes | Callable[[Any], None]] = {}
        self.asked: list[dict[str, str]] = []
        self.over = threading.Event()
        self._server = _Server((LOOPBACK, 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def url(self, path: str, host: str = LOOPBACK) -> str:
        return f"https://{host}:{self.port}{path}"

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        pages = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                pages.asked.append(dict(self.headers))
                page = pages.pages.get(self.path)
                if page is None:
                    self.send_error(404)
                elif callable(page):
                    page(self)
                else:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(page)))
                    self.end_headers()
                    self.wfile.write(page)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- bad ones ----------------------------------------------------------------------------------------

    @staticmethod
    def status(code: int, **headers: str) -> Callable[[Any], None]:
        def page(handler: Any) -> None:
            handler.send_response(code)
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.send_header("Content-Length", "2")
            handler.end_headers()
            handler.wfile.write(b"{}")

        return page

    def drops(self, start: bytes) -> Callable[[Any], None]:
        """`start`, and then a byte now and then for ever."""

        def page(handler: Any) -> None:
            try:
                handler.wfile.write(start)
                while not self.over.wait(PAUSE):
                    handler.wfile.write(b" ")
                    handler.wfile.flush()
            except OSError:
                pass

        return page

    @staticmethod
    def endless(length: int | None = None) -> Callable[[Any], None]:
        """A body without an end, or with a length that is said before it."""

        def page(handler: Any) -> None:
            handler.send_response(200)
            if length is not None:
                handler.send_header("Content-Length", str(length))
            handler.end_headers()
            try:
                while True:
                    handler.wfile.write(b" " * 65536)
            except OSError:
                pass

        return page

    @staticmethod
    def cut_short(handler: Any) -> None:
        """Fewer bytes than were promised."""
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b'{"targets": {}}')

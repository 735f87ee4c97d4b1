"""A web server on loopback that shows the files of a folder, for what is reached through a forward."""

from __future__ import annotations

import http.server
import threading
from functools import partial
from pathlib import Path
from typing import Self

from tests.support.net import LOOPBACK


class _Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass


class Web:
    """Serves from the beginning until `close`."""

    def __init__(self, folder: Path) -> None:
        self._server = http.server.ThreadingHTTPServer((LOOPBACK, 0), partial(_Quiet, directory=str(folder)))
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def url(self, name: str, host: str = "localhost", port: int | None = None) -> str:
        return f"http://{host}:{self.port if port is None else port}/{name}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

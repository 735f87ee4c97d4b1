"""One POST to a web server, in a thread (L2): JSON for whoever is told of something. Blocks.

Invariants: no redirect is followed and no proxy asked, so headers with secrets in them go nowhere else; of an answer
only the status is read; each step has its patience, and `cut` ends the whole from another thread.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from bastion.auth.held import Held, HeldConnection, HeldPlainConnection


class Post:
    """One of them. `url` is of an option (`net.urls`): https, or http on loopback."""

    def __init__(self, url: str, body: bytes, patience: float) -> None:
        """`patience`: seconds for one step, a connection or a part of the answer."""
        self._url, self._body, self._patience = urlsplit(url), body, patience
        self._held = Held()

    def send(self, headers: Mapping[str, str]) -> int:
        """The status. Raises OSError, of which TLS has its own, and http.client.HTTPException."""
        url = self._url
        host = url.hostname or ""
        if url.scheme == "https":
            context = ssl.create_default_context()
            made: http.client.HTTPConnection = HeldConnection(
                host, url.port, context, self._patience, self._held
            )
        else:
            made = HeldPlainConnection(host, url.port, self._patience, self._held)
        try:
            path = (url.path or "/") + (f"?{url.query}" if url.query else "")
            named = {"Content-Type": "application/json", "User-Agent": "bastion", **headers}
            made.request("POST", path, self._body, named)
            return made.getresponse().status
        finally:
            made.close()
            self._held.let_go()

    def cut(self) -> None:
        """Whatever it waits for is over."""
        self._held.cut()

"""HTTP connections that can be cut from another thread, in the middle of a handshake too (L2).

A patience of the socket is for one step; who sends a byte at a time is never late. Whoever keeps the deadline cuts.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from contextlib import suppress


class Held:
    """The socket of a connection that may be cut from another thread, from before TLS takes it over."""

    def __init__(self) -> None:
        self._held: socket.socket | None = None  # a duplicate, which stays when TLS takes the other
        self._lock = threading.Lock()
        self.is_cut = False

    def take(self, connected: socket.socket) -> None:
        """This is it. Raises OSError."""
        with self._lock:
            self._held = connected.dup()
            if self.is_cut:
                self._shut()

    def cut(self) -> None:
        """Whatever waits for it is over, now or as soon as it is there."""
        with self._lock:
            self.is_cut = True
            self._shut()

    def let_go(self) -> None:
        """It is done with."""
        with self._lock:
            held, self._held = self._held, None
            if held is not None:
                held.close()

    def _shut(self) -> None:
        if self._held is not None:
            with suppress(OSError):
                self._held.shutdown(socket.SHUT_RDWR)


class HeldConnection(http.client.HTTPSConnection):
    """http.client's, whose socket `held` has before TLS takes it over: a handshake can be cut, too."""

    def __init__(
        self, host: str, port: int | None, context: ssl.SSLContext, patience: float, held: Held
    ) -> None:
        super().__init__(host, port, timeout=patience, context=context)
        self._tls, self._patience, self._held = context, patience, held

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), self._patience)
        try:
            self._held.take(plain)
            self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


class HeldPlainConnection(http.client.HTTPConnection):
    """The same without TLS."""

    def __init__(self, host: str, port: int | None, patience: float, held: Held) -> None:
        super().__init__(host, port, timeout=patience)
        self._held = held

    def connect(self) -> None:
        super().connect()
        self._held.take(self.sock)

"""A TCP proxy on loopback that can delay answers, hold a request for ever, or cut the connection.

For faults that a healthy server cannot be made to show. It forwards bytes as they come; a fault is armed with
a rule over the client's bytes and acts on the first piece that matches. Events say when a fault has happened,
so a test waits for the event and never for time.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from tests.support.net import LOOPBACK

Rule = Callable[[bytes], bool]
PIECE = 65536


def contains(text: str) -> Rule:
    """A rule: the piece holds these bytes (a DN in an LDAP bind in clear, say)."""
    wanted = text.encode()
    return lambda piece: wanted in piece


def anything(piece: bytes) -> bool:
    """A rule: the first bytes of the client."""
    return True


class FaultyProxy:
    """Listens on `port` and forwards to `target_port` until `close`."""

    def __init__(self, target_port: int, host: str = LOOPBACK) -> None:
        self._target_port = target_port
        self._listener = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._closing = threading.Event()
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._delay = 0.0
        self._flows = threading.Event()
        self._flows.set()
        self._hold: Rule | None = None
        self._cut: Rule | None = None
        self.connections = 0
        self.held = threading.Event()
        self.client_gone = threading.Event()
        threading.Thread(target=self._accept, name="faulty-proxy", daemon=True).start()

    @property
    def url(self) -> str:
        return f"ldap://{LOOPBACK}:{self.port}"

    def delay_answers(self, seconds: float) -> None:
        """Every piece from the server waits this long before it goes on."""
        self._delay = seconds

    def stall(self) -> None:
        """No piece of a client goes on until `heal`; `held` says when one has come."""
        self._flows.clear()

    def hold(self, rule: Rule) -> None:
        """The first matching piece is never forwarded, nor anything after it; `held` says when.

        `client_gone` is set when the client of a held connection gives up.
        """
        self._hold = rule

    def cut(self, rule: Rule) -> None:
        """The connection is closed instead of forwarding the first matching piece; `held` says when."""
        self._cut = rule

    def heal(self) -> None:
        """Forward faithfully again (connections already held stay held)."""
        self._delay, self._hold, self._cut = 0.0, None, None
        self._flows.set()

    def close(self) -> None:
        """Close the listener and every connection; waiting threads end."""
        self._closing.set()
        self._flows.set()
        for connection in [self._listener, *self._sockets]:
            self._drop(connection)

    def __enter__(self) -> FaultyProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection((LOOPBACK, self._target_port), timeout=30)
            server.settimeout(None)
        except OSError:
            self._drop(client)
            return
        with self._lock:
            self._sockets.update((client, server))
        back = threading.Thread(target=self._answers, args=(server, client), daemon=True)
        back.start()
        with contextlib.suppress(OSError):
            self._requests(client, server)
        self._drop(client)
        self._drop(server)
        back.join(10)
        with self._lock:
            self._sockets.difference_update((client, server))

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        while piece := client.recv(PIECE):
            if self._cut is not None and self._cut(piece):
                self.held.set()
                return
            if self._hold is not None and self._hold(piece):
                self.held.set()
                while client.recv(PIECE):
                    pass
                self.client_gone.set()
                return
            if not self._flows.is_set():
                self.held.set()
                self._flows.wait()
            server.sendall(piece)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := server.recv(PIECE):
                if self._delay and self._closing.wait(self._delay):
                    return
                client.sendall(piece)
        self._drop(client)

    @staticmethod
    def _drop(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()

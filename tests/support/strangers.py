"""Listeners that are no SSH server: silent ones, and ones that say something else."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

from tests.support.net import LOOPBACK


class Stranger:
    """Accepts on a port of its own, says `greeting` to everybody, reads for ever, answers nothing more.

    `hang_up`: closes after the greeting instead. `accepted` counts connections.
    """

    def __init__(self, greeting: bytes = b"", *, hang_up: bool = False) -> None:
        self._greeting, self._hang_up = greeting, hang_up
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self.accepted = 0
        threading.Thread(target=self._accept, name="stranger", daemon=True).start()

    def close(self) -> None:
        for connection in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.accepted += 1
                self._open.append(connection)
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(self._greeting)
            if self._hang_up:
                connection.shutdown(socket.SHUT_RDWR)
            while connection.recv(65536):
                pass

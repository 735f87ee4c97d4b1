"""Small servers that are no SSH server, what talks to them, and the kernel's table of who listens."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path
from typing import Self

from tests.support.net import LOOPBACK

LISTENING = "0A"  # the state column of /proc/net/tcp


class Talker:
    """Accepts until it is closed, each connection in a thread of its own. `accepted` counts them.

    `port` is its own; with `path` it listens on that Unix socket instead, and `port` is 0.
    """

    def __init__(self, path: Path | None = None) -> None:
        if path is None:
            self._listener = socket.create_server((LOOPBACK, 0))
            self.port: int = self._listener.getsockname()[1]
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen()
            self.port = 0
        self._open: list[socket.socket] = []
        self.accepted = 0
        threading.Thread(target=self._accept, name=type(self).__name__, daemon=True).start()

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
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        """One connection, to its end. It may end with OSError."""
        raise NotImplementedError


class Echo(Talker):
    """Sends back what it gets, and EOF for EOF, after an optional greeting. `got` is all of it."""

    def __init__(self, greeting: bytes = b"", path: Path | None = None) -> None:
        self._greeting = greeting
        self.got = b""
        super().__init__(path)

    def _talk(self, connection: socket.socket) -> None:
        connection.sendall(self._greeting)
        while piece := connection.recv(65536):
            self.got += piece
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)


class Stranger(Talker):
    """Says `greeting` to everybody, reads for ever, answers nothing more. `hang_up`: closes after the greeting."""

    def __init__(self, greeting: bytes = b"", *, hang_up: bool = False) -> None:
        self._greeting, self._hang_up = greeting, hang_up
        super().__init__()

    def _talk(self, connection: socket.socket) -> None:
        connection.sendall(self._greeting)
        if self._hang_up:
            connection.shutdown(socket.SHUT_RDWR)
        while connection.recv(65536):
            pass


class Deaf:
    """A port that takes no connection and refuses none: its queue is full, and whoever connects waits."""

    def __init__(self) -> None:
        self._listening = socket.socket()
        self._listening.bind((LOOPBACK, 0))
        self._listening.listen(0)
        self.port: int = self._listening.getsockname()[1]
        self._queued = [socket.socket() for _ in range(3)]
        for one in self._queued:
            one.setblocking(False)
            one.connect_ex((LOOPBACK, self.port))

    def close(self) -> None:
        for one in (*self._queued, self._listening):
            one.close()


def talk(port: int, data: bytes, timeout: float = 20.0) -> bytes:
    """Send `data` and EOF to a port of this machine; all that comes back."""
    with socket.create_connection((LOOPBACK, port), timeout=timeout) as connection:
        return exchange(connection, data)


def exchange(connection: socket.socket, data: bytes) -> bytes:
    """Send `data` and EOF on a connection; all that comes back. A reset counts as the end."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(65536):
            answer += piece
    return answer


def socks(port: int, host: str, wanted: int, timeout: float = 20.0) -> socket.socket:
    """A connection through a SOCKS5 proxy (RFC 1928), with the name resolved on the other side."""
    connection = socket.create_connection((LOOPBACK, port), timeout=timeout)
    connection.sendall(b"\x05\x01\x00")
    assert connection.recv(2) == b"\x05\x00"
    name = host.encode()
    connection.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + wanted.to_bytes(2, "big"))
    return connection


def listening(pid: int) -> set[tuple[str, str]]:
    """(table, local address) of every socket that a process listens on, Unix sockets too, from /proc."""
    held = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            held.add(os.readlink(link))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == LISTENING and f"socket:[{columns[9]}]" in held:
                found.add((table, columns[1]))
    for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
        columns = line.split()
        # Flag 0x10000 is __SO_ACCEPTCON: listen(2) was called.
        if int(columns[3], 16) & 0x10000 and f"socket:[{columns[6]}]" in held:
            found.add(("unix", columns[7] if len(columns) > 7 else ""))
    return found

"""The floor: a TCP proxy in plain Python that decrypts nothing, records nothing and decides nothing.

One thread, one poll, one 256 KiB buffer: read, send at once, queue only what the kernel did not take and read
no more from that side until it is gone. The same system calls as the gateway's, without SSH between them.
"""

from __future__ import annotations

import selectors
import socket
import sys

READ_SIZE = 256 * 1024


class Side:
    """One socket of a pair: what waits to be sent on it, and whether its peer has ended."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.waiting = b""
        self.ended = False
        self.other: Side


class Proxy:
    """Accepts on one port and joins every connection with a new one to the target."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._selector = selectors.DefaultSelector()
        self._buffer = bytearray(READ_SIZE)
        self._view = memoryview(self._buffer)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._selector.register(self._listener, selectors.EVENT_READ, None)

    def run(self) -> None:
        while True:
            for key, ready in self._selector.select():
                side: Side | None = key.data
                if side is None:
                    self._accept()
                    continue
                if ready & selectors.EVENT_WRITE:
                    self._flush(side)
                if ready & selectors.EVENT_READ and side.socket.fileno() >= 0:
                    self._forward(side)

    def _accept(self) -> None:
        client = self._listener.accept()[0]
        near, far = Side(client), Side(socket.create_connection(self._target))
        near.other, far.other = far, near
        for side in (near, far):
            side.socket.setblocking(False)
            side.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(side.socket, selectors.EVENT_READ, side)

    def _forward(self, side: Side) -> None:
        try:
            size = side.socket.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if not size:
            self._end(side)
            return
        other = side.other
        try:
            sent = other.socket.send(self._view[:size])
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end(side)
            return
        if sent < size:
            other.waiting = bytes(self._view[sent:size])
            self._watch(other)
            self._watch(side)

    def _flush(self, side: Side) -> None:
        try:
            sent = side.socket.send(side.waiting)
        except BlockingIOError:
            return
        except OSError:
            self._end(side)
            return
        side.waiting = side.waiting[sent:]
        if not side.waiting:
            self._watch(side)
            self._watch(side.other)

    def _watch(self, side: Side) -> None:
        """Read unless the other side is full, write while something waits."""
        if side.socket.fileno() < 0:
            return
        events = 0 if side.other.waiting or side.ended else selectors.EVENT_READ
        events |= selectors.EVENT_WRITE if side.waiting else 0
        if side.socket in self._selector.get_map():
            self._selector.unregister(side.socket)
        if events:
            self._selector.register(side.socket, events, side)

    def _end(self, side: Side) -> None:
        for one in (side, side.other):
            if one.socket.fileno() >= 0:
                if one.socket in self._selector.get_map():
                    self._selector.unregister(one.socket)
                one.socket.close()


if __name__ == "__main__":
    proxy = Proxy(("127.0.0.1", int(sys.argv[1])))
    print(proxy.port, flush=True)
    proxy.run()

"""TCP connections that read much, write at once and copy little (docs/performance.md, where the time goes).

One buffer is shared by all connections of the process: a read fills it, as far as `pace` lets one turn go, the
protocol above consumes it completely in the same turn (it gets a memoryview that is reused at the next read) and
keeps copies only of what it must keep. A write goes to the kernel at once; only what the kernel did not take is
queued, and then the registered producer is paused at the first queued byte.

`listen` and `connect` put these classes in the place of Twisted's own.
"""

from __future__ import annotations

import fcntl
import socket
import sys
import termios
from collections.abc import Callable
from time import thread_time
from typing import Any

from twisted.internet import main, tcp

from bastion.net.descriptors import EXHAUSTED
from bastion.net.listening import BACKLOG, open_listener
from bastion.net.read_size import FIRST_READ, LONG_TURN, READ_SIZE, pace
from bastion.wire.packets import BurstBuffer

SEND_SIZE = 1024 * 1024
"""Bytes of one send from the queue; the kernel takes what fits."""

MAX_ACCEPTS = 8
"""Connections accepted in one turn. Each costs about 0.1 ms, and Twisted takes a hundred and more."""

GIVE_WAY = 0.003
"""Seconds in which another process that has fewer connections may accept who waits, before this one does: it needs one
turn of its event loop."""

QUICK_READS = 64
"""Reads after which an ACK is sent at once, unless an answer carries it. OpenSSH runs Nagle until its session is
interactive, and a delayed ACK costs 40 ms for each of its messages; a login and the opening of a session are below
64 reads."""

_BUFFER = bytearray(READ_SIZE)
_VIEW = memoryview(_BUFFER)
_read_size = pace.read_size

# tcp(7): SIOCOUTQ, unacknowledged bytes of the send queue, has the number of TIOCOUTQ.
_TIOCOUTQ: int | None = getattr(termios, "TIOCOUTQ", None) if sys.platform == "linux" else None
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


class DirectConnection:
    """The reading and writing shared by `Server` and `Client`; stands before Twisted's class in the order."""

    SEND_LIMIT = SEND_SIZE

    socket: socket.socket
    protocol: Any
    connected: int
    offset: int
    dataBuffer: bytes
    _tempDataBuffer: list[bytes]
    _tempDataLen: int
    _writeDisconnected: bool
    _writeDisconnecting: bool
    _maybePauseProducer: Callable[[], None]
    startWriting: Callable[[], None]
    registerProducer: Callable[[Any, bool], None]
    unregisterProducer: Callable[[], None]
    loseConnection: Callable[[], None]
    abortConnection: Callable[[], None]

    direct = True  # net.epoll
    gathers = False  # net.read_size: small reads of bulk are worth to wait for more
    background = False  # net.epoll: its events wait behind others'
    burst_buffer = BurstBuffer()
    quick_reads = QUICK_READS
    read_most = FIRST_READ  # bytes of the next read
    bytes_taken = 0

    def doRead(self) -> Exception | None:
        """Read once into the shared buffer and hand it up; it is free again when this returns."""
        try:
            size = self.socket.recv_into(_BUFFER, min(_read_size(), self.read_most))
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return main.CONNECTION_LOST
        if not size:
            return main.CONNECTION_DONE
        taken = self.bytes_taken
        if size < FIRST_READ:
            self.protocol.dataReceived(_VIEW[:size])
        else:
            self._hand_up_much(size)
        if self.quick_reads and _QUICKACK is not None and self.connected:
            self.quick_reads -= 1
            if self.bytes_taken == taken:  # an answer has taken the ACK with it
                try:
                    self.socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
                except OSError:
                    pass  # a socket that is not TCP, or is gone: the next read says which
        return None

    def _hand_up_much(self, size: int) -> None:
        """Hand up a read of `size` bytes, and see by what it costs how much the next may bring."""
        if self.gathers:
            pace.moved(size)
        began = thread_time()
        self.protocol.dataReceived(_VIEW[:size])
        if thread_time() - began > LONG_TURN:
            self.read_most = FIRST_READ
        elif size == self.read_most:
            self.read_most = min(2 * size, READ_SIZE)

    @property
    def queued(self) -> int:
        """Bytes that the kernel has not taken."""
        return len(self.dataBuffer) - self.offset + self._tempDataLen

    def unsent(self) -> int:
        """Bytes that the peer's kernel has not acknowledged: ours and those in the kernel's send queue.

        An abort throws all of them away, so whoever ends a connection looks here and not at `queued`.
        """
        if _TIOCOUTQ is None:
            return self.queued
        try:
            answer = fcntl.ioctl(self.socket.fileno(), _TIOCOUTQ, b"\0\0\0\0")
        except (OSError, ValueError):
            return self.queued
        return self.queued + int.from_bytes(answer, sys.byteorder)

    def write(self, data: bytes | memoryview) -> None:
        """Send now what the kernel takes, queue a copy of the rest; the order of writes is kept."""
        if not self.connected or self._writeDisconnected or not data:
            return
        if not self._tempDataLen and self.offset == len(self.dataBuffer):
            try:
                sent = self.socket.send(data)
            except OSError:
                sent = 0  # full, or broken: then the reactor's next read or write finds out
            self.bytes_taken += sent
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        data = bytes(data)
        self._tempDataBuffer.append(data)
        self._tempDataLen += len(data)
        self._maybePauseProducer()
        self.startWriting()

    def writeSomeData(self, data: bytes) -> int | Exception:
        """Called by the reactor when the kernel takes more."""
        taken: int | Exception = super().writeSomeData(data)  # type: ignore[misc]
        if isinstance(taken, int):
            self.bytes_taken += taken
        return taken

    def loseWriteConnection(self) -> None:
        """Close our side: now, when the kernel has taken everything, else behind what is queued."""
        if self.connected and not self.queued:
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the peer is gone: the reactor finds that out, even when nobody reads
            else:
                self._writeDisconnecting = self._writeDisconnected = True
                return
        super().loseWriteConnection()  # type: ignore[misc]

    def _isSendBufferFull(self) -> bool:
        """A producer is paused as soon as anything is queued: the kernel's buffer is queue enough."""
        return bool(self._tempDataLen) or self.offset != len(self.dataBuffer)


class Server(DirectConnection, tcp.Server):  # type: ignore[misc]
    """An accepted connection; in the background until `leave_background`."""

    background = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.setTcpNoDelay(True)

    def give_to(self, protocol: Any) -> None:
        """What is read from now on is that protocol's, with the rest of this read: whoever gives it hands that up."""
        self.protocol = protocol
        protocol.makeConnection(self)

    def leave_background(self) -> None:
        """Its peer has proved who it is: what it sends is read before anything that a stranger sends."""
        self.background = False


class Client(DirectConnection, tcp.Client):  # type: ignore[misc]
    """A connection that we made: what comes on it is a download."""

    gathers = True

    def _connectDone(self) -> None:
        self.setTcpNoDelay(True)
        super()._connectDone()  # type: ignore[no-untyped-call]


class _Listening(socket.socket):
    """A listening socket that says when there is no descriptor for who connects. Twisted then closes what waits."""

    def __init__(self, made: socket.socket, told: Callable[[], None]) -> None:
        super().__init__(made.family, made.type, made.proto, fileno=made.detach())
        self._told = told

    def accept(self) -> tuple[socket.socket, Any]:
        try:
            return super().accept()
        except OSError as error:
            if error.errno in EXHAUSTED:
                self._told()
            raise


class Port(tcp.Port):
    """A listening port whose connections are `Server`s."""

    direct = True  # net.epoll: accepts in each turn, MAX_ACCEPTS at most
    transport = Server
    _gave_way = False  # the last time that somebody waited

    def __init__(self, listener: socket.socket, factory: Any, reactor: Any) -> None:
        """Accepts from a duplicate of `listener`, which stays open: closing a port ends nothing for its queue."""
        host, port = listener.getsockname()[:2]
        super().__init__(port, factory, BACKLOG, host, reactor)
        own = listener.dup()
        told = getattr(factory, "out_of_descriptors", None)
        self._preexistingSocket = own if told is None else _Listening(own, told)

    def doRead(self) -> None:
        """Accept who waits, MAX_ACCEPTS at most: the others at the next turn. A factory with `gives_way` shares the
        socket with other processes: then one at a time, and whoever has fewer connections first."""
        gives_way = getattr(self.factory, "gives_way", None)
        if gives_way is None:
            self.numberAccepts = min(self.numberAccepts, MAX_ACCEPTS)
        elif not self._gave_way and gives_way():
            self._gave_way = True
            self.stopReading()  # type: ignore[no-untyped-call]
            self.reactor.callLater(GIVE_WAY, self._look_again)
            return
        else:
            self._gave_way = False
            self.numberAccepts = 1
        super().doRead()  # type: ignore[no-untyped-call]

    def _look_again(self) -> None:
        if self.connected:
            self.startReading()  # type: ignore[no-untyped-call]


class Connector(tcp.Connector):
    """Makes a `Client`."""

    def _makeTransport(self) -> Client:
        return Client(  # type: ignore[no-untyped-call]
            self.host, self.port, self.bindAddress, self, self.reactor
        )


def accept(reactor: Any, listener: socket.socket, factory: Any) -> Port:
    """Accept connections of `listener`, which the caller keeps."""
    port = Port(listener, factory, reactor)
    port.startListening()
    return port


def listen(reactor: Any, port: int, factory: Any, interface: str = "") -> Port:
    """Listen on `interface` (numeric, empty for all) and `port` (0 = any). Raises OSError."""
    with open_listener(interface, port) as listener:
        return accept(reactor, listener, factory)


def connect(
    reactor: Any,
    host: str,
    port: int,
    factory: Any,
    timeout: float,
    bind_address: tuple[str, int] | None = None,
) -> Connector:
    """Connect to the numeric address `host`; the factory (a ClientFactory) hears how it went."""
    connector = Connector(host, port, factory, timeout, bind_address, reactor)
    connector.connect()
    return connector

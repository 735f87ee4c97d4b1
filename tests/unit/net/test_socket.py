"""Reading into the shared buffer and writing at once, over a loopback socket and without a reactor."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet import main
from twisted.python.failure import Failure

from bastion.net import socket as io
from bastion.net.read_size import FIRST_READ, LONG_TURN, READ_SIZE


class Watch:
    """A reactor that only remembers who wants to read and write."""

    def __init__(self) -> None:
        self.readers: set[object] = set()
        self.writers: set[object] = set()

    def addReader(self, reader: object) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: object) -> None:
        self.readers.discard(reader)

    def addWriter(self, writer: object) -> None:
        self.writers.add(writer)

    def removeWriter(self, writer: object) -> None:
        self.writers.discard(writer)

    def callLater(self, delay: float, call: Any, *args: Any) -> None:
        call(*args)


class Sink:
    """A protocol that keeps copies, and what it was handed."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.sizes: list[int] = []
        self.views: list[object] = []
        self.lost: object = None

    def dataReceived(self, data: memoryview) -> None:
        self.data += data
        self.sizes.append(len(data))
        self.views.append(data.obj)

    def connectionLost(self, reason: object) -> None:
        self.lost = reason


class Source:
    """A push producer that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def pauseProducing(self) -> None:
        self.said.append("pause")

    def resumeProducing(self) -> None:
        self.said.append("resume")

    def stopProducing(self) -> None:
        self.said.append("stop")


Joint = tuple[io.Server, Sink, socket.socket, Watch]


@pytest.fixture
def joint() -> Iterator[Joint]:
    """A `Server` and the plain socket on the other side."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        ours, address = listening.accept()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    sink, watch = Sink(), Watch()
    server = io.Server(ours, sink, address, None, 1, watch)
    theirs.settimeout(5)
    yield server, sink, theirs, watch
    theirs.close()
    ours.close()


def test_a_read_is_one_view_of_the_shared_buffer(joint: Joint) -> None:
    server, sink, theirs, _ = joint
    theirs.sendall(b"x" * 200_000)
    while len(sink.data) < 200_000:
        assert server.doRead() is None
    assert bytes(sink.data) == b"x" * 200_000
    assert max(sink.sizes) > 64 * 1024
    assert all(view is io._BUFFER for view in sink.views)


class Full:
    """A socket in which more waits than anybody reads at once."""

    def recv_into(self, buffer: bytearray, size: int) -> int:
        return size

    def setsockopt(self, *_: Any) -> None: ...


def test_reads_grow_while_they_are_quick_and_are_small_after_a_costly_one(
    joint: Joint, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, sink, _, _ = joint
    spent, costly = [0.0], [False]
    monkeypatch.setattr(io, "thread_time", lambda: spent[0])
    monkeypatch.setattr(server, "socket", Full())
    take = sink.dataReceived

    def spend(data: memoryview) -> None:
        spent[0] += 2 * LONG_TURN if costly[0] else LONG_TURN / 20
        take(data)

    monkeypatch.setattr(sink, "dataReceived", spend)
    for costly[0] in (False, True, False):
        for _ in range(7):
            assert server.doRead() is None
    growing = [16384, 32768, 65536, 131072, 262144, 524288, 524288]
    assert growing[0] == FIRST_READ and growing[-1] == READ_SIZE
    assert sink.sizes == growing + [READ_SIZE] + [FIRST_READ] * 6 + growing


def test_an_empty_socket_is_no_end(joint: Joint) -> None:
    server, sink, theirs, _ = joint
    assert server.doRead() is None and sink.sizes == []
    theirs.close()
    assert server.doRead() is main.CONNECTION_DONE


def test_a_reset_is_a_loss(joint: Joint) -> None:
    server, *_ = joint
    server.socket.close()
    assert server.doRead() is main.CONNECTION_LOST


def test_a_write_goes_out_at_once(joint: Joint) -> None:
    server, _, theirs, watch = joint
    source = Source()
    server.registerProducer(source, True)
    server.write(b"hello")
    assert theirs.recv(100) == b"hello"
    assert server.queued == 0 and server not in watch.writers and source.said == []
    assert server.bytes_taken == 5


def test_a_view_is_not_kept_when_its_buffer_is_used_again(joint: Joint) -> None:
    server, _, theirs, watch = joint
    shared, sent = bytearray(400_000), bytearray()
    for number in range(20):
        shared[:] = bytes([number]) * len(shared)
        sent += shared
        server.write(memoryview(shared))
    shared[:] = b"\xee" * len(shared)
    assert server.queued > 0
    got = bytearray()
    while len(got) < len(sent):
        got += theirs.recv(1 << 20)
        if server in watch.writers:
            assert server.doWrite() is None
    assert got == sent


def test_what_the_kernel_does_not_take_is_queued_in_order_and_the_producer_paused(joint: Joint) -> None:
    server, _, theirs, watch = joint
    source = Source()
    server.registerProducer(source, True)
    pieces = [bytes([number]) * 300_000 for number in range(20)]
    for piece in pieces:
        server.write(piece)
    assert server.queued > 0 and server in watch.writers
    assert set(source.said) == {"pause"}
    got = bytearray()
    while len(got) < 20 * 300_000:
        got += theirs.recv(1 << 20)
        if server in watch.writers:
            assert server.doWrite() is None
    assert bytes(got) == b"".join(pieces)
    assert source.said[-1] == "resume" and source.said.count("resume") == 1
    assert server.queued == 0 and server not in watch.writers
    assert server.bytes_taken == 20 * 300_000


def test_unsent_counts_what_the_peer_has_still_to_take_here_and_in_the_kernel(joint: Joint) -> None:
    server, _, theirs, watch = joint
    server.write(bytes(10_000_000))
    before = server.unsent()
    assert before > server.queued > 0
    got = 0
    while got < 10_000_000:
        got += len(theirs.recv(1 << 20))
        if server in watch.writers:
            server.doWrite()
    give_up_at = time.monotonic() + 5
    while server.unsent():  # the other kernel may take its time to acknowledge
        assert time.monotonic() < give_up_at
    server.socket.close()
    assert server.unsent() == server.queued == 0


def test_a_write_behind_a_queue_does_not_overtake_it(joint: Joint) -> None:
    server, _, theirs, watch = joint
    server.write(b"a" * 6_000_000)
    assert server.queued > 0
    got = theirs.recv(1 << 20)
    server.write(b"b" * 10)
    while len(got) < 6_000_010:
        if server in watch.writers:
            server.doWrite()
        got += theirs.recv(1 << 20)
    assert got == b"a" * 6_000_000 + b"b" * 10


def test_our_side_closes_at_once_when_the_kernel_has_taken_everything(joint: Joint) -> None:
    server, sink, theirs, watch = joint
    server.startReading()
    server.write(b"last words")
    server.loseWriteConnection()
    server.write(b"late")
    assert server not in watch.writers
    assert theirs.recv(100) == b"last words" and theirs.recv(100) == b""
    theirs.sendall(b"still heard")
    assert server.doRead() is None
    assert bytes(sink.data) == b"still heard"


def test_our_side_closes_behind_what_is_queued(joint: Joint) -> None:
    server, _, theirs, watch = joint
    server.write(b"a" * 6_000_000)
    assert server.queued > 0
    server.loseWriteConnection()
    got = bytearray()
    while piece := theirs.recv(1 << 20):
        got += piece
        if server in watch.writers:
            server.doWrite()
    assert bytes(got) == b"a" * 6_000_000


def test_closing_our_side_of_a_broken_socket_is_no_fault(joint: Joint) -> None:
    server, sink, theirs, watch = joint
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    server.loseWriteConnection()
    assert server in watch.writers, "a reader that is paused would never find out"
    assert isinstance(server.doRead(), Exception)
    server.readConnectionLost(Failure(main.CONNECTION_LOST))
    server.loseWriteConnection()
    assert sink.lost is not None


def test_a_write_to_a_broken_socket_is_found_by_the_reactor(joint: Joint) -> None:
    server, _, theirs, watch = joint
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    server.write(b"one")
    server.write(b"two")
    assert server in watch.writers
    assert isinstance(server.doWrite(), Exception)


def test_nothing_is_written_after_the_end(joint: Joint) -> None:
    server, sink, *_ = joint
    server.abortConnection()
    assert sink.lost is not None
    server.write(b"late")
    assert server.queued == 0


def test_nagle_is_off_and_acks_are_quick_for_a_while(joint: Joint) -> None:
    server, _, theirs, _ = joint
    assert server.getTcpNoDelay()
    for _ in range(io.QUICK_READS + 2):
        theirs.sendall(b"x")
        server.socket.setblocking(True)
        server.doRead()
        server.socket.setblocking(False)
    assert server.quick_reads == 0


class Later(Watch):
    """A reactor whose timers wait until the test lets them go."""

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[Any] = []

    def callLater(self, delay: float, call: Any, *args: Any) -> None:
        self.timers.append((delay, call))


class Door:
    """Accepts whoever comes; `turns` says whether another process goes first, each time that it is asked."""

    def __init__(self, turns: list[bool]) -> None:
        self.turns = turns
        self.accepted = 0

    def gives_way(self) -> bool:
        return self.turns.pop(0)

    def doStart(self) -> None: ...
    def doStop(self) -> None: ...

    def buildProtocol(self, address: object) -> None:
        self.accepted += 1


def test_a_port_that_shares_its_socket_lets_another_process_go_first_and_then_takes_one() -> None:
    later, door = Later(), Door([True, False])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = io.accept(later, listener, door)
        waiting = [socket.create_connection(listener.getsockname()) for _ in range(2)]
        try:
            port.doRead()
            assert door.accepted == 0 and port not in later.readers
            (delay, look_again) = later.timers.pop()
            assert delay == io.GIVE_WAY
            look_again()
            assert port in later.readers
            port.doRead()
            assert door.accepted == 1, "whoever has fewer is asked again before the next"
            assert door.turns == [False], "it has given way once: the one who waits is served now"
            port.doRead()
            assert door.accepted == 2 and later.timers == []
        finally:
            for one in waiting:
                one.close()
            port.stopListening()

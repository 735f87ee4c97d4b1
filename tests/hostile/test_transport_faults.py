"""Connections that break or are bent at every place, in memory and on real sockets.

Whatever happens: no fault of ours ("internal error"), one close reason, no timer left, nothing delivered that
was not sent.
"""

from __future__ import annotations

import gc
import socket
import struct
import threading
import time
import weakref

import pytest
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from bastion.errors import LimitReason
from bastion.transport.settings import LINGER, HostKey, TransportSettings
from bastion.transport.states import State
from bastion.wire.kexinit import FRONT
from tests.hostile.rawssh import RawSsh, SocketWire, debug, ignore
from tests.interop.transport_peers import serving
from tests.support.reactor import run
from tests.unit.transport.parts import (
    FAST,
    HOST_KEY,
    Bench,
    Joined,
    client_settings,
    log_in,
    raw_side,
    server_settings,
)

BOTH = pytest.mark.parametrize("server", [True, False], ids=["server", "client"])
REAL = TransportSettings(FRONT, (HostKey(HOST_KEY),))


def check_end(bench: Bench) -> None:
    """The transport is closed, for a reason that is not ours, and leaves nothing."""
    assert len(bench.closed) <= 1
    for reason in bench.closed:
        assert reason.text != "internal error"
    bench.transport.connectionLost(Failure(ConnectionLost()))
    assert bench.transport.state is State.CLOSED and len(bench.closed) == 1
    assert bench.clock.getDelayedCalls() == []


def one_session(cut_server: int, cut_client: int, bend: bool) -> tuple[Joined, int, int]:
    """Handshake, data, a rekey and data again; each direction is cut (or bent by one bit) at a byte."""
    pair = Joined(server_settings(FAST), client_settings(FAST))
    done = [0, 0]
    cuts = (cut_server, cut_client)

    def carry(source: Bench, sink: Bench, way: int) -> bool:
        data = bytearray(source.end.written)
        source.end.written.clear()
        if not data:
            return False
        at = cuts[way] - done[way]
        done[way] += len(data)
        if 0 <= at < len(data):
            if bend:
                data[at] ^= 0x10
            else:
                del data[at:]
        elif at < 0 and not bend:
            return False
        sink.transport.dataReceived(bytes(data))
        return True

    def pump() -> None:
        while carry(pair.server, pair.client, 0) | carry(pair.client, pair.server, 1):
            pass

    def talk() -> None:
        if pair.server.secured and pair.client.secured:
            pair.server.trust()
            pair.client.trust()
            pair.server.transport.send([b"\x5eserver"])
            pair.client.transport.send([b"\x5eclient"])
        pump()

    pump()
    talk()
    pair.server.transport.keys.rekey()
    talk()
    return pair, done[0], done[1]


FAR = 1 << 30


@pytest.mark.parametrize("bend", [False, True], ids=["cut", "bent"])
@pytest.mark.parametrize("way", [0, 1], ids=["from server", "from client"])
def test_cut_or_bent_at_every_byte(way: int, bend: bool) -> None:
    whole, *lengths = one_session(FAR, FAR, False)
    assert whole.server.transport.keys.count == 2
    assert whole.server.receiver.payloads == [b"\x5eclient"] * 2
    for at in range(0, lengths[way], 3 if bend else 5):
        cuts = (at, FAR) if way == 0 else (FAR, at)
        pair, _, _ = one_session(*cuts, bend)
        for bench, word in ((pair.server, b"\x5eclient"), (pair.client, b"\x5eserver")):
            assert set(bench.receiver.payloads) <= {word}
            check_end(bench)


@BOTH
def test_noise_between_all_messages_of_a_rekey(server: bool) -> None:
    bench, raw = raw_side(server)
    log_in(bench, raw)
    noise = (ignore(7), debug(), b"\x03\0\0\0\0")
    send = raw.send

    def noisy(*payloads: bytes) -> None:
        for payload in payloads:
            send(*noise, payload)

    raw.send = noisy  # type: ignore[method-assign]
    for _ in range(3):
        raw.exchange()
        bench.transport.keys.rekey()
        raw.answer_exchange()
        raw.send(b"\x5ehello")
    assert bench.transport.keys.count == 7 and not bench.closed
    assert bench.receiver.payloads == [b"\x5ehello"] * 3


# -- on real sockets -----------------------------------------------------------------------------------------


def wait_until(condition: object, seconds: float = 20.0) -> None:
    """Return when `condition()` is true; the test fails after `seconds`."""
    assert callable(condition)
    pause, end = threading.Event(), time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        pause.wait(0.01)


def test_the_disconnect_is_read_although_much_of_our_input_was_not() -> None:
    with serving(REAL) as server:
        wire = SocketWire.connect(server.port)
        raw = RawSsh(wire, algorithms=FRONT)
        raw.handshake()
        raw.send(b"\x5e" + bytes(60000), *[ignore(1000)] * 300)
        code, text = raw.read_disconnect()
        assert code == 2 and "CHANNEL_DATA is not allowed" in text
        assert wire.receive() == b""  # our side is closed at once
        wire.close()


def test_c24_a_peer_that_does_not_close_is_aborted_soon() -> None:
    with serving(REAL) as server:
        wire = SocketWire.connect(server.port)
        raw = RawSsh(wire, algorithms=FRONT)
        raw.handshake()
        began = time.monotonic()
        raw.send(b"\x5e")
        raw.read_disconnect()
        transport = server.transports[0]
        wait_until(lambda: transport.below is None, LINGER + 3)
        assert time.monotonic() - began < LINGER + 2
        wire.close()


def test_c12_a_client_that_never_reads_is_aborted_and_costs_little() -> None:
    with serving(REAL, accept=True) as server:
        wire = SocketWire.connect(server.port)
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw = RawSsh(wire, algorithms=FRONT)
        raw.handshake()
        raw.request_service()
        raw.request_login(b"alice")
        raw.read_until(52)
        burst = raw.writer
        try:
            for _ in range(4000):
                wire.send(burst.seal([b"\xc0" + struct.pack(">I", 1000) + bytes(1000)] * 100))
        except OSError:
            pass
        transport = server.transports[0]
        wait_until(lambda: bool(server.closed))
        assert "does not read" in server.closed[0].text
        assert transport.bytes_sent < 64 << 20
        wire.close()


def test_a_stopped_reader_in_a_download_costs_nothing() -> None:
    with serving(REAL, accept=True) as server:
        wire = SocketWire.connect(server.port)
        raw = RawSsh(wire, algorithms=FRONT)
        raw.handshake()
        raw.request_service()
        raw.request_login(b"alice")
        raw.read_until(52)
        window = 1 << 30
        raw.send(b"\x5a\0\0\0\x07session" + struct.pack(">III", 0, window, 32768))
        raw.read_until(91)
        raw.send(b"\x62\0\0\0\0\0\0\0\x04exec\0" + struct.pack(">I", 10) + b"1000000000")
        transport = server.transports[0]
        wait_until(lambda: transport.blocked)
        sent = transport.bytes_sent
        threading.Event().wait(0.3)
        assert transport.bytes_sent == sent and not server.closed
        assert transport.below.queued < 1 << 20  # type: ignore[attr-defined, union-attr]
        wire.close()


def test_a_slow_reader_gets_all_that_was_queued_before_our_disconnect() -> None:
    with serving(REAL, accept=True) as server:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        sock.connect(("127.0.0.1", server.port))
        raw = RawSsh(SocketWire(sock), algorithms=FRONT)
        raw.handshake()
        raw.request_service()
        raw.request_login(b"alice")
        raw.read_until(52)
        raw.send(b"\x5a\0\0\0\x07session" + struct.pack(">III", 0, 1 << 30, 32768))
        raw.read_until(91)
        raw.send(b"\x62\0\0\0\0\0\0\0\x04exec\0" + struct.pack(">I", 9) + b"100000000")
        transport = server.transports[0]
        wait_until(lambda: transport.blocked)
        run(lambda: transport.disconnect(11, "bye"))
        left = transport.below.unsent()  # type: ignore[attr-defined, union-attr]
        began, pause, got = time.monotonic(), threading.Event(), 0
        while left > got:  # an even pace that takes twice as long as a silent peer is given
            pause.wait(0.02)
            piece = sock.recv(max(left // 200, 16384))
            if not piece:
                break
            got += len(piece)
            raw.reader.feed(piece)
            raw.inbox += raw.reader.packets()
        assert raw.read_disconnect() == (11, "bye")
        assert time.monotonic() - began > LINGER
        sock.close()
        wait_until(lambda: transport.below is None)


def test_many_half_open_connections_do_not_disturb_a_good_one() -> None:
    with serving(REAL) as server:
        idle = [SocketWire.connect(server.port) for _ in range(200)]
        for wire in idle[::2]:
            wire.send(b"SSH-2.0-idle\r\n")
        raw = RawSsh(SocketWire.connect(server.port), algorithms=FRONT)
        began = time.monotonic()
        raw.handshake()
        assert time.monotonic() - began < 10
        for wire in idle:
            wire.close()
        raw.wire.close()  # type: ignore[attr-defined]
        wait_until(lambda: len(server.closed) == 201)


@pytest.mark.parametrize("ending", ["theirs", "ours", "abort"])
def test_a_closed_connection_is_freed_without_the_collector(ending: str) -> None:
    with serving(REAL) as server:
        raw = RawSsh(SocketWire.connect(server.port), algorithms=FRONT)
        raw.handshake()
        gc.collect()
        gc.disable()
        try:
            alive = run(lambda: [weakref.ref(server.transports[0]), weakref.ref(server.transports[0].below)])
            if ending == "ours":
                run(lambda: server.transports[0].disconnect(11, "bye"))
                raw.read_disconnect()
            elif ending == "abort":
                run(lambda: server.transports[0].give_up("enough", LimitReason.KEX_QUEUE))
            raw.wire.close()  # type: ignore[attr-defined]
            wait_until(lambda: server.transports[0].below is None)
            run(server.transports.clear)
            run(lambda: None)  # the reactor's own turn is over
            assert [reference() for reference in alive] == [None, None]
        finally:
            gc.enable()

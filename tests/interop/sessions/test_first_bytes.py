"""Bytes that stand in the same segment as the answer to the open, in both directions, 200 times over.

Peers by hand on both ends: what OpenSSH sends in two packets they send in one write, so that the gateway reads
confirmation and data at once.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bastion.ca.keys import load_private_key
from bastion.wire.data import string
from bastion.wire.keys import PrivateKey
from bastion.wire.messages import (
    ChannelOpen,
    ChannelOpenConfirmation,
    ChannelRequest,
    Close,
    Data,
    Eof,
)
from bastion.wire.numbers import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_CONFIRMATION,
    MSG_CHANNEL_WINDOW_ADJUST,
)
from tests.hostile.rawssh import Closed, RawSsh, SocketWire
from tests.support.doors import Door, JumpDoor, shared_world
from tests.support.net import LOOPBACK
from tests.support.rawlogin import ProcessWire, let_in, log_in
from tests.support.recorded import Watch

pytestmark = pytest.mark.interop

ROUNDS = 200
HOST_KEY = PrivateKey.generate_ed25519()


class EagerTarget:
    """Confirms a channel and says all it has to say in one write: data, end, close."""

    def __init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        raw = RawSsh(SocketWire(connection), server=True, host_key=HOST_KEY)
        try:
            let_in(raw)
            while True:
                payload = raw.read()
                if payload[0] == MSG_CHANNEL_OPEN:
                    opened = ChannelOpen.parse(payload)
                    peer = opened.sender
                    raw.send(
                        ChannelOpenConfirmation(peer, peer, 1 << 20, 32768).encode(),
                        Data(peer, b"hello %d" % peer).encode(),
                        Eof(peer).encode(),
                        Close(peer).encode(),
                    )
        except Closed:
            pass
        finally:
            connection.close()


@pytest.fixture(scope="module")
def eager() -> Iterator[Door]:
    """The direct door to the eager target."""
    world, target = shared_world(), EagerTarget()
    try:
        world.add_target("eager", LOOPBACK, target.port, " ".join(HOST_KEY.public.line().split()[:2]))
        world.start()
        yield Door(world, "eager")
    finally:
        target.close()
        world.close()


@contextmanager
def connected(door: Door) -> Iterator[RawSsh]:
    """A client by hand, logged in: on a socket, or on the output and input of `ssh -W`."""
    wire: SocketWire | ProcessWire = SocketWire.connect(door.port)
    if isinstance(door, JumpDoor):
        wire.close()
        wire = ProcessWire(door.proxy_command, door.environment())
    try:
        raw = RawSsh(wire)
        log_in(raw, door.user, load_private_key(door.key))
        yield raw
    finally:
        wire.close()


def take_all(client: RawSsh, number: int) -> bytes:
    """What comes on a channel until it is closed."""
    out = bytearray()
    while True:
        payload = client.read()
        if payload[0] == MSG_CHANNEL_DATA:
            message = Data.parse(payload)
            assert message.recipient == number
            out += message.data
        elif payload[0] == MSG_CHANNEL_CLOSE:
            return bytes(out)


def test_data_in_one_segment_with_the_confirmation(eager: Door) -> None:
    watch = Watch(eager.world)
    with connected(eager) as client:
        for number in range(ROUNDS):
            client.send(ChannelOpen("session", number, 1 << 20, 32768).encode())
            assert take_all(client, number) == b"hello %d" % number
            client.send(Close(number).encode())
    assert [*watch.session().streams().values()] == [b"hello %d" % number for number in range(ROUNDS)]


def test_ssh_prints_what_came_with_the_confirmation(eager: Door) -> None:
    watch = Watch(eager.world)
    done = eager.ssh(options=["-W", "localhost:80"])
    assert (done.returncode, done.stdout) == (0, b"hello 0"), done.stderr.decode()
    assert watch.session().exported() == b"hello 0"


def test_input_and_its_end_in_one_segment_while_output_comes_at_once(door: Door) -> None:
    """Input and its end in one write as soon as the target takes any, not waiting for the answer to `exec`.

    (sshd opens its window only when there is a program.)
    """
    watch = door.watch()
    with connected(door) as client:
        for number in range(ROUNDS):
            client.send(ChannelOpen("session", number, 1 << 20, 32768).encode())
            opened = ChannelOpenConfirmation.parse(client.read_until(MSG_CHANNEL_OPEN_CONFIRMATION))
            client.send(ChannelRequest(opened.sender, "exec", False, string("echo at once; cat")).encode())
            client.read_until(MSG_CHANNEL_WINDOW_ADJUST)
            client.send(
                Data(opened.sender, b"round %d" % number).encode(),
                Eof(opened.sender).encode(),
            )
            assert take_all(client, number) == b"at once\nround %d" % number
            client.send(Close(opened.sender).encode())
    recorded = watch.session()
    assert [*recorded.streams().values()] == [b"at once\nround %d" % number for number in range(ROUNDS)]
    assert [*recorded.streams("stdin").values()] == [b"round %d" % number for number in range(ROUNDS)]

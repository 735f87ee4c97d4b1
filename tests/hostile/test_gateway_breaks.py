"""A sample of `test_every_break.py` through real TCP: the gateway process between a raw engineer and a raw target."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from random import Random

import pytest

from bastion.wire.kexinit import COMPAT
from tests.hostile import memory_gateway as gate
from tests.hostile.breaks import GOODBYE, Broken, Noisy, conversation
from tests.hostile.rawssh import Closed, RawSsh, SocketWire
from tests.support.sshd import sshd_missing
from tests.support.world import World, poll

pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing())]

USER = b"alice+root+strange"
EVERY = 4


class Scene:
    """A world with one more target: a listening socket of ours."""

    def __init__(self) -> None:
        users = f'[users.alice]\nid = "u-1"\nkeys = ["{gate.ALICE.public.line()}"]\ngroups = ["ops"]\n'
        self.world = World(users=users, limits="startups_per_source = 1000")
        self.door = socket.create_server(("127.0.0.1", 0))
        self.door.settimeout(10)
        port = self.door.getsockname()[1]
        self.world.add_target("strange", "127.0.0.1", port, gate.TARGET_KEY.public.line())
        self.world.start()

    def close(self) -> None:
        self.door.close()
        self.world.close()


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    made = Scene()
    try:
        yield made
    finally:
        made.close()


class Play:
    """One conversation over sockets, until packet number `stop`."""

    def __init__(self, scene: Scene, stop: int, seed: int | None) -> None:
        self.scene, self.stop, self.packets = scene, stop, 0
        self.dice = None if seed is None else Random(seed)
        self.client = self._join(Noisy(SocketWire.connect(scene.world.port), algorithms=COMPAT))
        self.target: Noisy | None = None

    def _join(self, peer: Noisy) -> Noisy:
        peer.dice, peer.before_send = self.dice, self._count
        return peer

    def _count(self) -> None:
        if self.packets == self.stop:
            raise Broken
        self.packets += 1

    def _meet(self) -> Noisy:
        sock, _ = self.scene.door.accept()
        peer = Noisy(SocketWire(sock), server=True, host_key=gate.TARGET_KEY, algorithms=COMPAT)
        self.target = self._join(peer)
        return self.target

    def run(self) -> bool:
        try:
            conversation(self.client, self._meet, lambda peer: None, USER)
        except Broken:
            return False
        finally:
            for peer in (self.client, self.target):
                if peer is not None:
                    peer.before_send = peer.dice = None
        return True

    def close(self) -> None:
        for peer in (self.client, self.target):
            if peer is not None:
                sock(peer).close()


def sock(peer: RawSsh) -> socket.socket:
    return peer.wire.sock  # type: ignore[attr-defined, no-any-return]


def reset(peer: Noisy) -> None:
    sock(peer).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock(peer).close()


def hang_up(peer: Noisy) -> None:
    sock(peer).shutdown(socket.SHUT_WR)


def garble(peer: Noisy) -> None:
    with contextlib.suppress(OSError):
        peer.send_raw(bytes(range(256)) * 1200)  # more than the longest packet that a length could ask for


def say_goodbye(peer: Noisy) -> None:
    RawSsh.send(peer, GOODBYE)


def gone(peer: Noisy) -> bool:
    """The gateway closes this connection although we only read."""
    with contextlib.suppress(Closed, OSError):
        peer.read_all()
    with contextlib.suppress(ConnectionResetError):
        return sock(peer).recv(1) == b""
    return True


@pytest.mark.parametrize("noise", [False, True], ids=["quiet", "noisy"])
@pytest.mark.parametrize("way", [reset, hang_up, garble, say_goodbye], ids=lambda way: way.__name__)
@pytest.mark.parametrize("leg", ["client", "target"])
def test_broken_at_a_sample_of_packets(
    scene: Scene, leg: str, way: Callable[[Noisy], None], noise: bool
) -> None:
    whole = Play(scene, 1 << 30, 1 if noise else None)
    assert whole.run()
    whole.close()
    for stop in range(0, whole.packets, EVERY):
        play = Play(scene, stop, stop if noise else None)
        assert not play.run()
        broken, other = (play.client, play.target) if leg == "client" else (play.target, play.client)
        if broken is not None:
            way(broken)
            if other is not None:
                assert gone(other), f"packet {stop}"
        play.close()
    check(scene.world)


def check(world: World) -> None:
    """Everybody has gone, every session has an end, and the log has nothing to say."""

    def quiet() -> bool:
        return not [name for name, value in world.metrics().items() if "_live" in name and value]

    poll(quiet, 20, "something is still live")
    log = world.log.read_text()
    assert "Traceback" not in log and "Unhandled" not in log, log[-3000:]
    assert {one["state"] for one in world.sessions()} == {"ended"}

"""What somebody who is logged in may cost the gateway: recordings, audit log, memory, key exchanges.

`python -m tests.hostile.cost_of_engineers` prints the table of docs/security.md, measured on the gateway process. What
is refused is refused on purpose: each attack goes on until it has done what it came for or is ended.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

from bastion.wire.data import string
from bastion.wire.kexinit import FRONT
from tests.hostile import memory_gateway as gate
from tests.hostile.cost_of_strangers import cpu_seconds
from tests.hostile.jump_peers import OPENSSH, Outer, Refused
from tests.hostile.rawssh import Closed, RawSsh, SocketWire
from tests.support.world import World

MIB = 1 << 20
REQUESTS = 60_000
CHANNELS = 10_000
EXCHANGES = 3_000
STALLED = 128
OUTERS = 6
POLICY = """
[[rule]]
name = "ops"
groups = ["ops"]
targets = ["*"]
logins = ["root"]
verbs = ["shell", "exec", "env"]
[[rule]]
name = "tunnels"
groups = ["ops"]
verbs = ["tunnel"]
tunnel = ["127.0.0.1:{sink}"]
"""


@contextlib.contextmanager
def sink() -> Iterator[int]:
    """A port whose connections are never accepted and take next to nothing; the port."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        # On loopback the kernel would buffer 2.5 MB for each connection, by the size of a segment there.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        listening.bind(("127.0.0.1", 0))
        listening.listen(4096)
        yield listening.getsockname()[1]


def engineer(world: World) -> RawSsh:
    peer = RawSsh(SocketWire.connect(world.port), algorithms=FRONT)
    gate.log_in(peer)
    peer.read_until(52)
    return peer


def recorded(world: World) -> int:
    return sum(file.stat().st_size for file in world.recordings.rglob("*.rec*"))


def audited(world: World) -> int:
    return sum(file.stat().st_size for file in world.folder.rglob("audit.jsonl"))


def env_requests(world: World) -> str:
    """Variables of 1 KiB that a rule allows, in one session, as fast as they are taken."""
    peer = engineer(world)
    peer.send(gate.open_session())
    number = int.from_bytes(peer.read_until(91)[5:9], "big")
    request = gate.ask_channel(number, b"env", string(b"LC_ALL") + string(b"C" * 1000), reply=False)
    before = recorded(world)
    for _ in range(REQUESTS // 100):
        peer.send(*[request] * 100)
    peer.send(gate.ask_channel(number, b"env", string(b"NO") + string(b"")))
    peer.read_until(100)
    return f"{REQUESTS} env requests of 1 KiB: {(recorded(world) - before) / MIB:.1f} MiB of recording"


def channels(world: World) -> str:
    """Session channels opened and closed in one session."""
    peer = engineer(world)
    before, audit, opened = recorded(world), audited(world), 0
    for _ in range(CHANNELS):
        peer.send(gate.open_session())
        answer = peer.read()
        while answer[0] not in (91, 92):
            answer = peer.read()
        if answer[0] == 92:
            continue
        opened += 1
        peer.send(b"\x61" + answer[5:9])
        peer.read_until(97)
    lines, notes = audited(world) - audit, recorded(world) - before
    each = f"{lines / opened:.0f} B of audit log and {notes / opened:.0f} B of notes each"
    return f"{CHANNELS} channels: {opened} opened, {each}"


def key_exchanges(world: World) -> str:
    peer = engineer(world)
    count = 0
    with contextlib.suppress(Closed, OSError):
        for _ in range(EXCHANGES):
            peer.exchange()
            count += 1
    return f"{count} of {EXCHANGES} key exchanges that no bytes have paid"


def stalled_tunnels(world: World, port: int) -> str:
    """Tunnels to a place that reads nothing, on several connections, their windows filled."""
    before, sent, outers = world.memory(), 0, []
    for _ in range(OUTERS):
        outer = Outer(SocketWire.connect(world.port), algorithms=FRONT, version=OPENSSH).log_in()
        outers.append(outer)
        with contextlib.suppress(Refused, Closed, OSError):
            for number in range(STALLED):
                pipe = outer.dial(number, host=b"127.0.0.1", port=port)
                for _ in range(pipe.room // (32 * 1024)):
                    outer.carry(gate.data(pipe.theirs, bytes(32 * 1024)))
                    sent += 32 * 1024
    threading.Event().wait(3)  # what is under way arrives: a measurement, no test
    grown = world.memory() - before
    for outer in outers:
        outer.wire.close()  # type: ignore[attr-defined]
    return f"{OUTERS} x {STALLED} stalled tunnels, {sent / MIB:.0f} MiB sent: {grown / MIB:.0f} MiB of memory"


def measured(world: World, attack: Callable[[], str]) -> None:
    cpu, began = cpu_seconds(world.pid), time.monotonic()
    told = attack()
    print(f"{told}; {cpu_seconds(world.pid) - cpu:.1f} s of CPU in {time.monotonic() - began:.1f} s")


def main() -> None:
    users = f'[users.alice]\nid = "u-1"\nkeys = ["{gate.ALICE.public.line()}"]\ngroups = ["ops"]\n'
    with sink() as port:
        world = World(users=users, policy=POLICY.replace("{sink}", str(port)))
        try:
            world.start()
            measured(world, lambda: env_requests(world))
            measured(world, lambda: key_exchanges(world))
            measured(world, lambda: stalled_tunnels(world, port))
            measured(world, lambda: channels(world))
        finally:
            world.close()


if __name__ == "__main__":
    main()

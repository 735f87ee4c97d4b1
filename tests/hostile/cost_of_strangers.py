"""What a peer that proves nothing costs the gateway: CPU for each attempt, memory for each connection held open.

`python -m tests.hostile.cost_of_strangers` prints the tables of docs/security.md, measured on the gateway process
with the default profile. `test_cost_of_strangers.py` holds a small run against bounds.
"""

from __future__ import annotations

import contextlib
import os
import resource
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from bastion.ssh.settings import HEAVY_KEX_BURST, HEAVY_KEX_RATE
from bastion.wire.data import boolean, string
from bastion.wire.kexinit import FRONT
from bastion.wire.keys import PrivateKey
from tests.hostile.rawssh import Closed, RawSsh, SocketWire
from tests.support.sshd import make_key
from tests.support.world import World, poll

TICK = os.sysconf("SC_CLK_TCK")
HALF_OPEN = 1000


def stranger_world() -> World:
    """A gateway that lets this one address do what it likes, with both default host keys."""
    limits = 'startups = "5000:1:6000"\nstartups_per_source = 5000\nlogin_grace = "10m"\n'
    limits += "penalties = { free = 1000, accounts = 200 }"
    world = World(limits=limits)
    make_key(world.keys / "gateway_rsa", "rsa", bits=3072)
    keys = 'files = ["keys/gateway_host"'
    world.config.write_text(world.config.read_text().replace(keys, keys + ', "keys/gateway_rsa"'))
    return world


@contextlib.contextmanager
def running() -> Iterator[World]:
    world = stranger_world()
    try:
        yield world.start()
    finally:
        world.close()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def connect(world: World, kex: str = "curve25519-sha256", host_key: str = "ssh-ed25519") -> RawSsh:
    offered = replace(FRONT, kex=(kex,), host_keys=(host_key,))
    return RawSsh(SocketWire.connect(world.port), algorithms=offered)


def shake(world: World, kex: str = "curve25519-sha256", host_key: str = "ssh-ed25519") -> RawSsh:
    return connect(world, kex, host_key).handshake()


def at_userauth(world: World) -> RawSsh:
    peer = shake(world)
    peer.request_service()
    peer.read_until(6)
    return peer


def exchange_twice(world: World, kex: str) -> RawSsh:
    """All key exchanges that a stranger gets on one connection."""
    peer = shake(world, kex)
    with contextlib.suppress(Closed, OSError):
        peer.exchange()
    return peer


def ask_20_times(world: World) -> RawSsh:
    peer = at_userauth(world)
    query = boolean(False) + string(b"ssh-ed25519") + string(PrivateKey.generate_ed25519().public.blob)
    with contextlib.suppress(Closed, OSError):
        for _ in range(21):
            peer.request_login(b"alice+root+web1", b"publickey", query)
            peer.read()
    return peer


def wrong_password(world: World) -> RawSsh:
    peer = at_userauth(world)
    peer.request_login(b"alice+root+web1", b"password", boolean(False) + string(b"wrong"))
    peer.read_until(51)
    return peer


def only_version(world: World) -> RawSsh:
    peer = connect(world)
    peer.send_version()
    peer.read_version()
    return peer


ATTEMPTS: dict[str, Callable[[World], RawSsh]] = {
    "TCP connection, closed at once": connect,
    "identification line": only_version,
    "key exchange, mlkem768x25519, ed25519 host key": lambda w: shake(w, "mlkem768x25519-sha256"),
    "key exchange, curve25519, ed25519 host key": shake,
    "key exchange, curve25519, RSA-3072 host key": lambda w: shake(w, "curve25519-sha256", "rsa-sha2-512"),
    "key exchange, group16": lambda w: shake(w, "diffie-hellman-group16-sha512"),
    "key exchange, group18": lambda w: shake(w, "diffie-hellman-group18-sha512"),
    "both exchanges a stranger gets, group18": lambda w: exchange_twice(w, "diffie-hellman-group18-sha512"),
    "key exchange and 20 key queries": ask_20_times,
    "key exchange and one wrong password (argon2id as configured)": wrong_password,
}


def close(peer: RawSsh) -> None:
    peer.wire.close()  # type: ignore[attr-defined]


def settle(world: World) -> None:
    poll(lambda: world.metric("bastion_connections_live") == 0, 30, "connections stay")


def cost_of_attempts(world: World, name: str, count: int) -> float:
    """CPU milliseconds of the gateway for one attempt, `count` of them one after the other."""
    attempt = ATTEMPTS[name]
    if "group" in name:
        threading.Event().wait(HEAVY_KEX_BURST / HEAVY_KEX_RATE)  # more of these at once would be turned away
        count = min(count, HEAVY_KEX_BURST // 2 - 1)
    close(attempt(world))
    settle(world)
    before = cpu_seconds(world.pid)
    for _ in range(count):
        close(attempt(world))
    settle(world)
    return (cpu_seconds(world.pid) - before) / count * 1000


def half_packet(world: World) -> RawSsh:
    """The most one packet can hold back: a frame of nearly 64 KiB whose last byte never comes."""
    peer = at_userauth(world)
    wire = peer.writer.seal([b"\x32" + bytes(60_000)])
    peer.send_raw(wire[:-1])
    return peer


HELD: dict[str, Callable[[World], RawSsh]] = {
    "TCP connection": connect,
    "key exchange done": shake,
    "ssh-userauth begun": at_userauth,
    "... and 60 KB of a packet that never ends": half_packet,
}


def memory_held(world: World, name: str, count: int) -> float:
    """KiB of the gateway for each of `count` connections that are held open."""
    close(HELD[name](world))
    settle(world)
    before = world.memory()
    held = [HELD[name](world) for _ in range(count)]
    poll(lambda: world.metric("bastion_connections_live") == count, 30, "not all were let in")
    grown = world.memory() - before
    for peer in held:
        close(peer)
    settle(world)
    return grown / count / 1024


def main() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    with running() as world:
        print("| attempt | CPU ms |\n|---|---|")
        for name in ATTEMPTS:
            print(f"| {name} | {cost_of_attempts(world, name, 40):.1f} |", flush=True)
    print(f"\n| {HALF_OPEN} connections held | KiB each |\n|---|---|")
    for name in HELD:
        with running() as world:  # a fresh process: memory that is free already would be used again
            print(f"| {name} | {memory_held(world, name, HALF_OPEN):.1f} |", flush=True)


if __name__ == "__main__":
    main()

"""What a peer that proves nothing costs the gateway: CPU and audit log for each attempt, memory while it is held.

`python -m tests.hostile.cost_of_strangers` prints the tables of docs/security.md, measured on the gateway process
with the default profile: figure, and the limit that keeps a source (and all of them together) from more of it.
`test_cost_of_strangers.py` holds a small run against bounds.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from bastion.auth.budget import LIMITS, Payer, Work
from bastion.auth.identity import MAX_USER_NAME
from bastion.transport.rekeys import COSTS
from bastion.userauth.server import MAX_REQUESTS
from bastion.wire.data import boolean, string
from bastion.wire.kexinit import FRONT
from bastion.wire.keys import PrivateKey
from tests.faults import storm
from tests.hostile.rawssh import Closed, RawSsh, SocketWire
from tests.support.net import LOOPBACK
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


def connect(
    world: World, kex: str = "curve25519-sha256", host_key: str = "ssh-ed25519", source: str = LOOPBACK
) -> RawSsh:
    offered = replace(FRONT, kex=(kex,), host_keys=(host_key,))
    wire = SocketWire(socket.create_connection((LOOPBACK, world.port), 10, (source, 0)))
    return RawSsh(wire, algorithms=offered)


def shake(world: World, kex: str = "curve25519-sha256", host_key: str = "ssh-ed25519") -> RawSsh:
    return connect(world, kex, host_key).handshake()


def at_userauth(world: World, source: str = LOOPBACK) -> RawSsh:
    peer = connect(world, source=source).handshake()
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


def _rate(work: Work) -> str:
    """A limit of the budget in words."""
    limit, unit = LIMITS[Payer.SOURCE, work], "B" if work is Work.LOG else "ms"
    size = 1 if work is Work.LOG else 1000
    each, all_rate = limit.each_rate // size, limit.everybody_rate // size
    return f"{limit.each // size} {unit} and {each} {unit}/s a source, {all_rate} {unit}/s in all"


def _places(work: Work) -> str:
    limit = LIMITS[Payer.SOURCE, work]
    return f"{limit.each} places a source, {limit.everybody} in all"


def only_version(world: World) -> RawSsh:
    peer = connect(world)
    peer.send_version()
    peer.read_version()
    return peer


def act(work: Callable[[int, str], None]) -> Callable[[World], None]:
    """One of the storm's strangers, from the address of all others here."""

    def attempt(world: World) -> None:
        with contextlib.suppress(Closed, OSError):
            work(world.port, LOOPBACK)

    return attempt


STARTUPS = "`limits.startups`, `limits.startups_per_source`"
ATTEMPTS: dict[str, tuple[Callable[[World], RawSsh | None], str]] = {
    "TCP connection, closed at once": (connect, STARTUPS),
    "identification line": (only_version, STARTUPS),
    "key exchange, mlkem768x25519, ed25519 host key": (
        lambda w: shake(w, "mlkem768x25519-sha256"),
        _rate(Work.KEY_EXCHANGE),
    ),
    "key exchange, curve25519, ed25519 host key": (shake, _rate(Work.KEY_EXCHANGE)),
    "key exchange, curve25519, RSA-3072 host key": (
        lambda w: shake(w, "curve25519-sha256", "rsa-sha2-512"),
        _rate(Work.KEY_EXCHANGE),
    ),
    "key exchange, group16": (lambda w: shake(w, "diffie-hellman-group16-sha512"), _rate(Work.KEY_EXCHANGE)),
    "key exchange, group18": (lambda w: shake(w, "diffie-hellman-group18-sha512"), _rate(Work.KEY_EXCHANGE)),
    "both exchanges a stranger gets, group18": (
        lambda w: exchange_twice(w, "diffie-hellman-group18-sha512"),
        _rate(Work.KEY_EXCHANGE),
    ),
    "20 key queries": (ask_20_times, f"{MAX_REQUESTS} requests a connection; {_places(Work.DIRECTORY)}"),
    "6 wrong signatures, ed25519": (act(storm.signatures), _rate(Work.PUBLIC_KEY)),
    "20 certificates of an RSA-16384 authority": (
        act(storm.big_authority),
        "refused before anything is verified",
    ),
    "20 names of 1,024 control characters": (
        act(storm.long_names),
        f"{MAX_USER_NAME} bytes; {_rate(Work.LOG)}",
    ),
    "one wrong password (argon2id at the lowest cost)": (wrong_password, "`penalties`"),
    "the same, hung up on after 0.2 s": (act(storm.guesses), "`penalties`, charged before it is tried"),
    "padding until it is refused": (act(storm.padding), "64 messages and one a second, 1 KiB each"),
}


def close(peer: RawSsh | None) -> None:
    if peer is not None:
        peer.wire.close()  # type: ignore[attr-defined]


def settle(world: World) -> None:
    poll(lambda: world.metric("bastion_connections_live") == 0, 30, "connections stay")


def cost_of_attempts(world: World, name: str, count: int) -> tuple[float, float]:
    """CPU milliseconds and bytes of audit log for one attempt, `count` of them one after the other."""
    attempt, _ = ATTEMPTS[name]
    if "group" in name:
        limit = LIMITS[Payer.SOURCE, Work.KEY_EXCHANGE]
        threading.Event().wait(limit.each / limit.each_rate)  # more of these at once would be turned away
        count = min(count, limit.each // COSTS["diffie-hellman-group18-sha512"] // 2 - 1)
    close(attempt(world))
    settle(world)
    audit = world.folder / "audit.jsonl"
    before, size = cpu_seconds(world.pid), audit.stat().st_size
    for _ in range(count):
        close(attempt(world))
    settle(world)
    return (cpu_seconds(world.pid) - before) / count * 1000, (audit.stat().st_size - size) / count


def half_packet(world: World, source: str) -> RawSsh:
    """The most one packet can hold back: a frame of nearly 64 KiB whose last byte never comes."""
    peer = at_userauth(world, source)
    wire = peer.writer.seal([b"\x32" + bytes(60_000)])
    peer.send_raw(wire[:-1])
    return peer


HELD: dict[str, Callable[[World, str], RawSsh]] = {
    "TCP connection": lambda world, source: connect(world, source=source),
    "key exchange done": lambda world, source: connect(world, source=source).handshake(),
    "ssh-userauth begun": at_userauth,
    "... and 60 KB of a packet that never ends": half_packet,
}


def memory_held(world: World, name: str, count: int) -> float:
    """KiB of the gateway for each of `count` connections that are held open, each from an address of its own: one
    source could not pay for so many key exchanges at once."""
    close(HELD[name](world, LOOPBACK))
    settle(world)
    before = world.memory()
    held = [HELD[name](world, f"127.2.{number >> 8}.{number & 255 or 1}") for number in range(count)]
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
        print("| attempt | CPU ms | audit log, bytes | limit |\n|---|---|---|---|")
        for name, (_, limit) in ATTEMPTS.items():
            cpu, log = cost_of_attempts(world, name, 40)
            print(f"| {name} | {cpu:.1f} | {log:.0f} | {limit} |", flush=True)
    print(f"\n| {HALF_OPEN} connections held | KiB each |\n|---|---|")
    for name in HELD:
        with running() as world:  # a fresh process: memory that is free already would be used again
            print(f"| {name} | {memory_held(world, name, HALF_OPEN):.1f} |", flush=True)


if __name__ == "__main__":
    main()

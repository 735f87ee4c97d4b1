"""A storm: 200 connections of strangers, each kind of the costliest work at once, beside 20 engineers at work.

`python -m tests.faults.storm [SECONDS] [--workers N]` prints the table of docs/security.md; `test_storm.py` holds it
against bounds (`make soak`). Strangers come from addresses of their own in 127.1.0.0/16, in one process for each kind.
Engineers are real OpenSSH clients through both doors, against slapd over ldaps and a real sshd.

On a real network none of them would use the gateway's processors, or wait until it leaves one to them. So strangers get
what nobody else wants (SCHED_IDLE), engineers, target and directory get theirs at once (SCHED_FIFO, as root): what is
seen is how long the gateway lets them wait, not how long three processes that fill two processors do.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from bastion.errors import ProtocolError
from bastion.wire.data import boolean, mpint, string, uint32, uint64
from bastion.wire.kexinit import FRONT
from bastion.wire.keys import PrivateKey
from tests.hostile.rawssh import Closed, RawSsh, SocketWire, ignore
from tests.support.client import Client
from tests.support.jump import JumpWorld
from tests.support.net import LOOPBACK
from tests.support.processes import children
from tests.support.slapd import Slapd, group, person
from tests.support.world import PASSWORD

SECONDS = 60.0
ENGINEERS = 20
OF_EACH_KIND = 25
LOGIN_EVERY = 1.0
ECHO_EVERY = 0.04
TRANSFER = 8 << 20
VICTIM = b"u0+root+web1"


# -- what strangers do ---------------------------------------------------------------------------------------------


def at_login(port: int, source: str) -> RawSsh:
    """A connection from `source` whose ssh-userauth has begun."""
    peer = RawSsh(_wire(port, source), algorithms=replace(FRONT, kex=("curve25519-sha256",)))
    peer.handshake().request_service()
    peer.read_until(6)
    return peer


def _wire(port: int, source: str) -> SocketWire:
    return SocketWire(socket.create_connection((LOOPBACK, port), 10, (source, 0)))


def big_group(port: int, source: str) -> None:
    """The 8192-bit group with a number made once: it costs the stranger nothing."""
    peer = RawSsh(_wire(port, source), algorithms=replace(FRONT, kex=("diffie-hellman-group18-sha512",)))
    peer.send_version()
    peer.read_version()
    peer.send_kexinit()
    peer.read_kexinit()
    peer.send(bytes([30]) + mpint((1 << 8000) + 12345))
    peer.read_until(31)


def queries(port: int, source: str) -> None:
    """20 questions about keys, each another name would be refused; the directory is asked for each."""
    peer = at_login(port, source)
    for _ in range(20):
        blob = string(b"ssh-ed25519") + string(os.urandom(32))
        peer.request_login(VICTIM, b"publickey", boolean(False) + string(b"ssh-ed25519") + string(blob))
        peer.read()


def signatures(port: int, source: str) -> None:
    """Keys that sign, wrongly."""
    peer = at_login(port, source)
    blob = PrivateKey.generate_ed25519().public.blob
    proof = string(b"ssh-ed25519") + string(os.urandom(64))
    for _ in range(6):
        more = boolean(True) + string(b"ssh-ed25519") + string(blob) + string(proof)
        peer.request_login(VICTIM, b"publickey", more)
        peer.read()


_MODULUS = (1 << 16383) + 2 * random.Random(1).getrandbits(16000) + 1


def big_authority(port: int, source: str) -> None:
    """Certificates of an RSA-16384 authority of the stranger's own, with the largest exponent that is taken."""
    kind = b"ssh-ed25519-cert-v01@openssh.com"
    authority = string(b"ssh-rsa") + mpint((1 << 32) - 1) + mpint(_MODULUS)
    body = (
        string(kind) + string(os.urandom(32)) + string(os.urandom(32)) + uint64(1) + uint32(1) + string(b"x")
    )
    body += string(string(b"u0")) + uint64(0) + uint64(2**63) + string(b"") + string(b"") + string(b"")
    blob = body + string(authority) + string(string(b"rsa-sha2-512") + string(os.urandom(2048)))
    peer = at_login(port, source)
    for _ in range(20):
        peer.request_login(VICTIM, b"publickey", boolean(False) + string(kind) + string(blob))
        peer.read()


def long_names(port: int, source: str) -> None:
    """Names of 1,024 control characters."""
    peer = at_login(port, source)
    blob = string(b"ssh-ed25519") + string(os.urandom(32))
    for _ in range(20):
        query = boolean(False) + string(b"ssh-ed25519") + string(blob)
        peer.request_login(b"\x01" * 1024, b"publickey", query)
        peer.read()


def guesses(port: int, source: str) -> None:
    """Wrong passwords of one account, hanging up before the answer."""
    peer = at_login(port, source)
    peer.request_login(VICTIM, b"password", boolean(False) + string(os.urandom(8).hex()))
    with contextlib.suppress(TimeoutError):
        peer.wire.sock.settimeout(0.2)  # type: ignore[attr-defined]
        peer.read()


def half_packets(port: int, source: str) -> None:
    """60 KB of a packet that never ends, held for a while."""
    peer = at_login(port, source)
    peer.send_raw(peer.writer.seal([b"\x32" + bytes(60_000)])[:-1])
    peer.wire.sock.settimeout(5)  # type: ignore[attr-defined]
    with contextlib.suppress(TimeoutError):
        peer.read()


def padding(port: int, source: str) -> None:
    """As much padding as is taken, and then some."""
    peer = at_login(port, source)
    for _ in range(20):
        peer.send(*(ignore(900) for _ in range(20)))
        peer.send(b"\xc0" + string(b"ping"))
        peer.read()


KINDS: dict[str, Callable[[int, str], None]] = {
    kind.__name__: kind
    for kind in (
        big_group,
        queries,
        signatures,
        big_authority,
        long_names,
        guesses,
        half_packets,
        padding,
    )
}


def be_strangers(kind: str, port: int, seconds: float) -> None:
    """OF_EACH_KIND connections at a time, again and again, each from an address of its own."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    act, number = KINDS[kind], list(KINDS).index(kind)
    until = time.monotonic() + seconds
    pause = threading.Event()
    done = [0] * OF_EACH_KIND

    def one(place: int) -> None:
        while time.monotonic() < until:
            done[place] += 1
            with contextlib.suppress(Closed, OSError, ProtocolError):
                act(port, f"127.1.{number}.{place + 1}")
            pause.wait(0.02)

    threads = [threading.Thread(target=one, args=(place,)) for place in range(OF_EACH_KIND)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(sum(done), flush=True)


# -- engineers, and what they see ------------------------------------------------------------------------------------


@dataclass
class Seen:
    """What 20 engineers saw of the storm, and what the gateway paid."""

    seconds: float = 0.0
    echoes: list[float] = field(default_factory=list)
    logins: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    transfers: int = 0
    attempts: dict[str, int] = field(default_factory=dict)
    audit_bytes: int = 0
    memory: int = 0
    cpu: float = 0.0

    def share(self, part: float) -> float:
        """A quantile of the echoes in seconds."""
        ordered = sorted(self.echoes)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


class Office:
    """slapd over ldaps with 20 engineers, a target, a gateway with default limits and so many workers."""

    def __init__(self, workers: int = 1) -> None:
        self.world = JumpWorld(workers=workers)
        names = [f"u{number}" for number in range(ENGINEERS)]
        key = (self.world.keys / "alice.pub").read_text().strip()
        people = [person(name, f"sshPublicKey: {key}", password=PASSWORD) for name in names]
        self.slapd = Slapd([*people, group("ops", *names)], tls=True)
        self.slapd.start()
        trust = f'ca_file = "{self.slapd.authority.certificate}"'
        self.world.use_slapd(self.slapd, url=self.slapd.tls_url, ldap=trust, users="[users]\n")
        self.world.start()
        for pid in {os.getpid(), *children(os.getpid())} - set(self.world.pids):
            on_a_machine_of_its_own(pid)  # and whom it starts from now on

    def close(self) -> None:
        self.world.close()
        self.slapd.close()

    def command(self, number: int, *remote: str, key: str | None = "alice") -> list[str]:
        """Even engineers come by the direct door, odd ones by the jump door."""
        if number % 2 == 0:
            return self.world.ssh_command(*remote, user=f"u{number}+root+web1", key=key)
        config = self.world.jump_config(f"Host bastion\nUser u{number}", name=f"config{number}", key=key)
        return ["ssh", "-F", str(config), "-J", "bastion", "root@web1", *remote]


def on_a_machine_of_its_own(pid: int) -> None:
    """It never waits for a processor that the gateway has; where that is forbidden, it does."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(int(thread), os.SCHED_FIFO, os.sched_param(1))


def _cpu(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def strangers(port: int, seconds: float, attempts: dict[str, int]) -> Iterator[None]:
    """All kinds at once, each in a process; `attempts` gets how many of each were made."""
    started = {
        kind: subprocess.Popen(
            [sys.executable, "-m", "tests.faults.storm", "strangers", kind, str(port), str(seconds)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for kind in KINDS
    }
    try:
        yield
        for kind, process in started.items():
            attempts[kind] = int(process.communicate(timeout=60)[0] or 0)
    finally:
        for process in started.values():
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()


def weather(office: Office, seconds: float) -> Seen:
    """The storm itself."""
    world, seen = office.world, Seen(seconds=seconds)
    over = threading.Event()
    environment = world.environment(PASSWORD)

    def transfer() -> None:
        while not over.is_set():
            command = office.command(0, f"head -c {TRANSFER} /dev/zero")
            got = subprocess.run(command, capture_output=True, env=environment, timeout=120)
            seen.transfers += len(got.stdout) == TRANSFER
            over.wait(0.5)

    def log_in() -> None:
        turn = 0
        while not over.wait(LOGIN_EVERY):
            turn += 1
            number, key = turn % ENGINEERS, "alice" if turn % 2 else None
            began = time.monotonic()
            if key is None:
                number -= number % 2  # a password is typed at the direct door
            command = office.command(number, "true", key=key)
            done = subprocess.run(command, capture_output=True, env=environment, timeout=120)
            seen.logins.append(time.monotonic() - began)
            if done.returncode:
                seen.failed.append(done.stderr.decode(errors="replace").strip()[-200:])

    with contextlib.ExitStack() as stack:
        shells = [
            stack.enter_context(Client(office.command(number, "cat"), environment))
            for number in range(ENGINEERS)
        ]
        for shell in shells:
            shell.echo(b"ready")
        audit = world.folder / "audit.jsonl"
        size, memory, cpu = audit.stat().st_size, world.memory(), sum(map(_cpu, world.pids))
        threads = [threading.Thread(target=work) for work in (transfer, log_in)]
        with strangers(world.port, seconds, seen.attempts):
            for thread in threads:
                thread.start()
            until = time.monotonic() + seconds
            turn = 0
            while time.monotonic() < until:
                turn += 1
                seen.echoes.append(shells[turn % ENGINEERS].echo(b"%d." % turn, 30))
                over.wait(ECHO_EVERY)
            seen.memory = world.memory() - memory
            over.set()
            for thread in threads:
                thread.join()
        seen.audit_bytes = audit.stat().st_size - size
        seen.cpu = sum(map(_cpu, world.pids)) - cpu
    return seen


def told(seen: Seen) -> Iterator[str]:
    """The rows of the table."""
    yield f"| storm of {len(KINDS) * OF_EACH_KIND} connections, {seen.seconds:.0f} s | figure |"
    yield "|---|---|"
    slowest, logins = max(seen.logins, default=0.0), len(seen.logins)
    yield f"| correct logins: all, failed, slowest | {logins}, {len(seen.failed)}, {slowest:.2f} s |"
    echo = ", ".join(
        f"{seconds * 1000:.1f}" for seconds in (seen.share(0.5), seen.share(0.99), max(seen.echoes))
    )
    yield f"| echo: p50, p99, slowest of {len(seen.echoes)} | {echo} ms |"
    yield f"| transfers of 8 MiB | {seen.transfers} |"
    yield f"| audit log | {seen.audit_bytes / 1024 / seen.seconds:.1f} KiB/s |"
    yield f"| memory of the gateway | +{seen.memory / 2**20:.1f} MiB |"
    yield f"| processor time of the gateway | {seen.cpu / seen.seconds:.2f} of one core |"
    yield "| attempts | " + ", ".join(f"{kind} {count}" for kind, count in seen.attempts.items()) + " |"


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.storm",
        description="A storm of strangers beside 20 engineers: the table of docs/security.md.",
        epilog="Example: python -m tests.faults.storm 60 --workers 2",
    )
    parser.add_argument("seconds", nargs="?", type=float, default=SECONDS, help=f"({SECONDS:.0f})")
    parser.add_argument("--workers", type=int, default=1, help="processes of the gateway (1)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    if arguments[:1] == ["strangers"]:
        be_strangers(arguments[1], int(arguments[2]), float(arguments[3]))
        return
    chosen = _arguments(arguments)
    office = Office(chosen.workers)
    try:
        seen = weather(office, chosen.seconds)
        print("\n".join(told(seen)))
        print("\n".join(seen.failed))
    finally:
        office.close()


if __name__ == "__main__":
    main(sys.argv[1:])

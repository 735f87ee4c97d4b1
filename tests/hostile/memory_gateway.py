"""The whole gateway in one process without a socket: real configuration, front door, policy, relay, recorder.

`MemoryGateway` builds `app.Program` on a Twisted test clock and carries bytes by direct calls; only name
resolution and the TCP connect of the dialler are replaced. Engineers and targets are `RawSsh` peers, so a test
decides every packet of both legs. `left_over()` names everything that a connection should have taken with it.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from bastion.app import Program
from bastion.auth.budget import LIMITS, Limit
from bastion.net import socket as io
from bastion.wire.data import boolean, string, uint32
from bastion.wire.keys import PrivateKey
from bastion.wire.userauth import signed_data
from tests.hostile.rawssh import Closed, MemoryWire, PipeEnd, RawSsh
from tests.support.reactor import logged_failures
from tests.unit.transport.parts import FAST

ALICE = PrivateKey.generate_ed25519()
TARGET_KEY = PrivateKey.generate_ed25519()
USER = b"alice+root+web1"
POLICY = """
[[rule]]
name = "operators"
groups = ["ops"]
targets = ["*"]
logins = ["root"]
verbs = ["shell", "pty", "exec", "sftp", "env", "forward-local"]
"""


def write_key(file: Path, key: PrivateKey) -> None:
    file.write_bytes(key.openssh_bytes())
    file.chmod(0o600)


def write_config(folder: Path, limits: str = "", recording: str = "") -> Path:
    """A whole configuration with one engineer and one target."""
    for name in ("gateway_host", "upstream_ca"):
        write_key(folder / name, PrivateKey.generate_ed25519())
    users = folder / "users.toml"
    users.write_text(f'[users.alice]\nid = "u-1"\nkeys = ["{ALICE.public.line()}"]\ngroups = ["ops"]\n')
    users.chmod(0o600)
    (folder / "targets.toml").write_text('[targets.web1]\nhost = "10.1.2.7"\nport = 22\n')
    (folder / "policy.toml").write_text(POLICY)
    (folder / "known_hosts").write_text(f"10.1.2.7 {TARGET_KEY.public.line()}\n")
    (folder / "recordings").mkdir(mode=0o700, exist_ok=True)
    config = folder / "bastion.toml"
    config.write_text(
        f"""
[listen]
addresses = ["127.0.0.1:0"]
[host_keys]
files = ["gateway_host"]
[upstream_ca]
key = "upstream_ca"
[directory]
embedded = "users.toml"
[targets]
file = "targets.toml"
known_hosts = "known_hosts"
[policy]
file = "policy.toml"
[recording]
directory = "{folder}/recordings"
disk_floor = "1MiB"
{recording}
[audit]
file = "audit.jsonl"
[limits]
{limits}
"""
    )
    return config


class Link:
    """A TCP connection to a target that is being made."""

    def __init__(self, factory: Any) -> None:
        self.factory = factory


class Reactor(Clock):
    """A test clock whose names are addresses, and whose threads are waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: queue.Queue[Callable[[], object]] = queue.Queue()

    def callFromThread(self, call: Callable[..., object], *arguments: Any, **named: Any) -> None:
        self.threads.put(lambda: call(*arguments, **named))

    def suggestThreadPoolSize(self, size: int) -> None:
        """There is no pool."""

    def join_threads(self) -> None:
        """Run what threads have to say, once there is a deadline for one."""
        while any("Workers" in str(call) for call in self.getDelayedCalls()):
            self.threads.get(timeout=60)()

    @property
    def nameResolver(self) -> Reactor:
        return self

    def resolveHostName(self, receiver: Any, host: str, *more: Any, **named: Any) -> None:
        receiver.resolutionBegan(None)
        receiver.addressResolved(IPv4Address("TCP", host, 0))
        receiver.resolutionComplete()


class Peer(RawSsh):
    """A raw peer in memory; `before_send` is called before each payload."""

    before_send: Callable[[], None] | None = None

    def send(self, *payloads: bytes) -> None:
        for payload in payloads:
            if self.before_send is not None:
                self.before_send()
            super().send(payload)

    @property
    def end(self) -> PipeEnd:
        return self.wire.end  # type: ignore[attr-defined, no-any-return]

    @property
    def transport(self) -> Any:
        return self.wire.transport  # type: ignore[attr-defined]

    @property
    def gone(self) -> bool:
        """The gateway has ended this connection, or was told that it is gone."""
        return self.end.aborted or self.end.half_closed or self.transport.below is None

    def lose(self, why: Exception | None = None) -> None:
        """The connection is gone, as the reactor would say it; `why` defaults to a reset."""
        if self.transport.below is not None:
            self.transport.connectionLost(Failure(why or ConnectionLost()))

    def hang_up(self) -> None:
        """The peer closes in good order."""
        self.lose(ConnectionDone())


class MemoryGateway:
    """One gateway; `connect` is an engineer, `target()` the target that was dialled last."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, limits: str = "", recording: str = ""
    ) -> None:
        """`limits` and `recording` are lines of their sections."""
        monkeypatch.setattr(io.Connector, "connect", lambda made: self.links.append(Link(made.factory)))
        self.clock = Reactor()
        self.folder = folder
        self.program = Program(write_config(folder, limits, recording), self.clock)
        self.gateway = self.program.gateway
        # One source plays thousands of conversations here, at a speed of memory: what they may cost is not asked.
        self.gateway.budget.limits = dict.fromkeys(LIMITS, Limit(10**12, 10**13, 10**9, 10**10))
        self.gateway.key_ages.logged_in = lambda *_: None  # it asks the store, in a thread of its own time
        self.front = self.program._front
        self.links: list[Link] = []
        self.peers: list[Peer] = []

    def close(self) -> None:
        self.gateway.services.auth.directory.close()
        self.gateway.store.close()
        self.gateway.state.close()
        self.gateway.audit.close()

    # -- peers -------------------------------------------------------------------------------------------

    def connect(self, kind: type[Peer] = Peer, **raw: Any) -> Peer:
        """An engineer's TCP connection, nothing said yet."""
        transport = self.front.buildProtocol(IPv4Address("TCP", "198.51.100.4", 1024))
        assert transport is not None
        raw.setdefault("algorithms", FAST)
        peer = kind(MemoryWire(transport), **raw)
        self.peers.append(peer)
        return peer

    def target(self, kind: type[Peer] = Peer, **raw: Any) -> Peer:
        """The dialled target answers the TCP connection; nothing said yet."""
        transport = self.links.pop().factory.buildProtocol(IPv4Address("TCP", "10.1.2.7", 22))
        raw.setdefault("algorithms", FAST)
        raw.setdefault("host_key", TARGET_KEY)
        peer = kind(MemoryWire(transport), server=True, **raw)
        self.peers.append(peer)
        return peer

    # -- what is left ------------------------------------------------------------------------------------

    def left_over(self) -> dict[str, Any]:
        """Everything that should be empty or 0 when nobody is connected any more."""
        self.gateway.rationed.flush()  # the summary of lines that were not written is the process's, a minute later
        meters = self.gateway.meters.snapshot()
        live = {
            f"{name}{labels}": cell[0]
            for name, cells in meters.items()
            if name.endswith("_live")
            for labels, cell in cells.items()
            if cell[0]
        }
        found = {
            "gauges": live,
            "live sessions": len(self.gateway.live),
            "connections": len(self.front.connections),
            "startups": self.gateway.startups.waiting,
            "calls": [str(call) for call in self.clock.getDelayedCalls()],
            "open files": self.gateway.store.health().open_files,
            "peers": [peer for peer in self.peers if peer.transport.below is not None],
        }
        return {name: value for name, value in found.items() if value}

    def wind_down(self, seconds: float) -> None:
        """Let time pass; connections that the gateway aborts are gone, those it half-closes stay."""
        self.clock.join_threads()
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)
            for peer in self.peers:
                if peer.end.aborted:
                    peer.lose()


# -- steps of a conversation -----------------------------------------------------------------------------------


def prove(peer: RawSsh, user: bytes = USER, key: PrivateKey = ALICE, method: bytes = b"publickey") -> bytes:
    """The signed USERAUTH_REQUEST of `key` for this connection."""
    blob = key.public.blob
    algorithm = key.public.algorithms[0]
    signature = key.sign(signed_data(peer.session_id, user.decode(), "ssh-connection", algorithm, blob))
    body = boolean(True) + string(algorithm.encode()) + string(blob) + string(signature)
    return b"\x32" + string(user) + string(b"ssh-connection") + string(method) + body


def log_in(peer: RawSsh, user: bytes = USER) -> None:
    """From nothing to a signed login; the gateway then dials."""
    peer.handshake()
    peer.request_service()
    peer.read_until(6)
    peer.send(prove(peer, user))


def let_in(target: RawSsh) -> None:
    """A target's whole half, until the gateway is logged in."""
    target.handshake()
    target.read_until(5)
    target.send(b"\x06" + string(b"ssh-userauth"))
    target.read_until(50)
    target.send(b"\x34")


def open_session(number: int = 0, window: int = 1 << 20, packet: int = 32768) -> bytes:
    return b"\x5a" + string(b"session") + uint32(number) + uint32(window) + uint32(packet)


def confirm(to: int, number: int, window: int = 1 << 20, packet: int = 32768) -> bytes:
    return b"\x5b" + uint32(to) + uint32(number) + uint32(window) + uint32(packet)


def ask_channel(channel: int, name: bytes, body: bytes = b"", reply: bool = True) -> bytes:
    return b"\x62" + uint32(channel) + string(name) + boolean(reply) + body


def data(channel: int, text: bytes) -> bytes:
    return b"\x5e" + uint32(channel) + string(text)


PTY = string(b"xterm") + uint32(80) + uint32(24) + uint32(0) + uint32(0) + string(b"\0")

__all__ = ["Closed", "MemoryGateway", "Peer", "logged_failures"]


def shared_gateway(folder: Path) -> Iterator[MemoryGateway]:
    """For a fixture of a whole module."""
    with pytest.MonkeyPatch.context() as patch:
        made = MemoryGateway(folder, patch)
        yield made
        made.close()

"""Transports under test, in memory: one of ours with a raw peer, or two of ours joined."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.task import Clock

from bastion.transport.settings import CloseReason, HostKey, TransportSettings
from bastion.transport.transport import client_transport, server_transport
from bastion.wire.kexinit import COMPAT, FRONT, TARGET, Algorithms
from bastion.wire.keys import PrivateKey
from bastion.wire.numbers import MSG_USERAUTH_SUCCESS
from tests.hostile.rawssh import MemoryWire, PipeEnd, RawSsh

HOST_KEY = PrivateKey.generate_ed25519()
FAST = replace(COMPAT, kex=("curve25519-sha256", "ecdh-sha2-nistp256", "diffie-hellman-group14-sha256"))
DATA = b"\x5e\0\0\0\0\0\0\0\x05hello"  # CHANNEL_DATA on channel 0


class Service:
    """Keeps what it gets; `answers` maps a message number to what is sent back."""

    def __init__(self) -> None:
        self.got: list[tuple[int, bytes]] = []
        self.answers: dict[int, Any] = {}

    def receive(self, payload: bytes) -> None:
        number = payload[0]
        self.got.append((number, payload[1:]))
        if number in self.answers:
            self.answers[number]()


class Receiver:
    """Keeps bursts."""

    def __init__(self) -> None:
        self.bursts: list[list[bytes]] = []

    def burst(self, payloads: list[bytes]) -> None:
        self.bursts.append(payloads)

    @property
    def payloads(self) -> list[bytes]:
        return [payload for burst in self.bursts for payload in burst]


class Bench:
    """One transport of ours, what hangs on it, and the clock it lives by."""

    transport: Any

    def __init__(self, server: bool, settings: TransportSettings, check: Any = None) -> None:
        self.clock = Clock()
        self.closed: list[CloseReason] = []
        self.secured = 0
        self.said: list[str] = []
        self.service = Service()
        self.receiver = Receiver()
        if server:
            self.transport = server_transport(settings, self.clock)
        else:
            self.transport = client_transport(settings, self.clock, check or (lambda blob: None))
        transport = self.transport
        transport.service = self.service.receive
        transport.on_closed = self.closed.append
        transport.on_secure = self._secure
        transport.on_writable = lambda yes: self.said.append("drained" if yes else "blocked")
        self.end = PipeEnd()

    def _secure(self) -> None:
        self.secured += 1

    @property
    def reason(self) -> CloseReason:
        assert len(self.closed) == 1, "on_closed must be called exactly once"
        return self.closed[0]

    def trust(self) -> None:
        """The connection is authenticated from here on."""
        self.transport.receiver = self.receiver.burst
        self.transport.authenticated()


def server_settings(algorithms: Algorithms = FAST, **changes: Any) -> TransportSettings:
    changes.setdefault("host_keys", (HostKey(HOST_KEY),))
    return TransportSettings(algorithms, **changes)


def client_settings(algorithms: Algorithms = FAST, **changes: Any) -> TransportSettings:
    return TransportSettings(algorithms, **changes)


def server_and_raw(settings: TransportSettings | None = None, **raw: Any) -> tuple[Bench, RawSsh]:
    """A server of ours and a raw client, nothing said yet by the client."""
    bench = Bench(True, settings or server_settings())
    raw.setdefault("algorithms", FAST)
    return bench, RawSsh(MemoryWire(bench.transport, bench.end), **raw)


def client_and_raw(
    settings: TransportSettings | None = None, check: Any = None, **raw: Any
) -> tuple[Bench, RawSsh]:
    """A client of ours and a raw server."""
    bench = Bench(False, settings or client_settings(), check)
    raw.setdefault("algorithms", replace(FAST, host_keys=("ssh-ed25519",)))
    raw.setdefault("host_key", HOST_KEY)
    return bench, RawSsh(MemoryWire(bench.transport, bench.end), server=True, **raw)


def raw_side(server: bool, settings: TransportSettings | None = None, **raw: Any) -> tuple[Bench, RawSsh]:
    """A transport of ours in the given role with a raw peer in the other."""
    return server_and_raw(settings, **raw) if server else client_and_raw(settings, **raw)


def shake(bench: Bench, raw: RawSsh) -> None:
    """The whole first key exchange, whoever is who."""
    raw.handshake()
    assert not bench.closed and bench.secured == 1


def log_in(bench: Bench, raw: RawSsh) -> None:
    """Handshake and authentication, without the words."""
    shake(bench, raw)
    bench.trust()
    if not raw.server:
        bench.transport.send_any(bytes([MSG_USERAUTH_SUCCESS]))
        raw.read_until(MSG_USERAUTH_SUCCESS)


class Joined:
    """A server and a client of ours; `pump` carries bytes until both are silent."""

    def __init__(
        self, server: TransportSettings | None = None, client: TransportSettings | None = None, piece: int = 0
    ) -> None:
        self.server = Bench(True, server or server_settings())
        self.client = Bench(False, client or client_settings())
        self.piece = piece
        self.server.transport.makeConnection(self.server.end)
        self.client.transport.makeConnection(self.client.end)

    def carry(self, source: Bench, sink: Bench) -> bool:
        data = bytes(source.end.written)
        if not data or not sink.end.reading:
            return False
        size = self.piece or len(data)
        del source.end.written[:size]
        sink.transport.dataReceived(data[:size])
        return True

    def pump(self) -> None:
        while self.carry(self.server, self.client) | self.carry(self.client, self.server):
            pass

    def log_in(self) -> None:
        self.pump()
        assert self.server.secured == self.client.secured == 1
        self.server.trust()
        self.client.trust()


__all__ = ["COMPAT", "DATA", "FAST", "FRONT", "HOST_KEY", "TARGET", "Bench", "Joined", "Receiver", "Service"]

"""Which host keys a host proves to hold: one connection for each type, each given up as soon as it is known."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from bastion.errors import ProtocolError, Refused, UpstreamReason
from bastion.transport.settings import TransportSettings
from bastion.upstream import keyscan
from bastion.upstream.keyscan import KEY_QUESTIONS, scan_host_keys
from bastion.wire.keys import PrivateKey
from tests.hostile.rawssh import Closed, MemoryWire, RawSsh
from tests.unit.transport.parts import FAST, client_settings

ED25519 = PrivateKey.generate_ed25519()
RSA = PrivateKey(generate_private_key(65537, 2048))


class World(Clock):
    """One scan of `host`; the host answers when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, settings: TransportSettings, host: str) -> None:
        super().__init__()
        self.factories: list[Any] = []
        self.outcome: list[Any] = []
        self.asked: list[Any] = []
        self.nameResolver = self
        monkeypatch.setattr(keyscan, "connect", self._connect)
        scan = Deferred.fromCoroutine(scan_host_keys(self, host, 22, settings, 20.0))
        scan.addBoth(self.outcome.append)

    def resolveHostName(self, receiver: Any, host: str, *more: Any) -> None:
        self.asked.append(receiver)

    def _connect(self, reactor: object, address: str, port: int, factory: Any, timeout: float) -> None:
        assert (address, port, timeout) == ("10.0.0.7", 22, 20.0)
        self.factories.append(factory)

    def answer(self, key: PrivateKey = ED25519, **raw: Any) -> RawSsh:
        """The host takes the connection that was made last."""
        raw.setdefault("algorithms", replace(FAST, host_keys=key.public.algorithms))
        transport = self.factories[-1].buildProtocol(None)
        return RawSsh(MemoryWire(transport), server=True, host_key=key, **raw)

    def shake(self, key: PrivateKey = ED25519, **raw: Any) -> None:
        with suppress(Closed, ProtocolError):
            self.answer(key, **raw).handshake()

    @property
    def refusal(self) -> tuple[Any, str]:
        (failure,) = self.outcome
        failure.trap(Refused)
        return failure.value.reason, failure.value.text


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch, client_settings(), "10.0.0.7")


def test_each_type_is_asked_for_on_a_connection_of_its_own(world: World) -> None:
    for number in range(len(KEY_QUESTIONS)):
        assert len(world.factories) == number + 1 and world.outcome == []
        world.shake(RSA if number == 3 else ED25519)
    assert world.outcome == [[ED25519.public.blob, RSA.public.blob]]
    assert len(world.factories) == 4 and not any("_late" in str(call) for call in world.getDelayedCalls())


def test_a_host_without_such_a_key_is_an_answer(world: World) -> None:
    for _ in KEY_QUESTIONS:
        world.shake(RSA, algorithms=replace(FAST, host_keys=("ecdsa-sha2-nistp999",)))
    assert world.outcome == [[]]


def test_legacy_keys_are_asked_for_where_they_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, client_settings(FAST.with_legacy(["ssh-rsa"])), "10.0.0.7")
    for _ in KEY_QUESTIONS:
        world.shake(ED25519)
    assert world.outcome == [] and len(world.factories) == 5
    world.shake(RSA, algorithms=replace(FAST, host_keys=("ssh-rsa",)))
    assert world.outcome == [[ED25519.public.blob, RSA.public.blob]]


def test_a_host_with_nothing_else_in_common_is_told(world: World) -> None:
    world.shake(algorithms=replace(FAST, host_keys=("ssh-ed25519",), ciphers=("none-of-ours",)))
    reason, text = world.refusal
    assert reason is UpstreamReason.KEX_FAILED and "no common cipher" in text


def test_what_is_no_ssh(world: World) -> None:
    world.answer().wire.transport.connectionLost(Failure(ConnectionDone()))  # type: ignore[attr-defined]
    assert world.refusal == (UpstreamReason.NOT_SSH, "it does not speak SSH")


def test_who_does_not_answer(world: World) -> None:
    peer = world.answer()
    world.advance(20)
    assert world.refusal == (UpstreamReason.TIMEOUT, "no answer in time")
    assert peer.wire.transport.closed  # type: ignore[attr-defined]


def test_who_takes_no_connection(world: World) -> None:
    world.factories[-1].clientConnectionFailed(None, Failure(ConnectionRefusedError()))
    assert world.refusal[0] is UpstreamReason.CONNECTION_REFUSED


@pytest.mark.parametrize("found", [True, False])
def test_a_name_is_resolved_first(monkeypatch: pytest.MonkeyPatch, found: bool) -> None:
    world = World(monkeypatch, client_settings(), "web1.example.com")
    (receiver,) = world.asked
    if found:
        receiver.addressResolved(IPv4Address("TCP", "10.0.0.7", 0))
    receiver.resolutionComplete()
    if found:
        assert len(world.factories) == 1
    else:
        assert world.refusal == (UpstreamReason.NAME_NOT_FOUND, "the name web1.example.com does not resolve")

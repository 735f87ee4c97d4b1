"""Signing through an ssh-agent: the real one, and one that misbehaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bastion.ca.agent import AgentSigner
from bastion.errors import AgentFailed, AgentFault
from bastion.wire.data import byte, string, uint32
from bastion.wire.keys import PrivateKey
from tests.support.agents import Agent, answering
from tests.unit.wire.keygen import load, make_key

KINDS = {
    "ed25519": ("-t", "ed25519"),
    "rsa": ("-t", "rsa", "-b", "2048"),
    "ecdsa": ("-t", "ecdsa", "-b", "384"),
}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path / "agent").start()
    yield made
    made.stop()


def fault(signer: AgentSigner) -> AgentFault:
    with pytest.raises(AgentFailed) as failed:
        signer.sign(b"data")
    assert str(signer.path) in failed.value.text
    return failed.value.fault


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_real_agent_signs(kind: str, agent: Agent, tmp_path: Path) -> None:
    path = make_key(tmp_path, kind, *KINDS[kind])
    public = load(path).public
    signer = AgentSigner(agent.path, public, "upstream_ca", timeout=20)
    assert fault(signer) is AgentFault.KEY_MISSING
    agent.add("-q", path)
    signer.look()
    for algorithm in public.algorithms:
        public.verify(signer.sign(b"data", algorithm), b"data", algorithm)


@pytest.mark.slow
def test_a_real_agent_that_is_locked_or_was_asked_to_confirm(agent: Agent, tmp_path: Path) -> None:
    path = make_key(tmp_path, "ca", "-t", "ed25519")
    signer = AgentSigner(agent.path, load(path).public, "upstream_ca", timeout=20)
    agent.add("-q", path)
    agent.add("-x", secret="words")
    assert fault(signer) is AgentFault.KEY_MISSING
    agent.add("-X", secret="words")
    signer.sign(b"data")
    agent.add("-q", "-D")
    agent.add("-q", "-c", path)  # nobody is there to confirm
    assert fault(signer) is AgentFault.REFUSED


KEY = PrivateKey.generate_ed25519()
OTHER = PrivateKey.generate_ed25519()
BAD, TIMEOUT = AgentFault.BAD_ANSWER, AgentFault.TIMEOUT
ANSWERS = {
    "nothing": (b"", BAD),
    "failure": (string(byte(5)), AgentFault.KEY_MISSING),
    "length 0": (b"\0\0\0\0", BAD),
    "huge length": (b"\xff\xff\xff\xff", BAD),
    "cut": (string(byte(14) + string(b"x" * 80))[:40], BAD),
    "trailing": (string(byte(14) + string(KEY.sign(b"data")) + b"\0"), BAD),
    "another key's signature": (string(byte(14) + string(OTHER.sign(b"data"))), BAD),
    "other data": (string(byte(14) + string(KEY.sign(b"datb"))), BAD),
    "keys without an end": (string(byte(12) + uint32(1 << 31)), BAD),
    "silence": (None, TIMEOUT),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_bad_agent_only_fails(name: str, tmp_path: Path) -> None:
    answer, expected = ANSWERS[name]
    with answering(tmp_path / "agent", answer):
        timeout = 0.2 if answer is None else 20
        assert fault(AgentSigner(tmp_path / "agent", KEY.public, "upstream_ca", timeout)) is expected


def test_no_agent_fails(tmp_path: Path) -> None:
    signer = AgentSigner(tmp_path / "none", KEY.public, "upstream_ca")
    assert fault(signer) is AgentFault.GONE
    with pytest.raises(AgentFailed):
        signer.look()


def test_an_agent_that_nobody_accepts_for_is_given_up(tmp_path: Path) -> None:
    """Its backlog is full: connecting itself would wait."""
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "agent"))
        listener.listen(0)
        clients = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(2)]
        try:
            for client in clients:
                client.setblocking(False)
                client.connect_ex(str(tmp_path / "agent"))
            assert fault(AgentSigner(tmp_path / "agent", KEY.public, "upstream_ca", 0.2)) is TIMEOUT
        finally:
            for client in clients:
                client.close()

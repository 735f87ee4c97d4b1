"""Signing through an ssh-agent: the real one, and one that misbehaves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bastion.ca.agent import AgentSigner
from bastion.ca.upstream import CertificateRequest, UpstreamCA
from bastion.clock import SystemClock
from bastion.errors import Refused, UpstreamReason
from bastion.wire.data import byte, string
from bastion.wire.keys import PrivateKey
from tests.unit.wire.keygen import load, make_key

KINDS = {
    "ed25519": ("-t", "ed25519"),
    "rsa": ("-t", "rsa", "-b", "2048"),
    "ecdsa": ("-t", "ecdsa", "-b", "384"),
}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()  # printed once the socket is there
    yield path
    process.send_signal(signal.SIGTERM)
    process.wait(10)
    process.stdout.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_real_agent_signs_and_issues(kind: str, agent: Path, tmp_path: Path) -> None:
    path = make_key(tmp_path, kind, *KINDS[kind])
    public = load(path).public
    signer = AgentSigner(agent, public, SystemClock(), timeout=20)
    assert not signer.holds_key()
    with pytest.raises(Refused) as refusal:
        signer.sign(b"data")
    assert refusal.value.reason is UpstreamReason.CREDENTIAL_FAILED
    environment = {**os.environ, "SSH_AUTH_SOCK": str(agent)}
    subprocess.run(["ssh-add", "-q", path], env=environment, check=True, timeout=30)
    assert signer.holds_key()
    for algorithm in public.algorithms:
        public.verify(signer.sign(b"data", algorithm), b"data", algorithm)
    _, certificate = UpstreamCA(signer).issue(CertificateRequest("deploy", "alice", "abc"), 1e9)
    assert certificate.signature_key == public


KEY = PrivateKey.generate_ed25519()
OTHER = PrivateKey.generate_ed25519()
ANSWERS = {
    "nothing": b"",
    "failure": string(byte(5)),
    "length 0": b"\0\0\0\0",
    "huge length": b"\xff\xff\xff\xff",
    "cut": string(byte(14) + string(b"x" * 80))[:40],
    "trailing": string(byte(14) + string(KEY.sign(b"data")) + b"\0"),
    "another key's signature": string(byte(14) + string(OTHER.sign(b"data"))),
    "other data": string(byte(14) + string(KEY.sign(b"datb"))),
    "silence": None,
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_bad_agent_only_fails(name: str, tmp_path: Path) -> None:
    path = tmp_path / "agent"
    answer = ANSWERS[name]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(1)
        done = threading.Event()

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                if answer is None:
                    done.wait(20)
                    return
                peer.recv(4096)
                peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            signer = AgentSigner(path, KEY.public, SystemClock(), timeout=0.2 if answer is None else 20)
            with pytest.raises(Refused) as refusal:
                signer.sign(b"data")
            assert refusal.value.reason is UpstreamReason.CREDENTIAL_FAILED
        finally:
            done.set()
            thread.join(20)


def test_no_agent_fails(tmp_path: Path) -> None:
    signer = AgentSigner(tmp_path / "none", KEY.public, SystemClock())
    assert not signer.holds_key()
    with pytest.raises(Refused):
        signer.sign(b"data")

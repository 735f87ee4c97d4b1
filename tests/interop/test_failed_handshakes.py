"""Who cannot agree with the gateway on an algorithm is told apart from who only knocks: a line, or a number."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.jump import JumpWorld
from tests.support.net import LOOPBACK
from tests.support.sshd import sshd_missing
from tests.support.world import poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

LISTS = [
    ("key exchange method", "KexAlgorithms", "diffie-hellman-group14-sha1"),
    ("host key algorithm", "HostKeyAlgorithms", "ecdsa-sha2-nistp256"),
    ("cipher", "Ciphers", "aes128-cbc"),
]


@pytest.fixture(scope="module")
def world() -> Iterator[JumpWorld]:
    with JumpWorld() as made:
        assert isinstance(made, JumpWorld)
        yield made


def story(world: JumpWorld, connection: str) -> str:
    done = world.bastion("explain", connection, "--config", str(world.config))
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


@pytest.mark.parametrize(("what", "option", "name"), LISTS)
def test_the_front_door_writes_down_both_offers(world: JumpWorld, what: str, option: str, name: str) -> None:
    before = len(world.audit("handshake_failed"))
    with world.moves('bastion_handshakes_total{at="front",result="no_common"}'):
        assert world.ssh("true", options=("-o", f"{option}={name}")).returncode == 255
    (line,) = world.new_audit("handshake_failed", before)
    assert line["reason"] == "no_common" and line["software"].startswith("SSH-2.0-OpenSSH_")
    (found,) = line["nothing_common"]
    assert found["list"] == what and found["client"] == [name] and len(found["gateway"]) > 0
    told = story(world, line["connection"])
    assert f"no common {what}: it offers {name}; the gateway {found['gateway'][0]}" in told
    assert 'algorithms = "compat"' in told


def test_a_mac_that_is_missing_counts_where_the_cipher_needs_one(world: JumpWorld) -> None:
    before = len(world.audit("handshake_failed"))
    world.ssh("true", options=("-o", "Ciphers=aes256-ctr", "-o", "MACs=hmac-sha1"))
    (line,) = world.new_audit("handshake_failed", before)
    assert [found["list"] for found in line["nothing_common"]] == ["MAC"]


@pytest.mark.parametrize(("what", "option", "name"), LISTS)
def test_inside_a_jump_too(world: JumpWorld, what: str, option: str, name: str) -> None:
    before = len(world.audit("handshake_failed"))
    config = world.jump_config("Host web1", f"{option} {name}", "Host *", name="odd_config")
    with world.moves('bastion_handshakes_total{at="jump",result="no_common"}'):
        assert world.jump("true", config=config).returncode == 255
    (line,) = world.new_audit("handshake_failed", before)
    assert (line["user"], line["target"], line["reason"]) == ("alice", "web1", "no_common")
    assert [(found["list"], found["client"]) for found in line["nothing_common"]] == [(what, [name])]
    assert f"no common {what}: it offers {name}; the gateway " in story(world, line["session"])


def test_who_only_knocks_is_a_number(world: JumpWorld) -> None:
    before, metrics = len(world.audit()), world.metrics()

    def count(result: str) -> float:
        name = f'bastion_handshakes_total{{at="front",result="{result}"}}'
        return world.metrics()[name] - metrics[name]

    for _ in range(20):
        socket.create_connection((LOOPBACK, world.port)).close()
    for words in (b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x00\xa5", b"\n"):
        with socket.create_connection((LOOPBACK, world.port)) as probe:
            probe.sendall(words)
            probe.shutdown(socket.SHUT_WR)
            while probe.recv(4096):
                pass
    poll(lambda: count("silent") == 20 and count("no_version") == 3)
    assert len(world.audit()) == before


def test_a_client_that_leaves_after_its_version_has_a_line_and_one_source_has_its_share(
    world: JumpWorld,
) -> None:
    """A version line of 255 bytes a time: 64 KiB of log are for free, then one line says how many there were."""
    before = len(world.audit("handshake_failed"))
    summed = world.metrics()['bastion_audit_lines_summed_total{payer="source"}']
    for _ in range(400):
        with socket.create_connection((LOOPBACK, world.port)) as peer:
            peer.sendall(b"SSH-2.0-" + b"x" * 240 + b"\r\n")
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(4096):
                pass
    lines = world.new_audit("handshake_failed", before)
    assert lines[0]["reason"] == "failed" and lines[0]["software"].endswith("xxx")
    poll(lambda: world.metrics()['bastion_audit_lines_summed_total{payer="source"}'] > summed)
    written = sum(len(str(line)) for line in world.audit("handshake_failed")[before:])
    assert written < 200_000


def test_ssh_keyscan_finds_what_it_looks_for(world: JumpWorld) -> None:
    """One connection for each type of key; those that find none are lines, as of any client."""
    before = len(world.audit("handshake_failed"))
    done = subprocess.run(["ssh-keyscan", "-p", str(world.port), LOOPBACK], capture_output=True, timeout=60)
    assert b"ssh-ed25519" in done.stdout
    assert len(world.audit("handshake_failed")) - before <= 5

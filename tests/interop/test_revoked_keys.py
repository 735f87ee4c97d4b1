"""Revoked keys and certificates: refused from the reload on, ended by it, and what a list that is broken does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bastion.ca.keys import load_private_key
from bastion.wire.kexinit import FRONT
from bastion.wire.userauth import PublicKeyBody, UserauthRequest, signed_data
from tests.hostile.rawssh import RawSsh, SocketWire
from tests.support.sshd import keygen, sshd_missing
from tests.support.world import World, poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World(
        config='[login]\nrevoked_keys = "krl"\n', limits="penalties = { free = 1000, accounts = 1000 }"
    )
    (made.folder / "krl").touch()
    yield made.start()
    made.close()


@pytest.fixture(autouse=True)
def nothing_revoked(world: World) -> Iterator[None]:
    yield
    (world.keys / "bob-cert.pub").unlink(missing_ok=True)
    revoke(world)


def revoke(world: World, *lines: str, ca: str = "login_ca") -> None:
    """Only this, from now on."""
    spec, krl = world.folder / "spec", world.folder / "krl"
    spec.write_text("".join(f"{line}\n" for line in lines))
    krl.unlink(missing_ok=True)
    keygen("-q", "-k", "-f", str(krl), "-s", f"{world.keys / ca}.pub", str(spec))
    world.reload()


@pytest.mark.parametrize("entry", ["serial: 42", "serial: 40-50", "id: bob-laptop"])
def test_a_certificate(world: World, entry: str) -> None:
    world.certify("bob", ("alice",), "-z", "42")  # bob's key stands in no account
    assert world.ssh("true", key="bob").returncode == 0
    revoke(world, entry)
    with world.refuses("certificate", "cert_revoked"):
        assert world.ssh("true", key="bob").returncode == 255
    revoke(world, entry, ca="upstream_ca")  # of another authority's certificates
    assert world.ssh("true", key="bob").returncode == 0


def test_a_key_and_an_authority(world: World) -> None:
    revoke(world, f"key: {(world.keys / 'alice.pub').read_text().strip()}")
    with world.refuses("publickey", "key_revoked"):
        assert world.ssh("true").returncode == 255
    world.certify("bob", ("alice",))
    revoke(world, f"sha256: {(world.keys / 'login_ca.pub').read_text().strip()}")
    with world.refuses("certificate", "cert_revoked"):
        assert world.ssh("true", key="bob").returncode == 255


@pytest.mark.parametrize("how", ["serial", "sha1"])
def test_what_was_opened_with_it_ends(world: World, how: str) -> None:
    world.certify("bob", ("alice",), "-z", "42")
    with world.client("cat", key="bob") as client:
        client.echo(b"hello")
        revoke(world, "serial: 41")
        client.echo(b"still there")
        revoke(
            world,
            "serial: 42" if how == "serial" else f"sha1: {(world.keys / 'bob.pub').read_text().strip()}",
        )
        assert client.wait() == 255 and b"has been revoked" in client.err
    poll(lambda: "locked" in [line["reason"] for line in world.audit("session_ended")])


def test_who_came_before_the_list_is_asked_by_it(world: World) -> None:
    """With a key that was lost, one waits at the door for a list that is broken."""
    peer = RawSsh(SocketWire.connect(world.port), algorithms=FRONT).handshake()
    peer.request_service()
    peer.read_until(6)
    (world.folder / "krl").write_bytes(b"half a list")
    world.reload()
    key, algorithm = load_private_key(world.keys / "alice"), "ssh-ed25519"
    blob = key.public.blob
    proof = key.sign(signed_data(peer.session_id, "alice", "ssh-connection", algorithm, blob))
    body = PublicKeyBody(algorithm, blob, proof).encode()
    peer.send(UserauthRequest("alice", "ssh-connection", "publickey", body).encode())
    peer.read_until(51)
    peer.wire.close()  # type: ignore[attr-defined]
    assert world.audit("auth")[-1]["reason"] == "revocation_unknown"


@pytest.mark.parametrize("how", ["missing", "no KRL", "half of one"])
def test_a_list_that_cannot_be_read_refuses_every_key(world: World, how: str) -> None:
    krl: Path = world.folder / "krl"
    whole = krl.read_bytes()
    if how == "missing":
        krl.unlink()
    else:
        krl.write_bytes(b"ssh-ed25519 x\n" if how == "no KRL" else whole[:-5])
    checked = world.bastion("check", "--config", str(world.config))
    assert b"every key and every certificate is refused" in checked.stdout + checked.stderr
    world.reload()
    assert world.audit("reload")[-1]["result"] == "ok"
    with world.refuses("publickey", "revocation_unknown"):
        done = world.ssh("true")
    assert done.returncode == 255 and b"the list of revoked keys cannot be read" in done.stderr
    world.kill()
    world.start()  # a gateway starts, and takes nobody's key
    assert world.ssh("true").returncode == 255
    assert world.ask("alice+root+web1", "correct horse").returncode == 0

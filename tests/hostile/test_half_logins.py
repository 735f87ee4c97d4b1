"""A gateway that wants two factors, and clients that stop, or go on wrongly, after the first one."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Iterator

import asyncssh
import paramiko
import pytest
from argon2 import PasswordHasher

from bastion.wire.data import Reader, boolean, string, uint32
from bastion.wire.kexinit import FRONT
from bastion.wire.userauth import UserauthFailure, signed_data
from tests.hostile import memory_gateway as gate
from tests.hostile.rawssh import Closed, RawSsh, SocketWire
from tests.hostile.test_gateway_rows import password
from tests.support.net import LOOPBACK
from tests.support.sshd import sshd_missing
from tests.support.unbroken import unbroken
from tests.support.world import PASSWORD, World, poll

pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing())]

REQUIRE = '[login]\nrequire = [["certificate"], ["publickey", "password"]]\n'
GRACE = 3


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    limits = f'login_grace = "{GRACE}s"\npenalties = {{ free = 1000, accounts = 1000 }}'
    made = World(config=REQUIRE, limits=limits)
    keys = [gate.ALICE.public.line(), (made.keys / "alice.pub").read_text().strip()]
    users = "".join(
        f'[users.{name}]\nid = "u-{name}"\npassword = "{hashed}"\nkeys = {keys!r}\ngroups = ["ops"]\n'.replace(
            "'", '"'
        )
        for name in ("alice", "mallory")
    )
    made.users.write_text(users)
    with unbroken(made):
        yield made


def half(world: World, user: str = "alice") -> RawSsh:
    """One connection on which the key was proved and nothing else."""
    peer = RawSsh(SocketWire.connect(world.port), algorithms=FRONT).handshake()
    peer.request_service()
    peer.read_until(6)
    peer.send(signed(peer, user))
    answer = UserauthFailure.parse(peer.read_until(51))
    assert answer == UserauthFailure(("publickey", "password", "keyboard-interactive"), partial=True)
    return peer


def signed(peer: RawSsh, user: str, known: bool = True) -> bytes:
    blob, algorithm = gate.ALICE.public.blob, "ssh-ed25519"
    proof = gate.ALICE.sign(signed_data(peer.session_id, user, "ssh-connection", algorithm, blob))
    body = boolean(known) + string(algorithm) + string(blob) + (string(proof) if known else b"")
    return b"\x32" + string(user) + string("ssh-connection") + string("publickey") + body


SESSION = b"\x5a" + string("session") + uint32(0) + uint32(1 << 20) + uint32(1 << 15)
BEHIND = {
    "a session": SESSION,
    "a forward": b"\x5a" + string("direct-tcpip") + uint32(0) + uint32(1 << 20) + uint32(1 << 15)
    + string("web1") + uint32(22) + string(LOOPBACK) + uint32(65535),
    "a global request": b"\x50" + string("tcpip-forward") + boolean(True) + string("") + uint32(0),
    "a channel request": b"\x62" + uint32(0) + string("exec") + boolean(True) + string("id"),
    "a success": b"\x34",
}  # fmt: skip


@pytest.mark.parametrize("what", BEHIND)
@pytest.mark.parametrize("flight", [False, True])
def test_nothing_is_served_before_a_chain_is_whole(world: World, what: str, flight: bool) -> None:
    before = len(world.audit())
    peer = half(world)
    peer.send(BEHIND[what], password(b"alice", PASSWORD)) if flight else peer.send(BEHIND[what])
    with pytest.raises(Closed):
        while peer.read()[0] not in (52, 81, 91, 92, 99, 100):
            pass
        raise AssertionError("it was served")
    lines = world.audit()[before:]
    assert {line["event"] for line in lines} <= {"auth", "refused"}
    assert [line["result"] for line in lines if line["event"] == "auth"] == ["partial"]


@pytest.mark.parametrize("pipelined", [False, True])
def test_the_name_changes_between_two_factors(world: World, pipelined: bool) -> None:
    """Alice's key, and then mallory's password."""
    peer = half(world)
    requests = [password(b"mallory", PASSWORD)]
    if pipelined:
        requests.insert(0, password(b"alice", "wrong"))
    peer.send(*requests)
    with pytest.raises(Closed):
        while peer.read()[0] != 52:
            pass
        raise AssertionError("somebody was let in")
    assert not [line for line in world.audit("auth")[-3:] if line["result"] == "ok"]


def test_login_grace_covers_all_factors(world: World) -> None:
    peer = half(world)
    with pytest.raises(Closed):
        while True:
            peer.read()
    assert world.audit("auth")[-1]["result"] == "partial"


def test_both_factors_in_one_flight_are_one_login(world: World) -> None:
    peer = RawSsh(SocketWire.connect(world.port), algorithms=FRONT).handshake()
    peer.request_service()
    peer.read_until(6)
    peer.send(signed(peer, "alice"), password(b"alice", PASSWORD), password(b"mallory", PASSWORD))
    assert Reader(peer.read_until(51), 1).text(100) == "publickey,password,keyboard-interactive"
    peer.read_until(52)
    peer.send(SESSION)
    assert peer.read_until(91)
    assert poll(lambda: world.audit("outer_started")[-1]["user"]) == "alice"
    peer.wire.close()  # type: ignore[attr-defined]


# -- clients ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_openssh_gives_both(world: World, method: str) -> None:
    options = ("-o", f"PreferredAuthentications=publickey,{method}")
    command = [
        word.replace("BatchMode=yes", "BatchMode=no")
        for word in world.ssh_command("echo in", options=options)
    ]
    done = subprocess.run(command, env=world.environment(PASSWORD), capture_output=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, b"in\n"), done.stderr
    # the key is offered once more meanwhile: a certificate would do too
    proved = [(line["method"], line["result"]) for line in world.audit("auth") if line["result"] != "refused"]
    assert proved[-2:] == [("publickey", "partial"), (method, "ok")]


def test_openssh_with_a_certificate_gives_one(world: World) -> None:
    world.certify()
    try:
        assert world.ssh("true").returncode == 0
        assert (world.audit("auth")[-1]["method"], world.audit("auth")[-1]["result"]) == ("certificate", "ok")
    finally:
        (world.keys / "alice-cert.pub").unlink()


def test_openssh_with_the_key_alone_is_refused(world: World) -> None:
    assert world.ssh("true").returncode == 255


def test_paramiko_gives_both(world: World) -> None:
    transport = paramiko.Transport(socket.create_connection((LOOPBACK, world.port), 10))
    try:
        transport.start_client(timeout=30)
        key = paramiko.Ed25519Key.from_private_key_file(str(world.keys / "alice"))
        assert set(transport.auth_publickey("alice", key)) >= {"password"}
        assert not transport.is_authenticated()
        assert transport.auth_password("alice", PASSWORD) == [] and transport.is_authenticated()
    finally:
        transport.close()


def test_asyncssh_gives_both(world: World) -> None:
    async def ask() -> str:
        async with asyncssh.connect(
            LOOPBACK, world.port, username="alice", password=PASSWORD, known_hosts=None, agent_path=None,
            client_keys=[str(world.keys / "alice")],
        ) as connection:  # fmt: skip
            done = await connection.run("whoami", check=True)
            return str(done.stdout)

    assert "publickey, password" in asyncio.run(ask())

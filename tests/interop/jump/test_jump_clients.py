"""Other clients through the jump door: each gets its session with its key, and says what it says as originator."""

from __future__ import annotations

import asyncio
import base64
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import paramiko
import pytest

from tests.support.jump import JumpWorld, listens
from tests.support.net import LOOPBACK, free_port
from tests.support.sshd import keygen
from tests.support.world import poll

pytestmark = pytest.mark.interop


def need(*programs: str) -> pytest.MarkDecorator:
    missing = [name for name in programs if shutil.which(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not installed")


@pytest.fixture
def home(world: JumpWorld, tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment whose home is empty but for a .ssh folder."""
    (tmp_path / ".ssh").mkdir()
    yield world.environment() | {"HOME": str(tmp_path)}


def run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, env=environment)


def last_jump(world: JumpWorld) -> tuple[Any, ...]:
    jump = world.audit("jump")[-1]
    return jump.get("originator", ""), jump["originator_port"], jump["stdio"]


@need("plink", "puttygen")
def test_plink_through_plink(world: JumpWorld, home: dict[str, str]) -> None:
    key, seen = world.keys / "alice.ppk", keygen("-l", "-f", str(world.keys / "gateway_host.pub")).split()[1]
    run(["puttygen", str(world.keys / "alice"), "-O", "private", "-o", str(key)], home)
    plink = ["plink", "-batch", "-hostkey", seen, "-i", str(key)]
    outer = f"{' '.join(plink)} -P {world.port} -nc web1:{world.sshd.port} alice@{LOOPBACK}"
    done = run([*plink, "-proxycmd", outer, "-P", str(world.sshd.port), "root@web1", "echo plink"], home)
    assert done.stdout == b"plink\n", done.stderr
    assert last_jump(world) == ("0.0.0.0", 0, 0)


@need("dbclient", "dropbearconvert")
@pytest.mark.parametrize("way", ["-J", "multihop"])
def test_dbclient(world: JumpWorld, home: dict[str, str], way: str) -> None:
    key = world.keys / "alice.dropbear"
    run(["dropbearconvert", "openssh", "dropbear", str(world.keys / "alice"), str(key)], home)
    client = [str(shutil.which("dbclient")), "-y", "-y", "-i", str(key)]
    gateway, target = f"alice@{LOOPBACK}/{world.port}", f"root@web1/{world.sshd.port}"
    if way == "-J":
        through = ["-J", f"{' '.join(client)} -B web1:{world.sshd.port} {gateway}", target]
    else:
        through = [f"{gateway},{target}"]
    done = run([*client, *through, "echo dbclient"], home)
    assert done.stdout == b"dbclient\n", done.stderr
    assert last_jump(world) == (LOOPBACK, 22, 0)


def test_asyncssh_with_a_tunnel(world: JumpWorld) -> None:
    authority = (world.keys / "front_host_ca.pub").read_text()
    gateway = (world.keys / "gateway_host.pub").read_text()
    known = asyncssh.import_known_hosts(
        f"@cert-authority [web1]:{world.sshd.port} {authority}[{LOOPBACK}]:{world.port} {gateway}"
    )
    common: dict[str, Any] = {
        "client_keys": [str(world.keys / "alice")],
        "known_hosts": known,
        "agent_path": None,
    }

    async def both() -> list[Any]:
        async with asyncssh.connect(LOOPBACK, world.port, username="alice", **common) as outer:
            inner = [
                await asyncssh.connect("web1", world.sshd.port, username="root", tunnel=outer, **common)
                for _ in range(3)
            ]
            said = [(await one.run(f"echo {number}")).stdout for number, one in enumerate(inner)]
            for one in inner:
                one.close()
            return said

    assert asyncio.run(both()) == ["0\n", "1\n", "2\n"]
    assert last_jump(world) == ("", 0, 0)


def test_paramiko_on_a_channel(world: JumpWorld) -> None:
    key = paramiko.Ed25519Key.from_private_key_file(str(world.keys / "alice"))
    seen = (world.keys / "gateway_host.pub").read_text().split()[1]
    with paramiko.SSHClient() as outer, paramiko.SSHClient() as inner:
        for client, name in ((outer, f"[{LOOPBACK}]:{world.port}"), (inner, "web1")):
            blob = paramiko.Ed25519Key(data=base64.b64decode(seen))
            client.get_host_keys().add(name, "ssh-ed25519", blob)
        common: dict[str, Any] = {"pkey": key, "allow_agent": False, "look_for_keys": False}
        outer.connect(LOOPBACK, world.port, "alice", **common)
        transport = outer.get_transport()
        assert transport is not None
        channel = transport.open_channel("direct-tcpip", ("web1", world.sshd.port), (LOOPBACK, 65535))
        inner.connect("web1", username="root", sock=channel, **common)
        _, out, _ = inner.exec_command("echo paramiko")
        assert out.read() == b"paramiko\n"
    # It says what OpenSSH says of its own stdio, and is not OpenSSH.
    assert last_jump(world) == (LOOPBACK, 65535, 0)


def test_a_unix_socket_of_openssh_is_no_stdio(world: JumpWorld) -> None:
    path = world.folder / "listening"
    before = len(world.audit("jump"))
    with world.jumping(to="bastion", options=["-N", "-L", f"{path}:web1:{world.sshd.port}"]):
        poll(path.exists)

        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            poll(lambda: len(world.audit("jump")) > before)
    assert last_jump(world)[2] == 0


@need("dbclient", "dropbearconvert")
def test_a_listening_socket_of_dbclient_says_where_from(world: JumpWorld, home: dict[str, str]) -> None:
    key, port = world.keys / "alice.db2", free_port()
    run(["dropbearconvert", "openssh", "dropbear", str(world.keys / "alice"), str(key)], home)
    before = len(world.audit("jump"))
    command = ["dbclient", "-y", "-y", "-N", "-i", str(key), "-L", f"{LOOPBACK}:{port}:web1:{world.sshd.port}",
               "-p", str(world.port), f"alice@{LOOPBACK}"]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=home)
    try:
        poll(lambda: listens(port))

        with socket.create_connection((LOOPBACK, port)) as sock:
            poll(lambda: len(world.audit("jump")) > before)
            assert last_jump(world) == (*sock.getsockname(), 0)
    finally:
        process.kill()
        process.wait()

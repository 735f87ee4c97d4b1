"""Why somebody was turned away is read exactly once, whatever the client shows of banner and DISCONNECT."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator

import asyncssh
import paramiko
import pytest

from tests.support.jump import JumpWorld
from tests.support.net import LOOPBACK
from tests.support.sshd import keygen, sshd_missing
from tests.support.world import World

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

TEXT = "is not yours on web1"
USER = "alice+nobody+web1"


@pytest.fixture(scope="module")
def world() -> Iterator[JumpWorld]:
    with JumpWorld() as made:
        assert isinstance(made, JumpWorld)
        yield made


LEVELS = [([], 1), (["-v"], 1), (["-vvv"], 1), (["-o", "LogLevel=ERROR"], 1), (["-q"], 0)]


@pytest.mark.parametrize(("level", "times"), LEVELS, ids=["default", "v", "vvv", "error", "q"])
def test_openssh_through_the_direct_door(world: World, level: list[str], times: int) -> None:
    done = world.ssh("true", user=USER, options=level)
    assert (done.returncode, done.stderr.count(TEXT.encode())) == (255, times), done.stderr.decode()


@pytest.mark.parametrize(("level", "times"), LEVELS, ids=["default", "v", "vvv", "error", "q"])
def test_openssh_through_the_jump_door(world: JumpWorld, level: list[str], times: int) -> None:
    done = world.jump("true", to="nobody@web1", options=[*level, "-J", "bastion"])
    assert (done.returncode, done.stderr.count(TEXT.encode())) == (255, times), done.stderr.decode()


def test_what_is_longer_than_openssh_shows_of_a_disconnect(world: JumpWorld) -> None:
    long = "no-such-" + "x" * 240
    done = world.ssh("true", user=f"alice+{'y' * 32}+{long}")
    assert done.stderr.count(long.encode()) <= 1 and done.stderr.count(b"bastion: ") == 1, (
        done.stderr.decode()
    )


def test_paramiko(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "paramiko")
    transport = paramiko.Transport((LOOPBACK, world.port))
    try:
        transport.start_client(timeout=20)
        key = paramiko.Ed25519Key.from_private_key_file(str(world.keys / "alice"))
        with pytest.raises(paramiko.SSHException):
            transport.auth_publickey(USER, key)
    finally:
        transport.close()
    transport.join(20)
    said = [record.getMessage() for record in caplog.records if TEXT in record.getMessage()]
    assert any(line.startswith("Auth banner: ") for line in said), caplog.text
    assert any(line.startswith("Disconnect (code 11): ") for line in said), caplog.text


def test_asyncssh(world: World) -> None:
    async def connect() -> None:
        await asyncssh.connect(
            LOOPBACK, world.port, username=USER, client_keys=[str(world.keys / "alice")], known_hosts=None
        )

    with pytest.raises(asyncssh.DisconnectError, match=TEXT):
        asyncio.run(connect())


@pytest.mark.skipif(not (shutil.which("plink") and shutil.which("puttygen")), reason="no plink")
def test_plink(world: World) -> None:
    key = world.folder / "alice.ppk"
    subprocess.run(["puttygen", str(world.keys / "alice"), "-o", str(key)], check=True, timeout=60)
    seen = keygen("-lf", str(world.keys / "gateway_host.pub")).split()[1]
    command = [
        "plink",
        "-batch",
        "-hostkey",
        seen,
        "-i",
        str(key),
        "-P",
        str(world.port),
        f"{USER}@{LOOPBACK}",
    ]
    done = subprocess.run(command, capture_output=True, timeout=60, env={"HOME": str(world.folder)})
    assert TEXT.encode() in done.stderr + done.stdout


@pytest.mark.skipif(not (shutil.which("dbclient") and shutil.which("dropbearconvert")), reason="no dbclient")
def test_dbclient_which_shows_no_disconnect(world: World) -> None:
    key = world.folder / "alice.dropbear"
    convert = ["dropbearconvert", "openssh", "dropbear", str(world.keys / "alice"), str(key)]
    subprocess.run(convert, check=True, timeout=60, capture_output=True)
    command = ["dbclient", "-y", "-y", "-i", str(key), "-p", str(world.port), f"{USER}@{LOOPBACK}", "true"]
    done = subprocess.run(command, capture_output=True, timeout=60, env={"HOME": str(world.folder)})
    assert (done.stderr + done.stdout).count(TEXT.encode()) == 1

"""paramiko: commands, a shell, sftp, many channels; through a jump as its users write it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paramiko
import pytest

from tests.support.doors import Door, JumpDoor
from tests.support.net import LOOPBACK
from tests.support.sshd import make_key
from tests.support.trees import file_sum, make_file
from tests.support.world import PASSWORD

pytestmark = pytest.mark.interop


@contextmanager
def connected(door: Door, **proofs: Any) -> Iterator[paramiko.SSHClient]:
    """A client that trusts the key that the door shows, and nothing else. `proofs` replace the right key."""
    with paramiko.SSHClient() as client:
        if not isinstance(door, JumpDoor):
            log_in(client, door, door.address, door.port, door.user, **proofs)
            yield client
            return
        with paramiko.SSHClient() as outer:
            log_in(outer, door, LOOPBACK, door.world.port, "alice")
            transport = outer.get_transport()
            assert transport is not None
            channel = transport.open_channel("direct-tcpip", (door.address, door.port), (LOOPBACK, 0))
            log_in(client, door, door.address, door.port, door.user, channel, **proofs)
            yield client


def log_in(
    client: paramiko.SSHClient,
    door: Door,
    host: str,
    port: int,
    user: str,
    sock: paramiko.Channel | None = None,
    **proofs: Any,
) -> None:
    kind, blob = door.host_key.split()
    key = paramiko.Ed25519Key(data=base64.b64decode(blob))
    client.get_host_keys().add(f"[{host}]:{port}", kind, key)
    proofs.setdefault("key_filename", str(door.key))
    client.connect(
        host,
        port,
        user,
        **proofs,
        allow_agent=False,
        look_for_keys=False,
        sock=sock,
        timeout=20,
    )


def test_commands(door: Door) -> None:
    watch = door.watch()
    with connected(door) as client:
        stdin, stdout, stderr = client.exec_command("cat; echo err >&2; exit 7")
        stdin.write(b"typed\n" * 50_000)
        stdin.channel.shutdown_write()
        out, err = stdout.read(), stderr.read()
        assert stdout.channel.recv_exit_status() == 7
        assert (out, err) == (b"typed\n" * 50_000, b"err\n")
    recorded = watch.session()
    assert (recorded.exported("stdout"), recorded.exported("stderr")) == (out, err)
    assert recorded.exported("stdin") == out


def test_a_shell(door: Door) -> None:
    watch = door.watch()
    shown = io.BytesIO()
    with connected(door) as client:
        channel = client.invoke_shell("xterm", 90, 33)
        channel.sendall(b"stty size; exit 3\n")
        while piece := channel.recv(4096):
            shown.write(piece)
        assert channel.recv_exit_status() == 3
    assert b"33 90" in shown.getvalue()
    assert watch.session().exported() == shown.getvalue()


def test_sftp(door: Door, tmp_path: Path) -> None:
    here = make_file(tmp_path / "here", (4 << 20) + 1)
    watch = door.watch()
    with connected(door) as client, client.open_sftp() as sftp:
        sftp.put(str(here), str(tmp_path / "there"))
        sftp.get(str(tmp_path / "there"), str(tmp_path / "back"))
        assert sorted(sftp.listdir(str(tmp_path))) == ["back", "here", "there"]
    assert file_sum(tmp_path / "back") == file_sum(tmp_path / "there") == file_sum(here)
    assert watch.session().file_sums() == [file_sum(here)] * 2


def test_many_channels(door: Door) -> None:
    watch = door.watch()
    with connected(door) as client:
        running = [client.exec_command(f"echo {number}; cat")[:2] for number in range(30)]
        seen = []
        for number, (stdin, stdout) in enumerate(running):
            stdin.write(b"%d" % number * 20_000)
            stdin.channel.shutdown_write()
            seen.append(stdout.read())
    assert seen == [b"%d\n" % number + b"%d" % number * 20_000 for number in range(30)]
    assert [*watch.session().streams().values()] == seen


@pytest.mark.parametrize("then", ["the right key", "the password"])
def test_a_strange_key_first(door: Door, tmp_path: Path, then: str) -> None:
    """It asks for the service ssh-userauth again before each method (transport.auth_publickey, auth_password)."""
    strange = str(make_key(tmp_path / "strange"))
    proofs: dict[str, Any] = {"key_filename": [strange, str(door.key)]}
    if then == "the password":
        proofs = {"key_filename": strange, "password": PASSWORD}
    with connected(door, **proofs) as client:
        _, stdout, _ = client.exec_command("echo in")
        assert stdout.read() == b"in\n"

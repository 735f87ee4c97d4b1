"""curl's sftp:// and scp://, which are libssh2; through a jump over the SOCKS port of an `ssh -D`.

The gateway has `algorithms = "compat"`: before 1.11 libssh2 has no AES-GCM and no encrypt-then-MAC.
A SOCKS port is one that any local process may use, so the inner connection proves the identity again: curl
offers the same key.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.doors import Door, JumpDoor, missing, opened_doors, shared_world
from tests.support.jump import listens
from tests.support.net import LOOPBACK, free_port
from tests.support.trees import file_sum, make_file


def cannot() -> str:
    """Why not, or ""."""
    if missing("curl"):
        return missing("curl")
    shown = subprocess.run(["curl", "-V"], capture_output=True, text=True, timeout=30).stdout
    return "" if "libssh2" in shown and " sftp " in shown else "this curl is built without libssh2"


pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(cannot()), reason=cannot() or "there")]


@pytest.fixture(scope="module")
def doors() -> Iterator[dict[str, Door]]:
    world = shared_world(algorithms="compat")
    try:
        world.start()
        yield opened_doors(world)
    finally:
        world.close()


@contextmanager
def curl(door: Door) -> Iterator[list[str]]:
    """curl with the key and the host key that must be shown."""
    shown = base64.b64encode(hashlib.sha256(base64.b64decode(door.host_key.split()[1])).digest()).decode()
    command = [
        "curl", "-fsS", "--max-time", "60", "--key", str(door.key), "--pubkey", f"{door.key}.pub",
        "--hostpubsha256", shown.rstrip("="), "-u", f"{door.user}:",
    ]  # fmt: skip
    if not isinstance(door, JumpDoor):
        yield command
        return
    port = free_port()
    with door.running("-D", f"{LOOPBACK}:{port}", host="bastion", ready=lambda: listens(port)):
        yield [*command, "--noproxy", "", "--proxy", f"socks5h://{LOOPBACK}:{port}"]


@pytest.mark.parametrize("scheme", ["sftp", "scp"])
def test_up_and_down(door: Door, tmp_path: Path, scheme: str) -> None:
    here = make_file(tmp_path / "here", (2 << 20) + 1)
    url = f"{scheme}://{door.address}:{door.port}{tmp_path}/there"
    watch = door.watch()
    with curl(door) as command:
        for more in (["-T", str(here), url], ["-o", str(tmp_path / "back"), url]):
            done = door.run([*command, *more])
            assert done.returncode == 0, done.stderr.decode()
    assert file_sum(tmp_path / "back") == file_sum(tmp_path / "there") == file_sum(here)
    up, down = watch.sessions(2)
    if scheme == "sftp":
        assert up.file_sums() == [file_sum(here)]
        # It asks for the size and closes without having seen the end, so nobody knows that this was all of it.
        (line,) = down.audit("sftp_file")
        assert (line["bytes_read"], line["unhashed"]) == (here.stat().st_size, "not read to its end")
    else:
        assert here.read_bytes() in up.exported("stdin") and here.read_bytes() in down.exported("stdout")


def test_a_listing_and_commands(door: Door, tmp_path: Path) -> None:
    (tmp_path / "old").write_text("x")
    watch = door.watch()
    url = f"sftp://{door.address}:{door.port}{tmp_path}/"
    with curl(door) as command:
        done = door.run([*command, "-Q", f"rename {tmp_path}/old {tmp_path}/new", "-l", url])
    assert done.returncode == 0, done.stderr.decode()
    assert set(done.stdout.decode().split()) - {".", ".."} == {"new"}
    names = [line["name"] for line in watch.session().audit("sftp_operation")]
    assert any("rename" in name for name in names)

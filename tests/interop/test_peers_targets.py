"""dropbear as a target: its key exchange and ciphers, and new keys begun by the gateway while data flows."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.test_peers import REKEY, SIZES, checksum
from tests.support.net import LOOPBACK, free_port, wait_until_listening
from tests.support.sshd import make_key, sshd_missing
from tests.support.world import World

SBIN = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
DROPBEAR = shutil.which("dropbear", path=SBIN)


def reason() -> str:
    """Why this cannot run here, or "". dropbear reads ~/.ssh only, so it gets a ~ of its own in a namespace."""
    if missing := sshd_missing():
        return missing
    if DROPBEAR is None or shutil.which("dropbearkey") is None:
        return "dropbear is not installed (see .ci/packages)"
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode
    ):
        return "no mount namespaces here"
    return ""


pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(reason()), reason=reason())]


class Box:
    """A small box with dropbear, reached with a key of its own."""

    def __init__(self, world: World) -> None:
        folder = world.folder / "box"
        folder.mkdir(mode=0o755)
        home = folder / "home"
        (home / ".ssh").mkdir(parents=True, mode=0o700)
        home.chmod(0o755)
        make_key(world.keys / "box")
        shutil.copy(world.keys / "box.pub", home / ".ssh" / "authorized_keys")
        host_key = folder / "host_key"
        made = subprocess.run(
            ["dropbearkey", "-t", "ed25519", "-f", str(host_key)], capture_output=True, text=True, timeout=30
        )
        public = next(line for line in made.stdout.splitlines() if line.startswith("ssh-ed25519"))
        self.port = free_port()
        mount = f'mount --bind "{home}" "$HOME" && exec "{DROPBEAR}" -F -E -r "{host_key}" -p {LOOPBACK}:{self.port}'
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", "-m", "sh", "-c", mount],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "HOME": os.path.expanduser("~")},
            )
        wait_until_listening(self.port)
        world.add_target("box", LOOPBACK, self.port, " ".join(public.split()[:2]), 'key_file = "keys/box"')

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World(limits=f"rekey_bytes = {REKEY}")
    box = None
    try:
        box = Box(made)
        yield made.start()
    finally:
        made.close()
        if box is not None:
            box.stop()


@pytest.mark.parametrize("size", SIZES)
def test_transfers_with_rekeys(world: World, tmp_path: Path, size: int) -> None:
    down = tmp_path / "down"
    down.write_bytes(os.urandom(1 << 20) * (size // (1 << 20)))
    down_sum = checksum(down)
    sent = world.ssh("sha256sum", user="alice+root+box", stdin=down.read_bytes(), timeout=600)
    assert sent.returncode == 0 and sent.stdout.split()[0].decode() == down_sum, sent.stderr
    got = world.ssh(f"cat {down}", user="alice+root+box", timeout=600)
    assert got.returncode == 0 and got.stdout == down.read_bytes(), got.stderr
    log = world.log.read_text()
    assert "Traceback" not in log and "Unhandled" not in log

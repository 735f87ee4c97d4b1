"""PuTTY's plink and psftp; through a jump with a proxy command, as PuTTY's users set it up."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.support.doors import Door, JumpDoor, missing
from tests.support.trees import file_sum, make_file

NEEDED = missing("plink", "psftp", "pscp", "puttygen")
pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(NEEDED), reason=NEEDED or "there")]


def options(door: Door) -> list[str]:
    """For plink, psftp and pscp: the key in PuTTY's format, and the host key that must be shown."""
    key = door.world.folder / "alice.ppk"
    if not key.exists():
        made = ["puttygen", str(door.key), "-O", "private", "-o", str(key)]
        subprocess.run(made, check=True, capture_output=True, timeout=60)
    proxy = ["-proxycmd", shlex.join(door.proxy_command)] if isinstance(door, JumpDoor) else []
    return ["-batch", "-noagent", "-i", str(key), "-hostkey", fingerprint(door), "-P", str(door.port), *proxy]


def fingerprint(door: Door) -> str:
    public = door.world.keys / "gateway_host.pub"
    done = subprocess.run(["ssh-keygen", "-lf", str(public)], check=True, capture_output=True, text=True)
    return done.stdout.split()[1]


def test_plink(door: Door) -> None:
    watch = door.watch()
    place = f"{door.user}@{door.address}"
    command = ["plink", *options(door), "-no-antispoof", "-T", place, "cat; echo err >&2; exit 7"]
    done = door.run(command, stdin=b"typed\n" * 100_000)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"typed\n" * 100_000, b"err\n")
    recorded = watch.session()
    assert (recorded.exported("stdout"), recorded.exported("stderr")) == (done.stdout, done.stderr)
    assert recorded.exported("stdin") == b"typed\n" * 100_000


def test_plink_with_a_terminal(door: Door) -> None:
    watch = door.watch()
    place = f"{door.user}@{door.address}"
    done = door.run(["plink", *options(door), "-no-antispoof", "-t", place, "tty; echo err >&2; exit 3"])
    assert done.returncode == 3 and done.stdout.startswith(b"/dev/pts/") and done.stdout.endswith(b"err\r\n")
    assert watch.session().exported() == done.stdout


def test_psftp(door: Door, tmp_path: Path) -> None:
    here = make_file(tmp_path / "here", (3 << 20) + 1)
    batch = tmp_path / "batch"
    batch.write_text(
        f"put {here} {tmp_path}/there\nget {tmp_path}/there {tmp_path}/back\nls {tmp_path}\nquit\n"
    )
    watch = door.watch()
    done = door.run(["psftp", *options(door), "-b", str(batch), f"{door.user}@{door.address}"])
    assert done.returncode == 0, done.stderr.decode()
    assert file_sum(tmp_path / "back") == file_sum(tmp_path / "there") == file_sum(here)
    recorded = watch.session()
    assert recorded.programs() == ["subsystem sftp"] and recorded.file_sums() == [file_sum(here)] * 2


@pytest.mark.parametrize("mode", ["-sftp", "-scp"])
def test_pscp(door: Door, tmp_path: Path, mode: str) -> None:
    here = make_file(tmp_path / "here", (1 << 20) + 1)
    place = f"{door.user}@{door.address}:{tmp_path}/there"
    for source, destination in ((str(here), place), (place, str(tmp_path / "back"))):
        done = door.run(["pscp", mode, "-q", *options(door), source, destination])
        assert done.returncode == 0, done.stderr.decode()
    assert file_sum(tmp_path / "back") == file_sum(tmp_path / "there") == file_sum(here)

"""ssh://, scp:// and sftp:// with a target in the user name: OpenSSH makes a blank of each + there."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.net import LOOPBACK
from tests.support.sshd import sshd_missing
from tests.support.world import World

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World() as made:
        yield made


def run(world: World, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([program, *world.ssh_options(), *arguments], capture_output=True, timeout=60)


@pytest.mark.parametrize("user", ["alice+root+web1", "alice+web1", "alice%2Broot%2Bweb1"])
def test_ssh(world: World, user: str) -> None:
    done = run(world, "ssh", f"ssh://{user}@{LOOPBACK}:{world.port}", "echo", "there")
    assert (done.stdout, done.returncode) == (b"there\n", 0), done.stderr
    assert world.sessions()[-1]["login"] == "root"


def test_scp(world: World, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.write_text("by scp")
    where = f"scp://alice+root+web1@{LOOPBACK}:{world.port}/{there}"
    done = run(world, "scp", str(here), where)
    assert done.returncode == 0 and there.read_text() == "by scp", done.stderr


def test_sftp(world: World, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    there.write_text("by sftp")
    done = run(world, "sftp", f"sftp://alice+root+web1@{LOOPBACK}:{world.port}/{there}", str(here))
    assert done.returncode == 0 and here.read_text() == "by sftp", done.stderr


def test_a_refusal_names_the_account_and_not_a_blank(world: World) -> None:
    done = run(world, "ssh", f"ssh://nobody+root+web1@{LOOPBACK}:{world.port}", "true")
    assert done.returncode == 255
    assert world.audit("auth")[-1]["user"] == "nobody root web1"  # as the client sent it

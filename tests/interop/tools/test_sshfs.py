"""sshfs: a folder of the target mounted, worked in, and given back."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.doors import Door, missing
from tests.support.trees import make_tree, tree_sums
from tests.support.world import poll


def cannot() -> str:
    """Why nothing can be mounted here, or ""."""
    if missing("sshfs", "fusermount3"):
        return missing("sshfs", "fusermount3")
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"/dev/fuse: {error.strerror}"
    return ""


pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(cannot()), reason=cannot() or "there")]


@contextmanager
def mounted(door: Door, remote: Path, here: Path) -> Iterator[Path]:
    here.mkdir()
    done = door.run(["sshfs", "-F", str(door.config), "-o", "idmap=user", f"{door.host}:{remote}", str(here)])
    assert done.returncode == 0, done.stderr.decode()
    try:
        yield here
    finally:
        subprocess.run(["fusermount3", "-u", str(here)], check=True, timeout=30)
        poll(lambda: not os.path.ismount(here))


def test_work_in_a_mounted_folder(door: Door, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    remote.mkdir()
    tree = make_tree(tmp_path / "tree")
    watch = door.watch()
    with mounted(door, remote, tmp_path / "here") as here:
        shutil.copytree(tree, here / "copy")
        assert tree_sums(here / "copy") == tree_sums(tree)
        (here / "copy" / "large.bin").rename(here / "moved.bin")
        with (here / "moved.bin").open("r+b") as file:
            file.seek(1000)
            file.write(b"in the middle")
        os.truncate(here / "moved.bin", 2000)
        (here / "copy" / "empty").unlink()
        assert sorted(os.listdir(here)) == ["copy", "moved.bin"]
        middle = (tree / "large.bin").read_bytes()[:2000]
        assert (here / "moved.bin").read_bytes() == middle[:1000] + b"in the middle" + middle[1013:]
    assert tree_sums(remote / "copy").items() < tree_sums(tree).items()
    recorded = watch.session()
    assert recorded.programs() == ["subsystem sftp"]
    assert {*tree_sums(tree).values()} <= {*recorded.file_sums()}

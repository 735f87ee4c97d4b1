"""tar through ssh, both ways: whole trees in one stream that ends by half-close."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.doors import Door
from tests.support.trees import make_tree, tree_sums

pytestmark = pytest.mark.interop


def test_tar_to_the_target(door: Door, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source")
    (tmp_path / "arrived").mkdir()
    packed = subprocess.run(
        ["tar", "-C", str(source), "-cf", "-", "."], capture_output=True, check=True
    ).stdout
    watch = door.watch()
    done = door.ssh(f"tar -C {tmp_path}/arrived -xf -", stdin=packed)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert tree_sums(tmp_path / "arrived") == tree_sums(source)
    assert watch.session().exported("stdin") == packed


def test_tar_from_the_target(door: Door, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source")
    (tmp_path / "arrived").mkdir()
    watch = door.watch()
    done = door.ssh(f"tar -C {source} -cf - .")
    assert done.returncode == 0
    unpack = ["tar", "-C", str(tmp_path / "arrived"), "-xf", "-"]
    subprocess.run(unpack, input=done.stdout, check=True)
    assert tree_sums(tmp_path / "arrived") == tree_sums(source)
    assert watch.session().exported() == done.stdout

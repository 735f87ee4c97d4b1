"""scp: over sftp, as it is today, and with -O over its own protocol."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.doors import Door
from tests.support.trees import file_sum, make_file, make_tree, tree_sums

pytestmark = pytest.mark.interop

MODES = [pytest.param([], id="sftp"), pytest.param(["-O"], id="rcp")]


@pytest.mark.parametrize("mode", MODES)
def test_a_file_there_and_back(door: Door, tmp_path: Path, mode: list[str]) -> None:
    here = make_file(tmp_path / "here", (5 << 20) + 3)
    there, back = tmp_path / "there", tmp_path / "back"
    watch = door.watch()
    for source, destination in ((str(here), f"{door.host}:{there}"), (f"{door.host}:{there}", str(back))):
        done = door.run(door.command("scp", *mode, source, destination))
        assert (done.returncode, done.stderr) == (0, b"")
    assert file_sum(there) == file_sum(back) == file_sum(here)
    up, down = watch.sessions(2)
    if mode:
        assert up.programs() == [f"exec scp -t {there}"] and down.programs() == [f"exec scp -f {there}"]
        assert here.read_bytes() in up.exported("stdin") and here.read_bytes() in down.exported()
    else:
        assert up.programs() == down.programs() == ["subsystem sftp"]
        assert up.file_sums() == down.file_sums() == [file_sum(here)]


@pytest.mark.parametrize("mode", MODES)
def test_a_tree_there_and_back(door: Door, tmp_path: Path, mode: list[str]) -> None:
    here = make_tree(tmp_path / "here")
    there, back = tmp_path / "there", tmp_path / "back"
    for source, destination in ((str(here), f"{door.host}:{there}"), (f"{door.host}:{there}", str(back))):
        done = door.run(door.command("scp", *mode, "-rp", source, destination))
        assert (done.returncode, done.stderr) == (0, b"")
    assert tree_sums(there) == tree_sums(back) == tree_sums(here)
    assert (there / "large.bin").stat().st_mtime == int((here / "large.bin").stat().st_mtime)


def test_a_file_that_is_not_there(door: Door, tmp_path: Path) -> None:
    done = door.run(door.command("scp", f"{door.host}:{tmp_path}/none", str(tmp_path)))
    assert done.returncode == 1 and b"No such file" in done.stderr

"""rsync: there, again with changes, and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.doors import Door, missing
from tests.support.trees import make_file, make_tree, tree_sums

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(missing("rsync")), reason=missing("rsync") or "there"),
]


def rsync(door: Door, *arguments: str) -> bytes:
    done = door.run(["rsync", "-a", "--checksum", "--stats", "-e", door.rsh, *arguments])
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_there_again_and_back(door: Door, tmp_path: Path) -> None:
    here, there, back = make_tree(tmp_path / "here"), tmp_path / "there", tmp_path / "back"
    watch = door.watch()
    rsync(door, f"{here}/", f"{door.host}:{there}/")
    assert tree_sums(there) == tree_sums(here)
    with (here / "large.bin").open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"changed")
    make_file(here / "new" / "file", 100_000)
    (here / "empty").unlink()
    rsync(door, "--delete", "--no-whole-file", f"{here}/", f"{door.host}:{there}/")
    assert tree_sums(there) == tree_sums(here)
    rsync(door, "-z", f"{door.host}:{there}/", f"{back}/")
    assert tree_sums(back) == tree_sums(here)
    whole, delta, pull = watch.sessions(3)
    assert whole.programs()[0].startswith("exec rsync --server")
    # The delta was small: what moved is in the recording, and nothing else.
    assert whole.totals["bytes_in"] > 3 << 20 > 1 << 20 > delta.totals["bytes_in"]
    assert len(pull.exported()) == pull.totals["bytes_out"]
    assert [line["kind"] for line in whole.audit("request")] == ["rsync"]

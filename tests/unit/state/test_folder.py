"""The folder of the gateway's own state: closed to others, and the gateway's although root has made it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bastion.state.folder import give_to_owner_of, make_folder


def test_it_is_made_closed_and_left_as_it_is_after_that(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "state"
    make_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o750)
    make_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o750


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives away")
def test_what_root_makes_belongs_to_whom_the_folder_around_it_does(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12346)
    make_folder(tmp_path / "state")
    made = tmp_path / "state" / "file"
    made.touch()
    give_to_owner_of(tmp_path, made)
    for path in (made, made.parent):
        found = path.stat()
        assert (found.st_uid, found.st_gid) == (12345, 12346)

"""Files that appear and change as a whole, and whose they are."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from bastion.ca import files
from bastion.ca.files import create_file, is_there, locked, replace_file, unwritable
from tests.support.rights import NOBODY, without_rights


def test_a_new_file_takes_nobodys_place(tmp_path: Path) -> None:
    path = tmp_path / "key"
    create_file(path, b"one", 0o600)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"one", 0o600)
    with pytest.raises(FileExistsError):
        create_file(path, b"two", 0o600)
    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["key"]


def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    replace_file(path, b"one", 0o644)
    path.chmod(0o640)
    replace_file(path, b"two", 0o644)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o640)
    assert os.listdir(tmp_path) == ["ledger"]


@pytest.mark.parametrize("step", ["fsync", "replace", "link"])
def test_a_disk_that_fails_leaves_what_was_there(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger"
    path.write_bytes(b"old")

    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files.os, step, fails)
    with pytest.raises(OSError):
        if step == "link":
            create_file(tmp_path / "new", b"new", 0o600)
        else:
            replace_file(path, b"new", 0o644)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["ledger"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_makes_files_for_whom_the_folder_belongs_to(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    create_file(tmp_path / "key", b"k", 0o600)
    replace_file(tmp_path / "ledger", b"l", 0o644)
    assert {(tmp_path / name).stat().st_uid for name in ("key", "ledger")} == {NOBODY}


def test_who_may_not_write_is_told_who_may(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    with locked(tmp_path), without_rights(), pytest.raises(OSError) as fault:
        create_file(folder / "key", b"k", 0o600)
    assert "run it as root, or as root, to whom the folder belongs" in str(
        unwritable(folder / "key", fault.value)
    )


def test_a_file_in_a_folder_that_is_closed_might_be_there(tmp_path: Path) -> None:
    assert not is_there(tmp_path / "key")
    (tmp_path / "key").touch()
    assert is_there(tmp_path / "key") and not is_there(tmp_path / "key" / "in a file")
    closed = Path(tempfile.mkdtemp())  # pytest's own folder is closed to others
    try:
        closed.chmod(0o600)
        with without_rights():
            assert is_there(closed / "key")
    finally:
        closed.rmdir()

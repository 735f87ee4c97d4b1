"""Penalties in a file: read as they were written, and garbage is no hindrance."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastion.auth.penalty_records import Kept
from bastion.state.penalty_copy import FILE, KEY, KEY_FILE, key_of, read_penalties, write_penalties

KEPT = [Kept("00ff", "192.0.2.1", True, 12.5, 9), Kept("aa", "", True, 3.0, 20)]


def test_they_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert read_penalties(tmp_path) == []
    write_penalties(tmp_path, KEPT)
    assert read_penalties(tmp_path) == KEPT
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("data", [b"", b"{", b"[[1,2]]", b'[["zz","a",true,1,1]]', b"7"])
def test_garbage_is_said(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE).write_bytes(data)
    assert read_penalties(tmp_path) is None


def test_the_key_is_made_once_and_again_when_it_is_torn(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    key = key_of(folder)
    assert len(key) == KEY and key_of(folder) == key
    assert (folder / KEY_FILE).stat().st_mode & 0o777 == 0o600
    (folder / KEY_FILE).write_bytes(b"short")
    assert len(key_of(folder)) == KEY and [one.name for one in folder.iterdir()] == [KEY_FILE]

"""What an inventory answered last, on disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bastion.inventories.kept import FOLDER, answered_again, keep, kept_of, text_in
from bastion.inventories.section import InventorySource

SECTION = InventorySource(url="https://cmdb.example.com/", max_age=3600.0)


def test_nothing_is_there_until_it_is_kept(tmp_path: Path) -> None:
    one = kept_of(tmp_path, "cmdb", SECTION, 1e9)
    assert one.answered_at == 0 and not one.counts and not one.expired and text_in(one.file) is None
    keep(one.file, "# x\n")
    one = kept_of(tmp_path, "cmdb", SECTION, one.file.stat().st_mtime + 5)
    assert one.counts and text_in(one.file) == "# x\n" and one.file == tmp_path / FOLDER / "cmdb.toml"
    assert one.age(one.answered_at + 5) == 5 and one.age(one.answered_at - 5) == 0


def test_it_is_closed_to_others_and_leaves_nothing_beside(tmp_path: Path) -> None:
    file = kept_of(tmp_path, "cmdb", SECTION, 0).file
    keep(file, "1\n")
    keep(file, "2\n")
    assert os.listdir(file.parent) == ["cmdb.toml"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_what_cannot_be_written_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = kept_of(tmp_path, "cmdb", SECTION, 0).file
    keep(file, "1\n")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        keep(file, "2\n")
    assert text_in(file) == "1\n" and os.listdir(file.parent) == ["cmdb.toml"]


def test_it_counts_for_as_long_as_it_may(tmp_path: Path) -> None:
    file = kept_of(tmp_path, "cmdb", SECTION, 0).file
    keep(file, "1\n")
    os.utime(file, (1e9, 1e9))
    assert kept_of(tmp_path, "cmdb", SECTION, 1e9 + 3600).counts
    late = kept_of(tmp_path, "cmdb", SECTION, 1e9 + 3601)
    assert late.expired and not late.counts
    for_ever = InventorySource(url="https://cmdb.example.com/", max_age=None)
    assert kept_of(tmp_path, "cmdb", for_ever, 3e9).counts
    answered_again(file)
    assert kept_of(tmp_path, "cmdb", SECTION, file.stat().st_mtime + 1).counts

"""A small file of JSON beside the store."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from bastion.state import json_file


def test_what_was_written_is_read_by_the_account_alone(tmp_path: Path) -> None:
    file = tmp_path / "kept.json"
    for value in ([], {"made_at": 1.5, "reason": "é"}, [["a", 1.0, ""]]):
        json_file.write(file, value)
        assert json_file.read(file, 100) == value
    assert file.stat().st_mode & 0o777 == 0o600 and os.listdir(tmp_path) == ["kept.json"]


@pytest.mark.parametrize("data", [b"", b"[1", b"\xff", b"[" + b"1," * 50 + b"1]"])
def test_what_is_no_json_or_too_long_is_said(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "kept.json"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"kept.json is longer than 100 bytes" if len(data) > 100 else "."):
        json_file.read(file, 100)


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "kept.json"
    json_file.write(file, [1])
    (tmp_path / f".kept.json.{os.getpid()}.{threading.get_native_id()}").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        json_file.write(file, [2])
    assert json_file.read(file, 100) == [1]


def test_none_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        json_file.read(tmp_path / "none.json", 100)


def test_a_loss_of_power_brings_nothing_of_before_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, sync = [], os.fsync

    def note(fd: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(fd).st_mode), (tmp_path / "kept.json").exists()))
        sync(fd)

    monkeypatch.setattr(os, "fsync", note)
    json_file.write(tmp_path / "kept.json", [1])
    assert synced == [(False, False), (True, True)], "the file before it has its name, the name after that"


def test_threads_that_write_the_same_file_do_not_write_into_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, sync = tmp_path / "kept.json", os.fsync
    other = threading.Thread(target=json_file.write, args=(file, [2]))

    def meanwhile(fd: int) -> None:
        if threading.current_thread() is threading.main_thread() and other.ident is None:
            other.start()
            other.join(30)
        sync(fd)

    monkeypatch.setattr(os, "fsync", meanwhile)
    json_file.write(file, [1] * 3)
    assert json_file.read(file, 100) == [1] * 3 and os.listdir(tmp_path) == ["kept.json"]

"""A small file of JSON beside the store."""

from __future__ import annotations

import os
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
    (tmp_path / f".kept.json.{os.getpid()}").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        json_file.write(file, [2])
    assert json_file.read(file, 100) == [1]


def test_none_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        json_file.read(tmp_path / "none.json", 100)

"""A log and its rotated files: which they are, in which order, and their lines."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
import zstandard

import bastion.observe.log_files as module
from bastion.observe.log_files import LogUnreadable, log_files, read_lines


def test_rotated_files_are_found_oldest_first_and_nothing_else(tmp_path: Path) -> None:
    names = ["audit.jsonl-20261101.zst", "audit.jsonl.2.gz", "audit.jsonl.1", "audit.jsonl"]
    for age, name in enumerate(names):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    (tmp_path / "audit.jsonl.bak").write_bytes(b"{}")
    (tmp_path / "audit.jsonl.swp").mkdir()
    assert [path.name for path in log_files(tmp_path / "audit.jsonl")] == names
    assert log_files(tmp_path / "absent") == []


@pytest.mark.parametrize(
    ("name", "pack"),
    [("a", bytes), ("a.gz", gzip.compress), ("a.zst", zstandard.ZstdCompressor().compress)],
)
def test_lines_are_the_same_packed_or_not(tmp_path: Path, name: str, pack) -> None:
    (tmp_path / name).write_bytes(pack(b"one\ntwo\nthree"))
    assert list(read_lines(tmp_path / name)) == [b"one", b"two", b"three"]


def test_what_was_read_before_a_fault_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 4)
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"one\ntwo\n" + os.urandom(1000))[:-600])
    lines = read_lines(tmp_path / "a.gz")
    assert next(lines) == b"one"
    with pytest.raises(LogUnreadable):
        list(lines)
    with pytest.raises(LogUnreadable, match="No such file"):
        list(read_lines(tmp_path / "absent"))


def test_a_line_without_end_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LINE", 100)
    monkeypatch.setattr(module, "BLOCK", 64)
    (tmp_path / "a").write_bytes(b"x" * 1000 + b"\nnext\n")
    assert list(read_lines(tmp_path / "a"))[-1] == b"next"
    assert all(len(line) < 200 for line in read_lines(tmp_path / "a"))

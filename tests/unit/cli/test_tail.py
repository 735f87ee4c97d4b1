"""A log read as it grows, over rotations."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import bastion.cli.tail as module
from bastion.cli.tail import Tail


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"one\ntwo\n")
    return path


def add(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_what_is_there_then_what_comes(log: Path):
    tail = Tail(log)
    assert list(tail.lines()) == [b"one", b"two"]
    assert list(tail.lines()) == []
    add(log, b"thr")
    assert list(tail.lines()) == [], "half a line is none"
    add(log, b"ee\nfour\n")
    assert list(tail.lines()) == [b"three", b"four"]
    tail.close()


def test_a_rotated_file_is_read_to_its_end_and_the_new_one_from_its_beginning(log: Path):
    tail = Tail(log)
    list(tail.lines())
    old = log.with_suffix(".jsonl.1")
    log.rename(old)
    add(old, b"three\n")
    assert tail.is_file(old) and not tail.is_file(log)
    assert list(tail.lines()) == [b"three"], "there is no new one yet"
    add(log, b"four\n")
    assert list(tail.lines()) == [b"four"]
    add(old, b"late\n")
    add(log, b"five\n")
    assert list(tail.lines()) == [b"late", b"five"]
    assert list(tail.lines()) == [] and tail.is_file(log)
    tail.close()


def test_a_file_that_is_cut_is_read_from_its_beginning(log: Path):
    tail = Tail(log)
    list(tail.lines())
    os.truncate(log, 0)
    add(log, b"new\n")
    assert list(tail.lines()) == [b"new"]
    tail.close()


def test_a_line_without_end_is_not_kept(log: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_LINE", 100)
    tail = Tail(log)
    list(tail.lines())
    add(log, b"x" * 1000)
    assert list(tail.lines()) == []
    add(log, b"\nnext\n")
    assert list(tail.lines()) == [b"", b"next"]
    tail.close()


def test_no_log_is_told(tmp_path: Path):
    with pytest.raises(OSError):
        Tail(tmp_path / "absent")

"""A log read as it grows, over rotations."""

from __future__ import annotations

import gzip
import os
from hashlib import sha256
from pathlib import Path

import pytest

import bastion.observe.tail as module
from bastion.observe.tail import Behind, Position, Tail, resume


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


def read(log: Path, position: Position | None) -> list[bytes]:
    """Everything from there on, over rotated files."""
    resumed = resume(log, position)
    tail = Tail(log, resumed.offset)
    found = [line for behind in resumed.behind for line in behind.lines()] + list(tail.lines())
    tail.close()
    return found


def rotated(log: Path, name: str, age: int, packed: bool = False) -> None:
    old = log.with_name(log.name + name)
    if packed:
        old.write_bytes(gzip.compress(log.read_bytes()))
        log.unlink()
    else:
        log.rename(old)
    os.utime(old, (1000 + age, 1000 + age))


def test_whoever_goes_on_reads_what_was_not_read(log: Path):
    tail = Tail(log)
    assert tail.position == Position(resume_name(b"one"), 0), "nothing was read yet"
    list(tail.lines())
    add(log, b"half")
    list(tail.lines())
    position = tail.position
    assert position == Position(resume_name(b"one"), 8), "half a line was not read"
    add(log, b" a line\nthree\n")
    assert resume(log, position) == ((), 8, True)
    assert read(log, position) == [b"half a line", b"three"]
    tail.close()


@pytest.mark.parametrize("packed", [False, True])
def test_a_position_is_found_in_a_file_that_was_rotated_and_packed_since(log: Path, packed: bool):
    add(log, b"three\n")
    rotated(log, ".2.gz" if packed else ".2", 0, packed)
    add(log, b"four\nfive\n")
    rotated(log, ".1", 1)
    add(log, b"six\n")
    position = Position(resume_name(b"one"), 8)
    assert read(log, position) == [b"three", b"four", b"five", b"six"]
    assert read(log, Position(resume_name(b"four"), 5)) == [b"five", b"six"]
    (first, second), offset, known = resume(log, position)
    assert isinstance(first, Behind) and (first.offset, second.offset, offset, known) == (8, 0, 0, True)


@pytest.mark.parametrize("position", [None, Position("0" * 64, 4), Position("", 0)])
def test_a_position_that_is_in_no_file_is_none(log: Path, position: Position | None):
    rotated(log, ".1", 0)
    add(log, b"three\n")
    assert not resume(log, position).known
    assert read(log, position) == [b"one", b"two", b"three"]


def test_a_file_that_was_cut_below_a_position_is_read_anew(log: Path):
    assert not resume(log, Position(resume_name(b"one"), 9)).known


def test_there_is_no_position_while_a_rotated_file_is_to_be_read_once_more(log: Path):
    tail = Tail(log)
    list(tail.lines())
    log.rename(log.with_suffix(".1"))
    add(log, b"")
    list(tail.lines())
    assert tail.position is None
    list(tail.lines())
    assert tail.position is None, "there is no line in the new one"
    add(log, b"three\n")
    list(tail.lines())
    assert tail.position == Position(resume_name(b"three"), 6)
    tail.close()


def resume_name(line: bytes) -> str:
    return sha256(line).hexdigest()

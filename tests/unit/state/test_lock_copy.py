"""The copy of the locks is whole or not there, and closed to others."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from bastion.state.lock_copy import FILE, IDS, change_copy, read_copy, write_copy
from bastion.state.rows import Lock

BOB = Lock("user", "bob", "left \u00e9", "carol", 1.5)
HOST = Lock("target", "web1", "", "", 2.0, 9.0)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    assert read_copy(tmp_path) is None
    write_copy(tmp_path, [BOB, HOST])
    assert read_copy(tmp_path) == [BOB, HOST]
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_one_lock_comes_or_goes(tmp_path: Path) -> None:
    change_copy(tmp_path, BOB)
    change_copy(tmp_path, HOST)
    again = Lock("user", "bob", "back", "carol", 3.0)
    change_copy(tmp_path, again)
    assert read_copy(tmp_path) == [HOST, again]
    change_copy(tmp_path, HOST, gone=True)
    change_copy(tmp_path, Lock("target", "nobody", "", "", 1.0), gone=True)
    assert read_copy(tmp_path) == [again]


def test_what_is_kept_late_takes_no_later_one_away(tmp_path: Path) -> None:
    again = Lock("user", "bob", "back", "carol", 3.0)
    change_copy(tmp_path, again)
    written = (tmp_path / FILE).stat().st_mtime_ns
    change_copy(tmp_path, BOB)
    change_copy(tmp_path, BOB, gone=True)
    assert read_copy(tmp_path) == [again] and (tmp_path / FILE).stat().st_mtime_ns == written
    change_copy(tmp_path, again, gone=True)
    assert read_copy(tmp_path) == []


def test_that_nothing_is_locked_is_known_after_the_first_end_too(tmp_path: Path) -> None:
    change_copy(tmp_path, BOB, gone=True)
    assert read_copy(tmp_path) == []


@pytest.mark.parametrize("data", [b"", b"[{", b"{}x", b'[{"kind": "user"}]', b'["bob"]'])
def test_what_is_no_copy_is_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE).write_bytes(data)
    assert read_copy(tmp_path) is None


def test_the_version_before_reads_a_copy_with_ids_as_names(tmp_path: Path) -> None:
    alice = Lock("user", "alice", "left", "carol", 1.5, None, "u-1")
    write_copy(tmp_path, [alice, BOB])
    assert read_copy(tmp_path) == [alice, BOB]
    old = {"kind", "value", "reason", "made_by", "made_at", "until"}
    assert all(row.keys() == old for row in orjson.loads((tmp_path / FILE).read_bytes()))
    assert (tmp_path / IDS).stat().st_mode & 0o777 == 0o600
    change_copy(tmp_path, BOB, gone=True)
    assert read_copy(tmp_path) == [alice]
    change_copy(tmp_path, alice, gone=True)
    assert read_copy(tmp_path) == [] and orjson.loads((tmp_path / IDS).read_bytes()) == []


@pytest.mark.parametrize("data", [b"", b"{}x", b"[1]", b'[["alice", 9.0, "u-2"]]', b'[["alice", [], ""]]'])
def test_ids_that_are_none_leave_the_lock_on_the_name(tmp_path: Path, data: bytes) -> None:
    """Of an earlier lock too: the name is locked for everybody rather than the wrong account."""
    write_copy(tmp_path, [Lock("user", "alice", "left", "carol", 1.5, None, "u-1")])
    (tmp_path / IDS).write_bytes(data)
    assert read_copy(tmp_path) == [Lock("user", "alice", "left", "carol", 1.5)]

"""What was said of break-glass accounts last, over a restart and with the store away."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastion.state.changes import apply
from bastion.state.database import Database
from bastion.state.openings import FILE, NEVER, Opened, newest, opened, read_copy, write_copy

HERE = Opened(10.0, 3610.0, "INC-7", "sec (uid 1000)")
THERE = Opened(20.0, 0.0, "", "root (uid 0)")


def keep(database: Database, node: str, what: Opened) -> None:
    with database.write() as connection:
        apply(connection, [opened(node, what)])


def test_what_was_said_last_counts_wherever_it_was(database: Database, tmp_path: Path) -> None:
    assert newest(database, tmp_path) == NEVER and list(tmp_path.glob(FILE)) == []
    keep(database, "one", HERE)
    assert newest(database, tmp_path) == HERE
    keep(database, "two", THERE)
    assert newest(database, tmp_path) == THERE == read_copy(tmp_path)
    later = Opened(30.0, 90.0, "INC-8", "sec (uid 1000)")
    keep(database, "one", later)
    assert newest(database, tmp_path) == later


def test_what_is_not_written_yet_is_not_forgotten(database: Database, tmp_path: Path) -> None:
    keep(database, "one", HERE)
    write_copy(tmp_path, THERE)  # its row is owed
    assert newest(database, tmp_path) == THERE


def test_the_copy_is_closed_to_others_and_stays_the_only_file(tmp_path: Path) -> None:
    write_copy(tmp_path, HERE)
    write_copy(tmp_path, HERE)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600 and read_copy(tmp_path) == HERE


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"made_at": 1.0}',
        b'{"made_at": 1.0, "until": null, "reason": "x", "made_by": "x"}',
        b'{"made_at": "1", "until": 2.0, "reason": "x", "made_by": "x"}',
        b'{"made_at": 1.0, "until": 9.0, "reason": "x", "made_by": "x"' + b" " * 20000 + b"}",
    ],
)
def test_what_is_no_copy_opens_nothing(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE).write_bytes(data)
    assert read_copy(tmp_path) == NEVER

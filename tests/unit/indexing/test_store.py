"""The index's file: what goes in comes out, whole or not at all."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bastion.indexing.store import IndexFile, IndexUnfit
from bastion.indexing.words import Question
from bastion.recording.commands import Command
from bastion.recording.listed import Wanted
from tests.unit.indexing.made import ONE, TWO, found, put


def test_an_index_of_before_gets_what_choosing_sessions_takes(file: IndexFile) -> None:
    put(file, ONE, "an error")
    file._database.execute("DROP INDEX sessions_walked")
    assert [hit.text for hit in file.newest(Question.of("error"), Wanted(user="alice"))] == ["an error"]
    with closing(IndexFile(file.path, make=True)) as again:
        plan = again._database.execute(
            "EXPLAIN QUERY PLAN SELECT number FROM sessions WHERE whole AND login = 'a'"
        )
        assert "COVERING INDEX sessions_walked" in str(plan.fetchall())


def test_the_file_is_for_its_owner_alone(file: IndexFile) -> None:
    assert file.path.stat().st_mode & 0o777 == 0o600 and file.path.parent.stat().st_mode & 0o777 == 0o700


def test_what_was_not_ended_is_not_there_and_is_known_as_torn(file: IndexFile) -> None:
    number = put(file, ONE, "half", end=False)
    assert (file.sessions(), file.known(), found(file, "half"), file.torn()) == ({}, {}, [], [number])
    file.remove(number)
    put(file, ONE, "whole")
    assert found(file, "half") == [] and found(file, "whole") == [("a", 0.0, "whole")]


def test_nothing_stays_of_what_is_removed(file: IndexFile) -> None:
    number = put(file, ONE, "topsecretword here")
    put(file, TWO, "another")
    file.remove(number)
    file.settle()
    file.close()
    assert b"topsecretword" not in file.path.read_bytes()
    again = IndexFile(file.path)
    assert found(again, "topsecretword") == [] and found(again, "another") == [("b", 0.0, "another")]


def test_commands_come_back_as_they_were(file: IndexFile) -> None:
    put(file, ONE, "x")
    put(file, TWO, "x")
    both = list(file.commands(file.sessions()))
    assert [one.id for one, _ in both] == [TWO.id, ONE.id]
    assert both[1][1] == Command(ONE.id, 2, "exec", "rm x", 5.0, 105.0, 5.0, exit_status=0)


def test_a_file_that_is_no_index_is_said(tmp_path: Path) -> None:
    with pytest.raises(IndexUnfit):
        IndexFile(tmp_path / "none.db")
    (tmp_path / "bad.db").write_bytes(b"no database" * 100)
    with pytest.raises(IndexUnfit, match=r"bad\.db"):
        IndexFile(tmp_path / "bad.db")
    sqlite3.connect(tmp_path / "other.db").execute("PRAGMA user_version = 99")
    with pytest.raises(IndexUnfit, match="run `bastion index`"):
        IndexFile(tmp_path / "other.db")


def test_a_page_that_was_damaged_is_said(file: IndexFile) -> None:
    put(file, ONE, "word")
    sqlite3.connect(file.path, isolation_level=None).execute("UPDATE pages SET packed = x'00'")
    with pytest.raises(IndexUnfit, match="damaged"):
        found(file, "word")

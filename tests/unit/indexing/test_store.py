"""The index's file: what goes in comes out, whole or not at all."""

from __future__ import annotations

import random
import sqlite3
from ipaddress import ip_network
from pathlib import Path

import pytest

from bastion.indexing import store as store_module
from bastion.indexing.pages import Page
from bastion.indexing.store import IndexFile, IndexUnfit
from bastion.indexing.words import Question
from bastion.recording.commands import Command
from bastion.recording.listed import Listed, Wanted

ONE = Listed("a" * 16, "ended", 100.0, "alice", "deploy", "web1", 60.0, 5, "2027-01-15/a.rec")
TWO = ONE._replace(id="b" * 16, started_at=900.0, identity="bob")


@pytest.fixture
def file(tmp_path: Path) -> IndexFile:
    return IndexFile(tmp_path / "index" / "reading.db", make=True)


def put(file: IndexFile, one: Listed, *lines: str, end: bool = True) -> int:
    number = file.begin(one, "u", "10.0.0.1", 10, 20)
    page = Page(1)
    for place, line in enumerate(lines):
        page.add(float(place), line)
    file.add(number, 0, [page])
    if end:
        file.end(number, [Command(one.id, 2, "exec", "rm x", 5.0, 105.0, 5.0, exit_status=0)], "[]", "")
    return number


def found(file: IndexFile, words: str, context: int = 0) -> list[tuple[str, float, str]]:
    hits = file.search(Question.of(words), file.sessions(), context)
    return [(hit.session.id[0], hit.time, hit.text) for hit in hits]


def test_lines_are_found_the_newest_session_first(file: IndexFile) -> None:
    put(file, ONE, "one error", "nothing", "two errors")
    put(file, TWO, "error three")
    assert found(file, "error") == [
        ("b", 0.0, "error three"),
        ("a", 0.0, "one error"),
        ("a", 2.0, "two errors"),
    ]
    assert found(file, "error one") == [("a", 0.0, "one error")]
    assert found(file, "one nothing") == [], "both words stand in the page, in no line"
    (hit,) = file.search(Question.of("nothing"), file.sessions(), 1)
    assert (hit.before, hit.after, hit.channel) == (("one error",), ("two errors",), 1)
    assert list(file.search(Question.of("error"), {})) == []


def test_the_newest_are_those_of_all_sessions_that_are_wanted(
    file: IndexFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "FIRST_BATCH", 1)
    monkeypatch.setattr(store_module, "LARGEST_BATCH", 3)
    chance = random.Random(1)
    for number in range(40):
        one = ONE._replace(
            id=f"{number:016}", started_at=chance.choice((0.0, 100.0 * number)), duration=chance.random() * 500,
            identity=chance.choice(("alice", "bob")), login=chance.choice(("deploy", "root")),
            target=chance.choice(("web1", "web1:2222", "db1")), source=f"10.0.0.{number}",
            rules="a,b"[: number % 2 * 2 + 1],
        )  # fmt: skip
        put(file, one, "an error", f"word{number}", *["error again"] * (number % 3), end=number % 7 != 0)
    for wanted in (
        Wanted(), Wanted(user="bob"), Wanted(login="root", user="alice"), Wanted(target="web1"), Wanted(since=1500.0),
        Wanted(until=2000.0), Wanted(since=900.0, until=2500.0, target="db1"), Wanted(rule="b"), Wanted(user="nobody"),
        Wanted(source=ip_network("10.0.0.0/28")),
    ):  # fmt: skip
        chosen = {number: one for number, one in file.sessions().items() if wanted.takes(one)}
        for words in ("error", "word17", "an error", "nothing", "error again"):
            question = Question.of(words)
            assert list(file.newest(question, wanted, 1)) == list(file.search(question, chosen, 1)), wanted
    assert list(file.newest(Question.of(""), Wanted())) == []


def test_words_are_found_however_far_apart_they_stand_in_a_line(file: IndexFile) -> None:
    far = f"first {'x ' * 500} last"
    put(file, ONE, "first", *["y " * 50] * 20, "last")
    put(file, TWO, "before", far, "behind")
    assert found(file, "last first") == found(file, '"first x" last') == [("b", 1.0, far)]
    assert found(file, "first x x") == [("b", 1.0, far)] and found(file, "last before") == []


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

"""Notes, tags and marks: kept as they were left, bounded, and none of them without its line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bastion.state import reviewing as module
from bastion.state.changes import ADD, Change, Value, apply
from bastion.state.database import Database
from bastion.state.reviewing import (
    TEXT_MAX,
    NotTaken,
    Reviewer,
    add_mark,
    add_note,
    add_tag,
    drop_tag,
    left_at,
    marks_at,
)

NOW = 1_800_000_000.0
ADA, BEA = Reviewer("u-ada", "ada"), Reviewer("u-bea", "bea")
ONE = "aaaabbbbccccdddd"


def silent(_: str) -> None:
    """No line."""


def session(database: Database, name: str = ONE, **values: Value) -> None:
    row: dict[str, Value] = {
        "id": name, "kind": "session", "state": "ended", "identity": "alice", "uid": "u-alice", "target": "web1",
        "login": "deploy", "started_at": NOW - 100, "ended_at": NOW - 50,
    }  # fmt: skip
    with database.write() as connection:
        apply(connection, [Change(ADD, "sessions", row | values)])


def test_what_was_left_is_read_back_in_its_order(database: Database) -> None:
    session(database)
    told: list[str] = []
    first = add_note(database, ONE, ADA, "  looks \t odd ", NOW, told.append)
    second = add_note(database, ONE, BEA, "it is the new <b>build</b>", NOW + 1, told.append)
    mark = add_mark(database, ONE, BEA, "", NOW + 2, told.append)
    assert add_tag(database, ONE, ADA, "case-7", NOW + 3, told.append)
    left = left_at(database, ONE)
    assert left.notes == (first, second) and left.marks == (mark,) and first.text == "looks odd"
    assert [(one.tag, one.uid) for one in left.tags] == [("case-7", "u-ada")]
    assert told == [first.id, second.id, mark.id, "case-7"] and len({*told}) == 4
    assert len(first.id) == 16 and left_at(database, "zzzzzzzzzzzzzzzz") == module.Left()


def test_a_tag_is_there_once_and_goes_once(database: Database) -> None:
    session(database)
    told: list[str] = []
    assert add_tag(database, ONE, ADA, "x", NOW, told.append)
    assert not add_tag(database, ONE, BEA, "x", NOW, told.append)
    assert drop_tag(database, ONE, "x", told.append) and not drop_tag(database, ONE, "x", told.append)
    assert told == ["x", "x"] and left_at(database, ONE).tags == ()


@pytest.mark.parametrize("tag", ["", "Case", "a b", "-a", "a" * 33, "a/b", "ä"])
def test_what_is_no_tag_is_none(database: Database, tag: str) -> None:
    session(database)
    with pytest.raises(NotTaken):
        add_tag(database, ONE, ADA, tag, NOW, silent)


def test_nobody_marks_a_session_of_his_own_nor_one_that_runs(database: Database) -> None:
    session(database)
    session(database, "live" * 4, state="live", ended_at=None)
    for by in (Reviewer("u-alice", "renamed"), Reviewer("other", "alice")):
        with pytest.raises(NotTaken) as refused:
            add_mark(database, ONE, by, "", NOW, silent)
        assert refused.value.own
        add_note(database, ONE, by, "I was there", NOW, silent)
    with pytest.raises(NotTaken, match="runs still") as refused:
        add_mark(database, "live" * 4, ADA, "", NOW, silent)
    assert not refused.value.own and left_at(database, ONE).marks == ()


def test_without_its_line_nothing_is_left(database: Database) -> None:
    session(database)
    add_tag(database, ONE, ADA, "kept", NOW, silent)

    def fails(_: str) -> None:
        raise RuntimeError("the log is full")

    for leave in (
        lambda: add_note(database, ONE, ADA, "x", NOW, fails),
        lambda: add_mark(database, ONE, ADA, "x", NOW, fails),
        lambda: add_tag(database, ONE, ADA, "x", NOW, fails),
        lambda: drop_tag(database, ONE, "kept", fails),
    ):
        with pytest.raises(RuntimeError):
            leave()
    left = left_at(database, ONE)
    assert (left.notes, left.marks, [one.tag for one in left.tags]) == ((), (), ["kept"])


def test_what_is_left_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    session(database)
    for name in ("MOST_NOTES", "MOST_MARKS", "MOST_TAGS"):
        monkeypatch.setattr(module, name, 2)
    for number in range(2):
        add_note(database, ONE, ADA, "x" * TEXT_MAX, NOW, silent)
        add_mark(database, ONE, ADA, "", NOW, silent)
        add_tag(database, ONE, ADA, f"t{number}", NOW, silent)
    more: list[Callable[[], object]] = [
        lambda: add_note(database, ONE, ADA, "x", NOW, silent),
        lambda: add_mark(database, ONE, ADA, "x", NOW, silent),
        lambda: add_tag(database, ONE, ADA, "t2", NOW, silent),
        lambda: add_note(database, ONE, ADA, "x" * (TEXT_MAX + 1), NOW, silent),
        lambda: add_note(database, ONE, ADA, " \t ", NOW, silent),
        lambda: add_note(database, "zzzzzzzzzzzzzzzz", ADA, "x", NOW, silent),
    ]
    for leave in more:
        with pytest.raises(NotTaken):
            leave()
    left = left_at(database, ONE)
    assert (len(left.notes), len(left.marks), len(left.tags)) == (2, 2, 2)


def test_marks_of_many_sessions_are_read_at_once(database: Database) -> None:
    names = [f"{number:016d}".translate(str.maketrans("0189", "abcd")) for number in range(1200)]
    for name in (names[0], names[700], names[1199]):
        session(database, name)
        add_mark(database, name, ADA, "", NOW, silent)
    with database.read() as connection:
        assert set(marks_at(connection, names)) == {names[0], names[700], names[1199]}

"""A change is a value, a line, and a statement; twice written is once written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from bastion.state.changes import ADD, DROP, LINE_MAX, PUT, SET, BadChange, Change, apply, by_kind, read_line
from bastion.state.database import Database, Place
from bastion.state.schema import LOCKS, SESSIONS
from bastion.state.schema_version import check_schema
from tests.support.examples import examples
from tests.support.state import rows

pytestmark = pytest.mark.slow

LOCK = {"kind": "user", "value": "alice", "made_at": 1.0, "reason": "left"}


def write(database: Database, *changes: Change) -> None:
    with database.write() as connection:
        apply(connection, changes)


def test_add_leaves_a_row_that_is_there_and_put_takes_its_place(database: Database) -> None:
    write(database, Change(ADD, "locks", LOCK), Change(ADD, "locks", LOCK | {"reason": "other"}))
    assert [row["reason"] for row in rows(database, LOCKS)] == ["left"]
    write(database, Change(PUT, "locks", LOCK | {"reason": "other"}))
    assert [row["reason"] for row in rows(database, LOCKS)] == ["other"]


def test_set_changes_the_columns_it_names_and_makes_no_row(database: Database) -> None:
    write(database, Change(SET, "locks", {"kind": "user", "value": "alice", "until": 9.0}))
    assert rows(database, LOCKS) == []
    write(
        database,
        Change(ADD, "locks", LOCK),
        Change(SET, "locks", {"kind": "user", "value": "alice", "until": 9.0}),
    )
    (row,) = rows(database, LOCKS)
    assert (row["until"], row["reason"]) == (9.0, "left")


def test_drop_takes_the_row_of_that_key_and_no_other(database: Database) -> None:
    write(database, Change(ADD, "locks", LOCK), Change(ADD, "locks", LOCK | {"value": "bob"}))
    write(database, Change(DROP, "locks", {"kind": "user", "value": "alice"}))
    assert [row["value"] for row in rows(database, LOCKS)] == ["bob"]


def test_changes_are_written_in_order_though_neighbours_go_together(database: Database) -> None:
    def put(value: str, reason: str) -> Change:
        return Change(PUT, "locks", LOCK | {"value": value, "reason": reason})

    drop = Change(DROP, "locks", {"kind": "user", "value": "a"})
    write(database, put("a", "1"), put("b", "1"), put("a", "2"), drop, put("b", "2"))
    assert [(row["value"], row["reason"]) for row in rows(database, LOCKS)] == [("b", "2")]


def orderly(steps: list[tuple[str, str, int]]) -> list[Change]:
    """As the gateway makes them: a session is added once and then set, a lock is put and dropped."""
    made, added = [], set()
    for kind, key, number in steps:
        if kind == "lock":
            made.append(Change(PUT, "locks", LOCK | {"value": key, "reason": str(number)}))
        elif kind == "unlock":
            made.append(Change(DROP, "locks", {"kind": "user", "value": key}))
        elif key not in added:
            added.add(key)
            made.append(Change(ADD, "sessions", {"id": key, "started_at": 1.0, "state": "live"}))
        else:
            made.append(Change(SET, "sessions", {"id": key, "state": "ended", "bytes_in": number}))
    return made


steps = st.tuples(
    st.sampled_from(["lock", "unlock", "session", "session"]), st.sampled_from("abc"), st.integers(0, 9)
)


@examples(30)
@given(made=st.lists(steps, max_size=12).map(orderly), before=st.integers(0, 12))
def test_a_journal_that_is_written_again_as_a_whole_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, made: list[Change], before: int
) -> None:
    """A process that died may have written a beginning of what its journal still holds."""
    found = []
    for written in (0, before):
        database = Database(Place(tmp_path_factory.mktemp("state")))
        check_schema(database)
        write(database, *made[:written])
        write(database, *[read_line(change.line()) for change in made])
        found.append([rows(database, LOCKS), rows(database, SESSIONS)])
        database.close()
    assert found[0] == found[1]


@examples(200)
@given(made=st.lists(steps, max_size=20).map(orderly))
def test_whatever_goes_together_the_changes_of_a_row_stay_in_order(made: list[Change]) -> None:
    grouped = [Change(verb, table, values) for (verb, table, _), group in by_kind(made) for values in group]

    def of_rows(changes: list[Change]) -> dict[tuple[str, object], list[Change]]:
        found: dict[tuple[str, object], list[Change]] = {}
        for change in changes:
            key = "value" if change.table == "locks" else "id"
            found.setdefault((change.table, change.values[key]), []).append(change)
        return found

    assert of_rows(grouped) == of_rows(made)


def test_sessions_that_begin_and_end_between_each_other_are_a_statement_of_each_kind(
    database: Database,
) -> None:
    made, told = [], []
    for key in "abc":
        made += [
            Change(ADD, "sessions", {"id": key, "started_at": 1.0, "state": "live"}),
            Change(ADD, "recordings", {"session_id": key, "state": "live"}),
            Change(SET, "sessions", {"id": key, "state": "ended"}),
            Change(SET, "recordings", {"session_id": key, "state": "ended"}),
        ]
    with database.write() as connection:
        event.listen(connection, "before_cursor_execute", lambda *said: told.append(said[5]))
        apply(connection, made)
    assert told == [True] * 4, "executemany"
    assert [row["state"] for row in rows(database, SESSIONS)] == ["ended"] * 3


def test_text_that_no_database_takes_is_made_fit(database: Database) -> None:
    write(database, Change(ADD, "locks", LOCK | {"reason": "a\0b"}))
    assert rows(database, LOCKS)[0]["reason"] == "ab"


def test_a_line_is_read_back_as_it_was() -> None:
    change = Change(ADD, "sessions", {"id": "x", "started_at": 1.5, "ended_at": None, "rules": "é\n"})
    line = change.line()
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert read_line(line) == change


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b'["add","locks",',
        b"[]",
        b'["add","locks",{}]',
        b'["add","nowhere",{"id":"x"}]',
        b'["add",["locks"],{"id":"x"}]',
        b'["burn","locks",{"kind":"user","value":"x"}]',
        b'["add","locks",{"kind":"user","value":"x","colour":"red"}]',
        b'["add","locks",{"kind":"user","value":["x"]}]',
        b'{"add":1}',
    ],
)
def test_what_is_no_change_of_this_version_is_refused(line: bytes) -> None:
    with pytest.raises(BadChange):
        read_line(line)


@pytest.mark.parametrize("value", ["\ud800", 1 << 70, "x" * LINE_MAX])
def test_what_cannot_be_a_line_is_refused(value: str | int) -> None:
    with pytest.raises(BadChange):
        Change(ADD, "sessions", {"id": "x", "uid": value}).line()


def test_every_table_has_a_key_that_changes_can_name() -> None:
    for table in SESSIONS.metadata.tables.values():
        assert list(table.primary_key)

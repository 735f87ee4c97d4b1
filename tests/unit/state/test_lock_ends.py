"""Ends of locks in the store: told with the rows, stronger than a row that is written late, and bounded."""

from __future__ import annotations

import pytest

from bastion.policy.lock_list import DAY, Gone
from bastion.policy.locks import LockKind
from bastion.state.changes import apply
from bastion.state.database import Database, Place
from bastion.state.lock_copy import read_copy
from bastion.state.lock_ends import KEPT, MOST, prune
from bastion.state.rows import Lock, lock_added, lock_ended, lock_removed
from bastion.state.schema import LOCK_ENDS, LOCKS
from bastion.state.shared_locks import kept_locks, load_kept, rows_since
from tests.support.state import rows as rows_of

NOW = 1000.0
ALICE = Lock("user", "alice", "left", "root (uid 0)", 1.0, 99.0, "u-1")
BOB = Lock("user", "bob", "left", "root (uid 0)", 2.0)


def write(database: Database, *changes: object) -> None:
    with database.write() as connection:
        apply(connection, changes)  # type: ignore[arg-type]


def test_an_end_is_told_with_the_rows_and_is_another_mark(database: Database, place: Place) -> None:
    write(database, lock_added(ALICE), lock_added(BOB))
    first = rows_since(database, place.folder, "", NOW)
    assert first.gone == ()
    write(database, lock_ended("user", "bob", 2.0, NOW), lock_removed("user", "bob", 2.0))
    second = rows_since(database, place.folder, first.mark, NOW)
    assert second.locks == [ALICE] and second.gone == (Gone(LockKind.USER, "bob", 2.0),)
    write(database, lock_ended("user", "zoe", 5.0, NOW))
    third = rows_since(database, place.folder, second.mark, NOW)
    assert third.mark != second.mark and len(third.gone) == 2, "the rows are the same, and it is news"


def test_a_lock_that_is_written_after_its_end_is_none_and_goes(database: Database, place: Place) -> None:
    """A gateway had owed it: the copy has it not, nobody is told that it is in force, and its row is removed."""
    write(database, lock_ended("user", "bob", 2.0, NOW), lock_removed("user", "bob", 2.0))
    write(database, lock_added(BOB), lock_added(ALICE))
    assert kept_locks(database, NOW) == [ALICE]
    told = rows_since(database, place.folder, "", NOW)
    assert told.locks == [ALICE, BOB] and told.gone == (Gone(LockKind.USER, "bob", 2.0),)
    assert read_copy(place.folder) == [ALICE]
    assert [row["value"] for row in rows_of(database, LOCKS)] == ["alice"]
    later = Lock("user", "bob", "again", "root (uid 0)", 3.0)
    write(database, lock_added(later))
    assert kept_locks(database, NOW) == [ALICE, later] == rows_since(database, place.folder, "", NOW).locks


def test_of_two_ends_the_later_stays_whoever_writes_last(database: Database) -> None:
    write(database, lock_ended("user", "bob", 3.0, NOW), lock_ended("user", "bob", 2.0, NOW + 1))
    assert [row["made_at"] for row in rows_of(database, LOCK_ENDS)] == [3.0]


def test_what_starts_removes_what_is_over_and_leaves_the_ends(database: Database, place: Place) -> None:
    write(database, lock_added(BOB), lock_added(ALICE), lock_ended("user", "bob", 2.0, NOW))
    assert load_kept(database, place.folder, NOW) == [ALICE] == read_copy(place.folder)
    assert len(rows_of(database, LOCKS)) == 1 and len(rows_of(database, LOCK_ENDS)) == 1


@pytest.mark.parametrize(
    "end",
    [
        lock_ended("user", "bob", NOW + 2 * DAY, NOW),
        lock_ended("user", "bob", 1e300, NOW),
        lock_ended("user", "bob", -1.0, NOW),
        lock_ended("user", "bob", 2.0, NOW + 2 * DAY),
        lock_ended("user", "bob", 2.0, NOW - KEPT - 1),
        lock_ended("user", "bob" * 1000, 2.0, NOW),
    ],
)
def test_an_end_that_cannot_be_or_is_too_old_ends_nothing_and_goes(
    database: Database, place: Place, end: object
) -> None:
    write(database, lock_added(BOB), end)
    told = rows_since(database, place.folder, "", NOW)
    assert told.locks == [BOB] and told.gone == () and read_copy(place.folder) == [BOB]
    prune(database, NOW)
    assert rows_of(database, LOCK_ENDS) == [] and kept_locks(database, NOW) == [BOB]
    write(database, lock_ended("user", "bob", 2.0, NOW))
    assert kept_locks(database, NOW) == [], "and is in nobody's way"


def test_an_end_of_a_kind_that_another_version_knows_is_left_there(database: Database, place: Place) -> None:
    write(database, lock_ended("moon", "full", 2.0, NOW))
    assert rows_since(database, place.folder, "", NOW).gone == ()
    assert len(rows_of(database, LOCK_ENDS)) == 1


def test_ends_are_so_many_and_the_oldest_go(database: Database, place: Place) -> None:
    for start in range(0, MOST + 50, 1000):
        ends = range(start, min(start + 1000, MOST + 50))
        write(database, *(lock_ended("user", f"u{n}", 1.0, NOW + n / 1e6) for n in ends))
    told = rows_since(database, place.folder, "", NOW)
    assert len(told.gone) == MOST and told.gone[0].value == f"u{MOST + 49}"
    assert len(rows_of(database, LOCK_ENDS)) == MOST
    assert rows_since(database, place.folder, told.mark, NOW).locks is None

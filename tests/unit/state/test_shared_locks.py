"""The locks of a store that several gateways share: read again only when they are others."""

from __future__ import annotations

import pytest

from bastion.policy.locks import LockKind
from bastion.state.changes import apply
from bastion.state.database import Database, Place, StateDown
from bastion.state.lock_copy import read_copy
from bastion.state.rows import Lock, lock_added, lock_removed
from bastion.state.shared_locks import Rows, in_force, kept_locks, rows_since

ALICE = Lock("user", "alice", "left", "root (uid 0)", 1.0, 99.0, "u-1")
NOW = 1000.0
BOB = Lock("user", "bob", "left", "root (uid 0)", 2.0)


def write(database: Database, *changes: object) -> None:
    with database.write() as connection:
        apply(connection, changes)  # type: ignore[arg-type]


def test_what_has_been_seen_is_not_told_again(database: Database, place: Place) -> None:
    first = rows_since(database, place.folder, "", NOW)
    assert first.locks == [] and rows_since(database, place.folder, first.mark, NOW) == Rows(first.mark, None)
    write(database, lock_added(BOB), lock_added(ALICE))
    second = rows_since(database, place.folder, first.mark, NOW)
    assert second.locks == [ALICE, BOB] and second.mark != first.mark
    assert read_copy(place.folder) == [ALICE, BOB]
    write(database, lock_removed("user", "bob", 2.0))
    third = rows_since(database, place.folder, second.mark, NOW)
    assert third.locks == [ALICE] and read_copy(place.folder) == [ALICE]
    write(database, lock_added(BOB))
    again = rows_since(database, place.folder, third.mark, NOW)
    assert again.mark == second.mark, "the same rows have the same mark"


def test_locks_are_all_that_are_kept(database: Database) -> None:
    write(database, lock_added(BOB), lock_added(ALICE))
    assert kept_locks(database, NOW) == [ALICE, BOB]
    (found, _) = in_force(kept_locks(database, NOW))
    assert (found.kind, found.value, found.uid, found.until) == (LockKind.USER, "alice", "u-1", 99.0)


def test_what_another_version_has_locked_is_left_there() -> None:
    unknown = (Lock("moon", "full", "", "", 1.0), Lock("source", "nowhere", "", "", 1.0))
    assert [one.value for one in in_force([*unknown, BOB])] == ["bob"]


def test_a_store_that_is_away_says_nothing(
    database: Database, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: Database) -> None:
        raise StateDown("it is away")

    monkeypatch.setattr(Database, "read", away)
    with pytest.raises(StateDown):
        rows_since(database, place.folder, "", NOW)

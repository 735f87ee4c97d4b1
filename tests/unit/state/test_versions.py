"""Policies in the store: one row for a load, whoever takes it, and a text that comes back as it was."""

from __future__ import annotations

import random

from sqlalchemy import update

from bastion.assembly.telling import SIGHUP, START
from bastion.state.changes import Change, apply, read_line
from bastion.state.database import Database
from bastion.state.schema import POLICY_LOADS, POLICY_TEXTS
from bastion.state.versions import (
    PART,
    PolicyLoad,
    digests_beginning,
    in_force_at,
    loads,
    packed_text,
    policy_loaded,
    policy_text,
)
from tests.support.state import rows

FIRST = PolicyLoad("gw1", 100.25, "aa11", "c1", START, "1.0")
SECOND = PolicyLoad("gw1", 200.5, "bb22", "c2", SIGHUP, "1.0")
OTHER = PolicyLoad("gw2", 150.0, "aa33", "c3", START, "1.0")


def write(database: Database, *changes: Change) -> None:
    with database.write() as connection:
        apply(connection, [read_line(change.line()) for change in changes])


def test_a_load_that_two_workers_write_is_one_row(database: Database) -> None:
    for _ in range(2):
        write(database, *policy_text("aa11", b"text"), policy_loaded(FIRST))
    assert loads(database) == [FIRST] and len(rows(database, POLICY_TEXTS)) == 1


def test_in_force_is_the_last_load_of_this_gateway_by_then(database: Database) -> None:
    write(database, *map(policy_loaded, (FIRST, SECOND, OTHER)))
    found = [in_force_at(database, "gw1", at) for at in (100.0, 100.25, 200.0, 200.5, 9e9)]
    assert found == [None, FIRST, FIRST, SECOND, SECOND]
    assert in_force_at(database, "gw3", 9e9) is None
    assert loads(database) == [SECOND, OTHER, FIRST]


def test_a_version_that_comes_again_is_a_load_of_its_own(database: Database) -> None:
    again = PolicyLoad("gw1", 300.0, "aa11", "c1", SIGHUP, "1.0")
    write(database, *map(policy_loaded, (FIRST, SECOND, again)))
    assert in_force_at(database, "gw1", 250.0) == SECOND and in_force_at(database, "gw1", 300.0) == again


def test_a_long_text_goes_through_the_journal_in_parts(database: Database) -> None:
    packed = random.Random(3).randbytes(PART * 2)
    changes = list(policy_text("aa11", packed))
    assert len(changes) == 3
    write(database, *changes)
    assert packed_text(database, "aa11") == packed and packed_text(database, "aa12") == b""
    assert list(policy_text("aa11", b"")) == []


def test_a_text_that_somebody_damaged_is_still_something_to_be_judged(database: Database) -> None:
    write(database, *policy_text("aa11", b"text"))
    with database.write() as connection:
        connection.execute(update(POLICY_TEXTS).values(packed="%%%"))
    assert packed_text(database, "aa11") == b"%%%"


def test_a_digest_is_found_by_its_beginning(database: Database) -> None:
    write(database, *map(policy_loaded, (FIRST, SECOND, OTHER)))
    assert digests_beginning(database, "aa") == ["aa11", "aa33"]
    assert digests_beginning(database, "aa1") == ["aa11"] and digests_beginning(database, "%") == []
    assert {row["loaded_by"] for row in rows(database, POLICY_LOADS)} == {START, SIGHUP}

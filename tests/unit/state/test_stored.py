"""Which recordings may be uploaded by their rows, and that a row says where one is."""

from __future__ import annotations

import pytest

from bastion.state.changes import apply
from bastion.state.database import Database
from bastion.state.rows import ENDED, INCOMPLETE, Moved, Writer, session_died, session_ended, session_started
from bastion.state.schema import RECORDINGS
from bastion.state.stored import AT_ONCE, Holding, Stored, ended, holdings, mark_stored, stored_beginning
from tests.support.state import rows
from tests.unit.recording.samples import header

LIVE, WHOLE, DEAD, SEEN = (letter * 16 for letter in "abcd")
STARTED = 1_800_000_000.0


@pytest.fixture
def filled(database: Database) -> Database:
    """One that runs, one that has ended, one that died and one that died and was seen to."""
    changes = []
    for name in (LIVE, WHOLE, DEAD, SEEN):
        changes += session_started(header(name), f"2027-01-15/{name}.rec", Writer("gw1", ""))
    changes += session_ended(WHOLE, ENDED, STARTED + 9, "client_closed", Moved(1, 2), 10)
    for name in (DEAD, SEEN):
        changes += session_ended(name, INCOMPLETE, None, "", Moved(0, 0), 10)
    changes.append(session_died(SEEN, "gateway_died"))
    with database.write() as connection:
        apply(connection, changes)
    return database


def test_what_somebody_may_still_write_to_is_not_uploaded(filled: Database) -> None:
    found = ended(filled, [LIVE, WHOLE, DEAD, SEEN, "e" * 16])
    assert {name: one.ended_at for name, one in found.items()} == {WHOLE: STARTED + 9, SEEN: STARTED}


def test_more_than_one_question_holds_are_asked_for(filled: Database) -> None:
    many = [f"{number:016}" for number in range(AT_ONCE)]
    assert list(ended(filled, [*many, WHOLE])) == [WHOLE]


def test_a_row_says_where_it_is_and_is_found_by_the_beginning_of_its_id(filled: Database) -> None:
    one = Stored(WHOLE, f"s3://bucket/{WHOLE}.rec", "v1", 10, "ab" * 32)
    assert stored_beginning(filled, "") == []
    assert mark_stored(filled, one, STARTED + 20)
    assert stored_beginning(filled, WHOLE[:3]) == [one] and stored_beginning(filled, "a") == []
    assert holdings(filled, "") == [Holding(one, "gw1", "alice", "web1", STARTED, STARTED + 9)]
    (row,) = (row for row in rows(filled, RECORDINGS) if row["session_id"] == WHOLE)
    assert (row["state"], row["stored_at"]) == (ENDED, STARTED + 20)


def test_what_is_deleted_or_unknown_is_stored_nowhere(filled: Database) -> None:
    with filled.write() as connection:
        connection.execute(
            RECORDINGS.update().where(RECORDINGS.c.session_id == WHOLE).values(state="deleted")
        )
    for name in (WHOLE, "e" * 16):
        assert not mark_stored(filled, Stored(name, "s3://bucket/x", "", 1, ""), STARTED)
    assert stored_beginning(filled, "") == [] and list(ended(filled, [WHOLE])) == []

"""What a dead process left is written, and what died with it ends; what lives is left alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bastion.recording.store import Store
from bastion.state.adopting import AT_ONCE, Adopted, adopt, give_up, without_end, write_owed
from bastion.state.changes import apply
from bastion.state.database import Database, Place, StateDown
from bastion.state.journal import Journal
from bastion.state.rows import (
    Lock,
    TunnelStart,
    Writer,
    lock_added,
    session_died,
    session_started,
    tunnel_started,
)
from bastion.state.schema import LOCKS, RECORDINGS, SESSIONS
from tests.support.state import rows
from tests.support.world import poll
from tests.unit.recording.disk import finish, say
from tests.unit.recording.samples import header

pytestmark = pytest.mark.slow

HOME = "home"
DEAD = Writer("gw", f"{HOME}.1")
LIVING = Writer("gw", f"{HOME}.2")


@pytest.fixture
def recordings(tmp_path: Path) -> Store:
    return Store(tmp_path / "recordings", disk_floor_bytes=0)


def started(database: Database, recordings: Store, session: str, by: Writer) -> tuple[object, object]:
    """A session with a file and a row."""
    about = header(session)
    recorder, writer = recordings.start(about)
    path = f"{writer.path.parent.name}/{writer.path.name}"
    with database.write() as connection:
        apply(connection, session_started(about, path, by))
    return recorder, writer


def run(place: Place, database: Database, recordings: Store) -> Adopted:
    return adopt(database, place.folder, HOME, recordings, "gw")


def test_what_was_owed_is_written_and_the_file_goes(
    place: Place, database: Database, recordings: Store
) -> None:
    lines = [lock_added(Lock("user", f"u{number}", "", "", 1.0)).line() for number in range(AT_ONCE + 5)]
    file = place.folder / f"{HOME}.1.owed"
    file.write_bytes(b"".join(lines) + b'["put","locks",{"kind":"us')
    assert run(place, database, recordings) == Adopted(AT_ONCE + 5, 1, 0)
    assert len(rows(database, LOCKS)) == AT_ONCE + 5 and not file.exists()
    assert run(place, database, recordings) == Adopted()


def test_rows_that_are_owed_are_written_without_looking_at_each_session_that_died(
    place: Place, database: Database, recordings: Store
) -> None:
    started(database, recordings, "a" * 16, DEAD)
    recordings.close()
    file = place.folder / f"{HOME}.1.owed"
    file.write_bytes(lock_added(Lock("user", "u", "", "", 1.0)).line())
    assert write_owed(database, place.folder, recordings, "gw") == Adopted(1, 0, 0)
    assert len(rows(database, LOCKS)) == 1 and not file.exists()
    assert [row["state"] for row in rows(database, SESSIONS)] == ["live"]
    assert run(place, database, recordings) == Adopted(0, 0, 1)


def test_a_gateway_that_is_lost_has_no_live_session_more_and_others_keep_theirs(
    place: Place, database: Database, recordings: Store
) -> None:
    for name, by in (("a" * 16, DEAD), ("b" * 16, Writer("other", "elsewhere.1"))):
        started(database, recordings, name, by)
    assert (give_up(database, "gw"), give_up(database, "gw")) == (1, 0)
    assert [row["state"] for row in rows(database, SESSIONS)] == ["incomplete", "live"]
    recordings.close()
    assert without_end(database, "gw", place.folder) == ["a" * 16], "should its disk turn up"


def test_sessions_of_a_dead_process_end_as_their_recordings_tell(
    place: Place, database: Database, recordings: Store
) -> None:
    living = Journal(place.folder, LIVING.instance)
    living.open()
    names = [letter * 16 for letter in "abcd"]
    ended, torn, gone, lives = (
        started(database, recordings, name, DEAD if name != names[3] else LIVING) for name in names
    )
    finish(*ended)  # type: ignore[arg-type]
    for recorder, writer in (torn, gone, lives):
        say(recorder, writer, b"hello")  # type: ignore[arg-type]
    recordings.close()
    gone[1].path.unlink()  # type: ignore[attr-defined]
    assert run(place, database, recordings) == Adopted(0, 0, 3)
    states = {row["id"]: (row["state"], row["reason"], row["bytes_out"]) for row in rows(database, SESSIONS)}
    assert states == {
        names[0]: ("ended", "client_closed", 0),
        names[1]: ("incomplete", "", 5),
        names[2]: ("incomplete", "", 0),
        names[3]: ("live", "", 0),
    }
    sizes = {row["session_id"]: (row["state"], row["size"] > 0) for row in rows(database, RECORDINGS)}
    assert sizes[names[1]] == ("incomplete", True) and sizes[names[3]] == ("live", False)
    living.close()


def test_a_recording_that_somebody_writes_is_no_dead_session(
    place: Place, database: Database, recordings: Store
) -> None:
    """Its process may be of a version that keeps no journal."""
    started(database, recordings, "a" * 16, DEAD)
    assert run(place, database, recordings).ended == 0
    recordings.close()
    assert run(place, database, recordings).ended == 1


def test_sessions_of_another_folder_are_not_ours(place: Place, database: Database, recordings: Store) -> None:
    started(database, recordings, "a" * 16, Writer("gw", "elsewhere.1"))
    recordings.close()
    assert run(place, database, recordings).ended == 0


def test_an_end_that_a_living_process_owes_is_nobody_elses_to_tell(
    place: Place, database: Database, recordings: Store
) -> None:
    names = [letter * 16 for letter in "ab"]
    for name in names:
        say(*started(database, recordings, name, DEAD), b"hello")  # type: ignore[arg-type]
    recordings.close()
    assert run(place, database, recordings).ended == 2
    assert without_end(database, "gw", place.folder) == names
    living = Journal(place.folder, LIVING.instance)
    living.open()
    living.append([session_died(names[0], "").line(), session_died(names[1], "gateway_died").line()], 0.0)
    assert without_end(database, "gw", place.folder) == names[:1]
    living.settled(2)
    assert without_end(database, "gw", place.folder) == names
    living.close()


def test_a_tunnel_that_died_is_incomplete(place: Place, database: Database, recordings: Store) -> None:
    with database.write() as connection:
        apply(
            connection, [tunnel_started(TunnelStart("c/1", "c", "a", "u", "h", 1, "h", "s", "", 5.0), DEAD)]
        )
    assert run(place, database, recordings).ended == 1
    (row,) = rows(database, SESSIONS)
    assert (row["state"], row["ended_at"]) == ("incomplete", None)


def test_while_the_store_is_down_everything_stays(tmp_path: Path, place: Place, recordings: Store) -> None:
    file = place.folder / f"{HOME}.1.owed"
    place.folder.mkdir()
    file.write_bytes(lock_added(Lock("user", "u", "", "", 1.0)).line())
    down = Database(Place(tmp_path, "postgresql://gw@127.0.0.1:1/none"))
    with pytest.raises(StateDown):
        adopt(down, place.folder, HOME, recordings, "gw")
    down.close()
    assert file.stat().st_size > 0


def test_a_recording_whose_process_died_before_its_row_was_owed_gets_one(
    place: Place, database: Database, recordings: Store
) -> None:
    for name in "ab":
        recorder, writer = recordings.start(header(name * 16))
        say(recorder, writer, b"hello")
        if name == "a":
            writer.close(None)
            poll(lambda: writer.closed)  # noqa: B023
    recordings.start(header("c" * 16, started_at=5.0))
    left = place.folder / f"{HOME}.1.owed"
    left.touch()
    os.utime(left, (1_800_000_000.0, 1_800_000_000.0))
    assert run(place, database, recordings) == Adopted(0, 0, 1), "one runs, one is of another day"
    (row,) = rows(database, SESSIONS)
    assert (row["id"], row["state"], row["node"], row["identity"]) == ("a" * 16, "incomplete", "gw", "alice")
    assert recordings.close()

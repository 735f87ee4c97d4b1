"""Differences between index and files are found, each by name, and a rebuild leaves none."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastion.recording.store import Store
from bastion.state.changes import Change, apply
from bastion.state.checking import Rebuilt, differences, faults_of, rebuild
from bastion.state.database import Database, Place
from bastion.state.rows import ENDED, Moved, Writer, session_ended, session_started
from bastion.state.schema import SESSIONS
from tests.support.state import rows
from tests.unit.recording.disk import finish, say
from tests.unit.recording.samples import header

pytestmark = pytest.mark.slow

IDS = [letter * 16 for letter in "abcdef"]
HERE = Writer("gw1", "h.1", "d1")


@pytest.fixture
def recordings(tmp_path: Path) -> Store:
    """Five recordings: ended, ended, cut off, damaged, running."""
    store = Store(tmp_path / "recordings", disk_floor_bytes=0, sync_seconds=0.05)
    for place, name in enumerate(IDS[:5]):
        recorder, writer = store.start(header(name))
        say(recorder, writer, b"hello")
        if place < 2:
            finish(recorder, writer)
        elif place == 2:
            writer.close(None)
        elif place == 3:
            finish(recorder, writer)
            writer.path.write_bytes(b"nothing of ours")
    return store


def told(database: Database, recordings: Store) -> dict[str, str]:
    return {one.session[:1]: one.text for one in differences(database, recordings, "gw1")}


def write(database: Database, *changes: Change) -> None:
    with database.write() as connection:
        apply(connection, changes)


def test_what_a_rewrap_has_left_is_told(database: Database, recordings: Store) -> None:
    rebuild(database, recordings, "gw1")
    (file,) = recordings.directory.glob(f"*/{IDS[0]}.rec")
    file.with_name(file.name + ".rewrap").write_bytes(b"half")
    assert (
        told(database, recordings)["a"] == f"{file.name}.rewrap is there: a rewrap is running, or was cut off"
    )


def test_a_rebuild_gives_each_recording_its_row(database: Database, recordings: Store) -> None:
    assert told(database, recordings) == dict.fromkeys("abcde", "has a file and no row")
    assert rebuild(database, recordings, "gw1") == Rebuilt(added=4, unreadable=1)
    assert told(database, recordings) == {"d": "has a file and no row"}
    found = {row["id"][:1]: (row["state"], row["bytes_out"], row["node"]) for row in rows(database, SESSIONS)}
    assert found == {
        "a": ("ended", 5, "gw1"),
        "b": ("ended", 5, "gw1"),
        "c": ("incomplete", 5, "gw1"),
        "e": ("live", 0, "gw1"),
    }
    assert rebuild(database, recordings, "gw1") == Rebuilt(unreadable=1), "twice is once"


def test_what_differs_is_named_and_corrected_and_the_rest_kept(database: Database, recordings: Store) -> None:
    names = dict(recordings.names())
    for name in (IDS[0], IDS[1], IDS[5]):
        write(database, *session_started(header(name), names.get(name, "gone"), HERE))
        write(
            database, *session_ended(name, ENDED, 1_800_000_000.5, "idle", Moved(0, 5, 1, 0, {"exec": 1}), 9)
        )
    rebuild(database, recordings, "gw1")
    write(database, Change("set", "sessions", {"id": IDS[0], "identity": "mallory", "bytes_out": 6}))
    found = told(database, recordings)
    assert found.keys() == {"a", "d", "f"}
    assert "identity 'mallory' instead of 'alice'" in found["a"] and "bytes_out 6 instead of 5" in found["a"]
    assert found["f"] == "has a row and no file"
    assert rebuild(database, recordings, "gw1") == Rebuilt(corrected=1, unreadable=1)
    (row,) = (row for row in rows(database, SESSIONS) if row["id"] == IDS[0])
    assert (row["identity"], row["instance"], row["config"]) == ("alice", "h.1", "d1")
    assert told(database, recordings).keys() == {"d", "f"}


def test_a_recording_that_runs_and_a_row_that_says_otherwise(database: Database, recordings: Store) -> None:
    rebuild(database, recordings, "gw1")
    write(database, Change("set", "sessions", {"id": IDS[4], "state": ENDED}))
    assert told(database, recordings)["e"] == "is being recorded, and the index says ended"


def test_a_row_of_another_gateway_needs_no_file_here(database: Database, recordings: Store) -> None:
    write(database, *session_started(header(IDS[5]), "x", Writer("gw2", "i.1")))
    assert "f" not in told(database, recordings)


def test_sqlite_checks_its_own_file(place: Place, database: Database) -> None:
    assert faults_of(database) == []
    with database.write() as connection:
        apply(connection, session_started(header(IDS[0]), "x", HERE))
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'sessions_started_at'"
        number = connection.exec_driver_sql(query).scalar_one()
    database.close()
    data = bytearray(place.file.read_bytes())
    page = 4096
    data[page * (number - 1) + 3 : page * (number - 1) + 5] = bytes(2)  # of the index: no entries
    place.file.write_bytes(data)
    assert faults_of(Database(place))

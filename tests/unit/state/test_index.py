"""A listing from the index says what one from the files says, and more where only the index knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastion.recording.format import Header
from bastion.recording.listed import Listed, Wanted, of_entry
from bastion.recording.store import Store
from bastion.state.changes import Change, apply
from bastion.state.database import Database
from bastion.state.index import listed
from bastion.state.rows import (
    DELETED,
    ENDED,
    Moved,
    TunnelStart,
    Writer,
    ending_of,
    session_ended,
    session_started,
    tunnel_ended,
    tunnel_started,
)
from tests.unit.recording.disk import finish, say
from tests.unit.recording.samples import header

pytestmark = pytest.mark.slow

NOW = 1_800_100_000.0
HERE = Writer("gw1", "h.1")
THERE = Writer("gw2", "i.1")
ALL = Wanted()
IDS = [letter * 16 for letter in "abcdef"]


@pytest.fixture
def recordings(tmp_path: Path) -> Store:
    return Store(tmp_path / "recordings", disk_floor_bytes=0, sync_seconds=0.05)


def write(database: Database, *changes: Change) -> None:
    with database.write() as connection:
        apply(connection, changes)


def recorded(store: Store, about: Header, end: bool = True) -> str:
    """A recording; its path."""
    recorder, writer = store.start(about)
    say(recorder, writer, b"hello")
    if end:
        finish(recorder, writer)
    return f"{writer.path.parent.name}/{writer.path.name}"


def look(database: Database, store: Store, wanted: Wanted = ALL, whole: bool = False) -> list[Listed]:
    return list(listed(database, store, "gw1", wanted, NOW, whole))


def test_the_same_as_the_files_say(database: Database, recordings: Store) -> None:
    for place, name in enumerate(IDS[:4]):
        about = header(name, started_at=1_800_000_000.0 + 40_000 * place, identity=f"u{place % 2}")
        path = recorded(recordings, about, end=place != 3)
        if place != 1:  # one that the index does not know
            write(database, *session_started(about, path, HERE))
            if place == 0:
                entry = recordings.entry(recordings.directory / path)
                assert entry is not None
                write(database, *ending_of(entry))
    for wanted in (
        Wanted(),
        Wanted(user="u1"),
        Wanted(since=1_800_040_000.0),
        Wanted(target="nowhere"),
        Wanted(until=1_800_040_000.0),
    ):
        files = [
            (entry.path.stem, entry.state, entry.header.started_at, entry.header.identity, entry.bytes)
            for entry in recordings.sessions(wanted.since)
            if wanted.takes(of_entry(entry))
        ]
        rows = look(database, recordings, wanted)
        assert [(one.id, one.state, one.started_at, one.identity, one.bytes) for one in rows] == files
    assert recordings.close()


def test_what_only_the_index_knows(database: Database, recordings: Store) -> None:
    for name, writer in zip(IDS, (HERE, HERE, THERE), strict=False):
        write(
            database,
            *session_started(header(name, started_at=5.0), f"1970-01-01/{name}.rec", writer),
            *session_ended(name, ENDED, 65.0, "idle", Moved(1, 2, 1, 0, {"exec": 1}), 10),
        )
    write(database, Change("set", "recordings", {"session_id": IDS[1], "state": DELETED}))
    write(
        database,
        tunnel_started(TunnelStart("c/1", "c", "alice", "u", "db1", 5432, "10.0.0.1", "s", "r", 4.0), HERE),
        tunnel_ended("c/1", ENDED, 8.0, "far_closed", Moved(3, 4)),
    )
    found = {one.id: one for one in look(database, recordings, ALL, whole=True)}
    assert {name: one.state for name, one in found.items()} == {
        IDS[0]: "missing",
        IDS[1]: "deleted",
        IDS[2]: "ended",
        "c/1": "ended",
    }
    assert (found["c/1"].target, found["c/1"].duration, found["c/1"].bytes) == ("db1:5432", 4.0, 7)
    more = found[IDS[2]].more
    assert more is not None and (more["summary"], more["node"], more["reason"]) == (
        {"exec": 1},
        "gw2",
        "idle",
    )
    assert more["file_size"] == 10 and more["key_fingerprint"] == ""
    assert "c/1" not in {one.id for one in look(database, recordings, Wanted(tunnels=False))}


def test_a_session_that_runs_is_asked_of_its_file(database: Database, recordings: Store) -> None:
    about = header(IDS[0], started_at=NOW - 60)
    recorder, writer = recordings.start(about)
    say(recorder, writer, b"hello")
    write(database, *session_started(about, f"{writer.path.parent.name}/{writer.path.name}", HERE))
    (one,) = look(database, recordings)
    assert (one.state, one.bytes) == ("live", 5)
    assert recordings.close()
    (one,) = look(database, recordings)
    assert one.state == "truncated", "its process has gone, whatever the row says"


def test_a_session_of_another_gateway_that_runs_is_taken_as_it_is(
    database: Database, recordings: Store
) -> None:
    write(database, *session_started(header(IDS[0], started_at=NOW - 60), "x", THERE))
    (one,) = look(database, recordings)
    assert (one.state, one.duration) == ("live", 60.0)

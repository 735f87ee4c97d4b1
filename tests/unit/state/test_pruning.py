"""A removal leaves a row and a line, both before the file goes; a hold and a writer keep it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from sqlalchemy import update

from bastion.observe.audit import AuditFailed
from bastion.recording.store import Store
from bastion.state.database import Database
from bastion.state.pruning import (
    Hold,
    Removed,
    Stays,
    hold,
    holds,
    kept,
    remove,
    remove_empty_days,
    rows_kept,
    sums,
    unhold,
)
from bastion.state.retention import Going, Kept
from bastion.state.schema import RECORDINGS
from tests.support.state import rows
from tests.unit.recording.disk import finish, say
from tests.unit.recording.samples import header

pytestmark = pytest.mark.slow

IDS = [letter * 16 for letter in "abcd"]
LATER = 1_900_000_000.0


def nobody() -> None:
    """Nobody is told."""


@pytest.fixture
def recordings(tmp_path: Path) -> Store:
    """Two that have ended and one that runs."""
    store = Store(tmp_path / "recordings", disk_floor_bytes=0, sync_seconds=0.05)
    for place, name in enumerate(IDS[:3]):
        recorder, writer = store.start(header(name, started_at=1_800_000_000.0 + place))
        say(recorder, writer, b"hello")
        if place < 2:
            finish(recorder, writer)
    return store


def found(database: Database, recordings: Store) -> list[Kept]:
    return kept(database, recordings, "gw1", lambda target: ("env=prod",) if target == "web1" else None)


def take(database: Database, recordings: Store, one: Kept) -> Removed:
    return remove(database, recordings, Going(one, "age"), "root", LATER, lambda removed: None)


def test_what_has_ended_is_found_with_its_labels_though_no_row_is_there(
    database: Database, recordings: Store
) -> None:
    one, two = sorted(found(database, recordings), key=lambda one: one.session)
    assert (one.session, two.session) == tuple(IDS[:2])
    assert (one.labels, one.identity, one.target) == (("env=prod",), "alice", "web1")
    assert one.size == (recordings.directory / one.path).stat().st_size > 0


def test_a_removal_leaves_a_row_and_a_line_before_the_file_goes(
    database: Database, recordings: Store
) -> None:
    one = next(one for one in found(database, recordings) if one.session == IDS[0])
    path = recordings.directory / one.path
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    told: list[Removed] = []

    def tell(removed: Removed) -> None:
        assert path.exists()
        told.append(removed)

    removed = remove(database, recordings, Going(one, "label env=prod"), "root", LATER, tell)
    assert not path.exists() and told == [removed]
    assert (removed.size, removed.sha256) == (one.size, digest)
    (row,) = (row for row in rows(database, RECORDINGS) if row["session_id"] == IDS[0])
    assert (row["state"], row["deleted_at"], row["deleted_by"]) == ("deleted", LATER, "root")
    assert (row["deleted_why"], row["sha256"], row["size"]) == ("label env=prod", digest, one.size)
    assert [one.session for one in found(database, recordings)] == [IDS[1]]


def test_without_its_line_nothing_goes(database: Database, recordings: Store) -> None:
    one = found(database, recordings)[0]

    def full(removed: Removed) -> None:
        raise AuditFailed("the log cannot be written")

    with pytest.raises(AuditFailed):
        remove(database, recordings, Going(one, "age"), "root", LATER, full)
    assert (recordings.directory / one.path).exists()
    assert "deleted" not in {row["state"] for row in rows(database, RECORDINGS)}


def test_a_hold_keeps_it_and_taking_it_off_does_not(database: Database, recordings: Store) -> None:
    one = found(database, recordings)[0]
    assert hold(database, Hold(one.session, "case", "carol", 5.0), nobody)
    assert holds(database) == {one.session: Hold(one.session, "case", "carol", 5.0)}
    with pytest.raises(Stays, match="held"):
        take(database, recordings, one)
    assert (recordings.directory / one.path).exists()
    assert unhold(database, one.session, nobody) and not unhold(database, one.session, nobody)
    take(database, recordings, one)
    assert not hold(database, Hold(one.session, "case", "carol", 5.0), nobody), "it is gone"


def test_without_its_line_a_hold_is_neither_placed_nor_taken_off(
    database: Database, recordings: Store
) -> None:
    def full() -> None:
        raise AuditFailed("the log cannot be written")

    one = Hold(IDS[0], "case", "carol", 5.0)
    with pytest.raises(AuditFailed):
        hold(database, one, full)
    assert holds(database) == {}
    hold(database, one, nobody)
    with pytest.raises(AuditFailed):
        unhold(database, one.session, full)
    assert holds(database) == {one.session: one}


def test_a_later_hold_takes_the_place_of_an_earlier_one(database: Database, recordings: Store) -> None:
    hold(database, Hold(IDS[0], "one", "carol", 5.0), nobody)
    hold(database, Hold(IDS[0], "two", "dave", 6.0), nobody)
    assert holds(database)[IDS[0]].reason == "two"


def test_what_somebody_writes_stays_whoever_says_otherwise(database: Database, recordings: Store) -> None:
    path = dict(recordings.names())[IDS[2]]
    with pytest.raises(Stays, match="recorded"):
        take(database, recordings, Kept(IDS[2], 0.0, "alice", "web1", (), 1, path))
    assert (recordings.directory / path).exists()


def test_a_link_in_the_place_of_a_recording_is_not_followed(
    tmp_path: Path, database: Database, recordings: Store
) -> None:
    one = found(database, recordings)[0]
    path = recordings.directory / one.path
    path.unlink()
    (tmp_path / "other").write_text("keep")
    path.symlink_to(tmp_path / "other")
    with pytest.raises(OSError):
        take(database, recordings, one)
    assert (tmp_path / "other").read_text() == "keep"


def test_empty_folders_of_past_days_go(recordings: Store) -> None:
    for name in ("2020-01-01", "2020-01-02", "state", "2099-01-01"):
        (recordings.directory / name).mkdir()
    (recordings.directory / "2020-01-02" / "note").touch()
    remove_empty_days(recordings, LATER)
    left = {path.name for path in recordings.directory.iterdir()}
    assert left == {"2020-01-02", "2027-01-15", "state", "2099-01-01"}


def test_what_goes_is_summed_by_rule() -> None:
    one = Kept("a", 0.0, "u", "t", (), 10, "p")
    assert sums([Going(one, "age"), Going(one, "age"), Going(one, "size")]) == {
        "age": (2, 20),
        "size": (1, 10),
    }


def test_whoever_only_asks_finds_the_oldest_by_their_rows_at_each_gateway(
    database: Database, recordings: Store
) -> None:
    found(database, recordings)  # which makes the rows
    with database.write() as connection:
        connection.execute(update(RECORDINGS).where(RECORDINGS.c.session_id == IDS[1]).values(node="gw2"))
    here = rows_kept(database, lambda target: (f"name={target}",), 10)
    assert {node: [one.session for one in kept] for node, kept in here.items()} == {
        "gw1": [IDS[0]],
        "gw2": [IDS[1]],
    }
    (one,) = here["gw1"]
    assert one.labels == ("name=web1",) and one.size > 0 and not one.path and not one.stored
    assert list(rows_kept(database, lambda _: None, 1)) == ["gw1"]
    take(database, recordings, next(one for one in found(database, recordings) if one.session == IDS[0]))
    assert list(rows_kept(database, lambda _: None, 10)) == ["gw2"]

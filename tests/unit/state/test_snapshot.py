"""A copy is of one moment, whole, and makes a store only where none is."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from bastion.state.changes import apply
from bastion.state.database import Database, Place, StateDown
from bastion.state.migrating import migrate
from bastion.state.rows import Lock, lock_added
from bastion.state.schema import LOCKS
from bastion.state.schema_version import HEAD, check_schema
from bastion.state.snapshot import InTheWay, check_free, look, put, take
from tests.support.state import rows

pytestmark = pytest.mark.slow


def filled(database: Database, count: int, first: int = 0) -> None:
    with database.write() as connection:
        apply(
            connection,
            [lock_added(Lock("user", f"u{n:05}", "é", "", 1.0)) for n in range(first, first + count)],
        )


def test_a_copy_has_all_rows_and_makes_the_same_store(tmp_path: Path, database: Database) -> None:
    filled(database, 1200)
    (tmp_path / "copy").mkdir()
    copy = take(database, tmp_path / "copy")
    assert [path.name for path in copy.parent.iterdir()] == [
        "state.db"
    ] and copy.stat().st_mode & 0o777 == 0o600
    revision, counts = look(tmp_path / "copy")
    assert (revision, counts["locks"], counts["sessions"]) == (HEAD, 1200, 0)
    other = Database(Place(tmp_path / "other"))
    put(tmp_path / "copy", other)
    check_schema(other)
    assert rows(other, LOCKS) == rows(database, LOCKS)
    assert (tmp_path / "other" / "state.db").stat().st_mode & 0o777 == 0o600
    other.close()


def test_nothing_that_is_there_is_written_over(tmp_path: Path, database: Database) -> None:
    (tmp_path / "copy").mkdir()
    take(database, tmp_path / "copy")
    filled(database, 1)
    with pytest.raises(InTheWay):
        check_free(database)
    with pytest.raises(InTheWay):
        put(tmp_path / "copy", database)
    assert len(rows(database, LOCKS)) == 1


def test_a_copy_is_of_one_moment_while_others_write(tmp_path: Path, place: Place, database: Database) -> None:
    """Locks come in pairs, each pair in one transaction: no copy has half of one."""
    stop = threading.Event()

    def write() -> None:
        writer, number = Database(place), 0
        while not stop.is_set():
            filled(writer, 2, number)
            number += 2
        writer.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(5):
            folder = tmp_path / str(number)
            folder.mkdir()
            take(database, folder)
            assert look(folder)[1]["locks"] % 2 == 0
    finally:
        stop.set()
        thread.join()


def test_a_copy_of_the_revision_before_is_taken_and_migrated(tmp_path: Path) -> None:
    old = Database(Place(tmp_path / "old"))
    migrate(old, 1)
    (tmp_path / "copy").mkdir()
    take(old, tmp_path / "copy")
    assert look(tmp_path / "copy")[0] == 1
    new = Database(Place(tmp_path / "new"))
    put(tmp_path / "copy", new)
    assert migrate(new) == (1, HEAD)
    old.close()
    new.close()


def test_a_damaged_copy_is_told(tmp_path: Path, database: Database) -> None:
    filled(database, 500)
    (tmp_path / "copy").mkdir()
    copy = take(database, tmp_path / "copy")
    data = bytearray(copy.read_bytes())
    for at in range(8192, len(data) - 4096, 4096):
        data[at + 3896 : at + 4076] = bytes(180)
    copy.write_bytes(data)
    with pytest.raises(StateDown):
        look(tmp_path / "copy")
    copy.write_bytes(b"")
    with pytest.raises(StateDown, match="no schema"):
        look(tmp_path / "copy")


def test_a_store_that_is_not_there_cannot_be_copied(tmp_path: Path) -> None:
    with pytest.raises(StateDown):
        take(Database(Place(tmp_path / "nowhere")), tmp_path)

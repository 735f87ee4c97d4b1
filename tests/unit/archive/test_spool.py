"""What waits, the hold on a file while it is uploaded, and when its local copy goes."""

from __future__ import annotations

import fcntl
import os

import pytest

from bastion.archive.spool import Spool
from bastion.recording.store import Store
from bastion.state.database import Database
from bastion.state.stored import Stored, stored_beginning
from tests.unit.archive.made import DAY, START, name_of, record, row_of
from tests.unit.recording.disk import say
from tests.unit.recording.samples import header

ONE, TWO, THREE = map(name_of, (1, 2, 3))


@pytest.fixture
def spool(store: Store, database: Database) -> Spool:
    return Spool(store, database)


def stored(name: str, size: int) -> Stored:
    return Stored(name, f"s3://bucket/{name}.rec", "v1", size, "ab" * 32)


def test_what_has_ended_waits_the_oldest_first(spool: Spool, store: Store, database: Database) -> None:
    record(database, store, ONE, ended_at=START + 70)
    record(database, store, TWO, ended_at=START + 50)
    recorder, writer = store.start(header(THREE, started_at=START))
    say(recorder, writer, b"still here")
    row_of(database, store, THREE, ended_at=None)
    found = spool.waiting()
    assert [(one.session, one.ended_at) for one in found] == [(TWO, START + 50), (ONE, START + 70)]
    assert (
        found[0].path == f"{DAY}/{TWO}.rec"
        and found[0].size == (store.directory / found[0].path).stat().st_size
    )


def test_a_file_that_is_held_is_neither_live_nor_taken_from_by_others(
    spool: Spool, store: Store, database: Database
) -> None:
    path = record(database, store, ONE)
    held = spool.take(spool.waiting()[0])
    assert held is not None
    entry = store.entry(path)
    assert entry is not None and entry.state == "ended"
    with open(path, "rb") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    held.release()
    with open(path, "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert spool.take(spool.waiting()[0]) is None, "somebody has it"


def test_the_local_copy_goes_after_the_row_and_only_that_very_file(
    spool: Spool, store: Store, database: Database
) -> None:
    path = record(database, store, ONE)
    one = spool.waiting()[0]
    held = spool.take(one)
    assert held is not None
    assert not spool.stored(held, stored(ONE, one.size + 1), START), "it is not what was uploaded"
    assert path.exists() and stored_beginning(database, "") == []
    os.rename(path, path.with_suffix(".old"))
    path.write_bytes(b"another one")
    assert spool.stored(held, stored(ONE, one.size), START)
    assert path.read_bytes() == b"another one"
    os.rename(path.with_suffix(".old"), path)
    assert spool.stored(held, stored(ONE, one.size), START)
    assert not path.exists() and len(stored_beginning(database, "")) == 1
    held.release()
    assert spool.waiting() == []


def test_a_row_that_says_deleted_keeps_the_copy(spool: Spool, store: Store, database: Database) -> None:
    path = record(database, store, ONE)
    one = spool.waiting()[0]
    held = spool.take(one)
    assert held is not None
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE recordings SET state = 'deleted'")
    assert not spool.stored(held, stored(ONE, one.size), START) and path.exists()
    held.release()
    assert spool.waiting() == [] and spool.take(one) is None


def test_what_is_gone_or_no_file_is_passed_over(spool: Spool, store: Store, database: Database) -> None:
    path = record(database, store, ONE)
    one = spool.waiting()[0]
    path.unlink()
    assert spool.take(one) is None and spool.waiting() == []
    os.mkfifo(path)
    assert spool.waiting() == [] and spool.take(one) is None

"""Recordings in a real bucket that are to go: gone for good, or kept by object lock and told so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bastion.archive.bucket import Bucket
from bastion.archive.place import Lock
from bastion.archive.removing import objects_of
from bastion.archive.spool import Spool
from bastion.archive.upload import Upload
from bastion.clock import SystemClock
from bastion.recording.store import Store
from bastion.state.database import Database
from bastion.state.pruning import Hold, Stays, hold, kept, remove
from bastion.state.retention import Going, Kept
from bastion.state.schema import RECORDINGS
from bastion.state.stored import Stored
from tests.support.hostile_s3 import HostileS3
from tests.support.s3 import BUCKET, LOCKED, S3Server
from tests.support.state import rows
from tests.unit.archive.made import START, name_of, record

pytestmark = [pytest.mark.slow, pytest.mark.interop]

Recorded = Callable[[Bucket, int], Kept]


@pytest.fixture
def uploaded(store: Store, database: Database) -> Recorded:
    """Make a recording and upload it; the copy in the folder is gone."""

    def make(bucket: Bucket, number: int) -> Kept:
        path = record(database, store, name_of(number))
        spool = Spool(store, database)
        held = spool.take(spool.waiting()[0])
        assert held is not None
        done = Upload(bucket, held.fd, f"gone/{number}.rec", SystemClock()).run()
        one = Stored(name_of(number), bucket.place.url(done.key), done.version, done.size, done.sha256)
        assert spool.stored(held, one, START) and not path.exists()
        held.release()
        return next(one for one in there(store, database) if one.session == name_of(number))

    return make


def there(store: Store, database: Database) -> list[Kept]:
    return kept(database, store, "gw1", lambda target: ())


def row(database: Database, session: str) -> dict[str, object]:
    return next(row for row in rows(database, RECORDINGS) if row["session_id"] == session)


def test_an_object_goes_with_its_row_and_its_line(
    server: S3Server, store: Store, database: Database, uploaded: Recorded
) -> None:
    bucket = Bucket(server.place())
    one = uploaded(bucket, 1)
    assert one.stored and one.path == "" and one.size > 0
    told: list[str] = []
    objects = objects_of(bucket, SystemClock(), lambda going, text: told.append(text))

    def tell(removed: object) -> None:
        assert "gone/1.rec" in server.names()

    digest = row(database, one.session)["sha256"]
    removed = remove(database, store, Going(one, "age"), "root", START, tell, objects)
    assert removed.size == one.size and removed.sha256 == digest
    assert "gone/1.rec" not in server.names() and told == []
    assert row(database, one.session)["state"] == "deleted" and there(store, database) == []


def test_what_is_held_stays_there_too(
    server: S3Server, store: Store, database: Database, uploaded: Recorded
) -> None:
    bucket = Bucket(server.place())
    one = uploaded(bucket, 2)
    assert hold(database, Hold(one.session, "case", "carol", 5.0), lambda: None)
    objects = objects_of(bucket, SystemClock(), lambda going, text: None)
    with pytest.raises(Stays, match="it is held"):
        remove(database, store, Going(one, "age"), "root", START, lambda removed: None, objects)
    assert "gone/2.rec" in server.names()


def test_object_lock_says_until_when(
    server: S3Server, store: Store, database: Database, uploaded: Recorded
) -> None:
    bucket = Bucket(server.place(bucket=LOCKED, lock=Lock("COMPLIANCE", 86400.0)))
    one = uploaded(bucket, 3)
    objects = objects_of(bucket, SystemClock(), lambda going, text: None)
    told: list[object] = []
    with pytest.raises(Stays, match=r"object lock \(compliance\) keeps it until 20"):
        remove(database, store, Going(one, "age"), "root", START, told.append, objects)
    assert told == [] and row(database, one.session)["state"] == "ended"


def test_a_refusal_gives_the_row_back_and_has_a_line(
    server: S3Server, store: Store, database: Database, uploaded: Recorded
) -> None:
    one = uploaded(Bucket(server.place()), 4)
    before = row(database, one.session)
    with HostileS3(server.port) as hostile:
        hostile.fault, hostile.applies = "403", lambda method, path: method == "DELETE"
        told: list[str] = []
        bucket = Bucket(server.place(hostile.port))
        objects = objects_of(bucket, SystemClock(), lambda going, text: told.append(text))
        with pytest.raises(Stays, match="may not delete"):
            remove(database, store, Going(one, "age"), "root", START, lambda removed: None, objects)
    assert len(told) == 1 and row(database, one.session) == before
    assert "gone/4.rec" in server.names() and len(there(store, database)) == 1


def test_another_bucket_is_not_asked_and_none_is_told(
    server: S3Server, store: Store, database: Database, uploaded: Recorded
) -> None:
    one = uploaded(Bucket(server.place()), 5)
    other = objects_of(Bucket(server.place(bucket=LOCKED)), SystemClock(), lambda going, text: None)
    with pytest.raises(Stays, match=f"s3://{BUCKET}/"):
        remove(database, store, Going(one, "age"), "root", START, lambda removed: None, other)
    with pytest.raises(Stays, match="names none"):
        remove(database, store, Going(one, "age"), "root", START, lambda removed: None)


def test_of_a_crash_between_row_and_copy_both_go(
    server: S3Server, store: Store, database: Database, uploaded: Recorded
) -> None:
    bucket = Bucket(server.place())
    one = uploaded(bucket, 6)
    path = store.directory / str(row(database, one.session)["path"])
    path.write_bytes(server.get("gone/6.rec"))
    both = there(store, database)[0]
    assert both.stored and both.path
    objects = objects_of(bucket, SystemClock(), lambda going, text: None)
    remove(database, store, Going(both, "age"), "root", START, lambda removed: None, objects)
    assert not path.exists() and "gone/6.rec" not in server.names()

"""Recordings in a real bucket for other recipients: whoever dies at any step leaves one that can be read, and the next
run comes to the end."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyrage
import pytest
from sqlalchemy import update

from bastion.age import recipients_of
from bastion.archive import rewrapping
from bastion.archive.bucket import Bucket
from bastion.archive.fetching import fetch
from bastion.archive.place import Lock
from bastion.archive.rewrapping import RewrappedObjects
from bastion.archive.upload import Upload
from bastion.cli.recordings import unwrap_with
from bastion.clock import SystemClock
from bastion.errors import StoreFault, StoreReason
from bastion.recording.data_keys import DataKeyStock
from bastion.recording.format import FormatError
from bastion.recording.reader import Reader
from bastion.recording.store import Store
from bastion.state.database import Database
from bastion.state.rows import DELETED
from bastion.state.schema import RECORDINGS
from bastion.state.stored import Stored, mark_stored, stored_beginning
from tests.support.hostile_s3 import HostileS3
from tests.support.s3 import BUCKET, LOCKED, S3Server
from tests.unit.archive.made import DAY, START, name_of, row_of
from tests.unit.recording.disk import finish, say
from tests.unit.recording.samples import header

pytestmark = [pytest.mark.slow, pytest.mark.interop]

ANNA, BERT, CARL = (pyrage.x25519.Identity.generate() for _ in range(3))
VERSIONED = "versioned"
KEY = "gw1/{}/{}.rec"


class Died(Exception):
    """In the test's place of a kill."""


@pytest.fixture(scope="module")
def server(server: S3Server) -> Iterator[S3Server]:
    server.client.create_bucket(Bucket=VERSIONED)
    server.client.put_bucket_versioning(Bucket=VERSIONED, VersioningConfiguration={"Status": "Enabled"})
    yield server


class Shelf:
    """One recording in a bucket, encrypted to ANNA and BERT; each test has a session of its own."""

    numbers = iter(range(100, 1000))

    def __init__(
        self, server: S3Server, store: Store, database: Database, name: str, size: int = 100
    ) -> None:
        self.session = name_of(next(self.numbers))
        self.key = KEY.format(DAY, self.session)
        self.server, self.database, self.name = server, database, name
        self.bucket = Bucket(server.place(bucket=name))
        stock = DataKeyStock(recipients_of([str(one.to_public()) for one in (ANNA, BERT)]), 1)
        store.use(stock)
        recorder, writer = store.start(header(self.session, started_at=START))
        store.use(None)
        stock.stop()
        chance = random.Random(1)
        while size > 0:
            say(recorder, writer, chance.randbytes(min(size, 1 << 19)))
            size -= 1 << 19
        finish(recorder, writer)
        row_of(database, store, self.session)
        self.upload(writer.path)

    def upload(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY)
        kept = Upload(self.bucket, fd, self.key, SystemClock()).run()
        os.close(fd)
        url = f"s3://{self.name}/{self.key}"
        stored = Stored(self.session, url, kept.version, kept.size, kept.sha256)
        assert mark_stored(self.database, stored, START)
        path.unlink()

    @property
    def row(self) -> Stored:
        (found,) = stored_beginning(self.database, self.session)
        return found

    def job(
        self, *drop: Any, add: Any = CARL, identity: Any = ANNA, bucket: Bucket | None = None
    ) -> RewrappedObjects:
        def change(before: tuple[str, ...]) -> list[str]:
            gone = [str(one.to_public()) for one in drop]
            return [*(one for one in before if one not in gone), str(add.to_public())]

        return RewrappedObjects(
            bucket or self.bucket, self.database, SystemClock(), unwrap_with([identity]), change
        )

    def run(self, tmp_path: Path, *drop: Any, **more: Any) -> bool:
        folder = tmp_path / f"run-{len(list(tmp_path.glob('run-*')))}"
        folder.mkdir()
        return self.job(*drop, **more).rewrap(self.row, folder)

    def opens(self, tmp_path: Path, identity: Any) -> bool:
        """Whether an identity opens it; that it is there whole, as the index says, holds for everybody."""
        file = tmp_path / f"{self.session}.rec"
        fetch(self.bucket, self.key, file, self.row.version, self.row.sha256)
        try:
            with file.open("rb") as source:
                return any(True for _ in Reader(source, self.session, unwrap=unwrap_with([identity])))
        except FormatError:
            return False
        finally:
            file.unlink()

    def settled(self, tmp_path: Path) -> None:
        """CARL and BERT open it, ANNA does not, and nothing else of it is there."""
        assert [self.opens(tmp_path, one) for one in (ANNA, BERT, CARL)] == [False, True, True]
        assert " " not in self.row.sha256
        found = self.bucket.head(self.key)
        assert found is not None and (found.version, found.size) == (self.row.version, self.row.size)
        assert self.bucket.versions(self.key) == [version for version in [self.row.version] if version]


@pytest.mark.parametrize("name", [BUCKET, VERSIONED])
@pytest.mark.parametrize("size", [100, 17 << 20], ids=["small", "in-parts"])
def test_one_is_added_and_one_dropped(
    server: S3Server, store: Store, database: Database, tmp_path: Path, name: str, size: int
) -> None:
    shelf = Shelf(server, store, database, name, size)
    before = shelf.row
    assert [shelf.opens(tmp_path, one) for one in (ANNA, BERT, CARL)] == [True, True, False]
    assert shelf.run(tmp_path, ANNA)
    shelf.settled(tmp_path)
    assert shelf.row.url == before.url and shelf.row.sha256 != before.sha256
    assert not shelf.run(tmp_path, ANNA, identity=BERT)
    assert list(tmp_path.glob("run-*/cut-off")) == []


STEPS: dict[str, Callable[[pytest.MonkeyPatch, Shelf], None]] = {}


def step(made: Callable[[pytest.MonkeyPatch, Shelf], None]) -> Callable[[pytest.MonkeyPatch, Shelf], None]:
    STEPS[made.__name__] = made
    return made


def dies(*_: object) -> Any:
    raise Died


@step
def before_the_index_knows_of_both(patch: pytest.MonkeyPatch, shelf: Shelf) -> None:
    patch.setattr(rewrapping, "mark_stored", dies)


@step
def before_the_upload(patch: pytest.MonkeyPatch, shelf: Shelf) -> None:
    patch.setattr(Upload, "run", dies)


@step
def before_the_parts_are_put_together(patch: pytest.MonkeyPatch, shelf: Shelf) -> None:
    patch.setattr(shelf.bucket, "complete", dies)
    patch.setattr(shelf.bucket, "put", dies)


@step
def behind_the_upload(patch: pytest.MonkeyPatch, shelf: Shelf) -> None:
    run = Upload.run
    patch.setattr(Upload, "run", lambda upload: dies(run(upload)))


@step
def before_the_version_before_goes(patch: pytest.MonkeyPatch, shelf: Shelf) -> None:
    patch.setattr(shelf.bucket, "delete", dies)


@pytest.mark.parametrize("name", [BUCKET, VERSIONED])
@pytest.mark.parametrize("step", STEPS)
def test_whoever_dies_leaves_the_old_one_or_the_new_one(
    server: S3Server, store: Store, database: Database, tmp_path: Path, name: str, step: str
) -> None:
    shelf = Shelf(server, store, database, name)
    last = step == "before_the_version_before_goes"
    with pytest.MonkeyPatch.context() as patch:
        STEPS[step](patch, shelf)
        if last and name == BUCKET:  # there is none
            assert shelf.run(tmp_path, ANNA)
        else:
            with pytest.raises(Died):
                shelf.run(tmp_path, ANNA)
    assert shelf.opens(tmp_path, BERT)
    assert shelf.opens(tmp_path, ANNA) is not shelf.opens(tmp_path, CARL)
    if last and name == VERSIONED:
        with pytest.raises(StoreFault, match="other versions of it are in the bucket too") as told:
            shelf.run(tmp_path, ANNA, identity=BERT)
        (left,) = set(shelf.bucket.versions(shelf.key)) - {shelf.row.version}
        assert left in told.value.text
        shelf.bucket.delete(shelf.key, left)
    shelf.run(tmp_path, ANNA, identity=BERT)
    shelf.settled(tmp_path)


@pytest.mark.parametrize("fault", ["500", "cut", "checksum"])
def test_a_store_on_a_bad_day_leaves_one_that_can_be_read(
    server: S3Server, store: Store, database: Database, tmp_path: Path, fault: str
) -> None:
    shelf = Shelf(server, store, database, BUCKET)
    with HostileS3(server.port) as hostile:
        hostile.fault = fault
        put = [False]

        def applies(method: str, path: str) -> bool:
            put[0] |= method == "PUT"
            return method == "PUT" if fault != "checksum" else method == "HEAD" and put[0]

        hostile.applies = applies
        with pytest.raises(StoreFault):
            shelf.run(tmp_path, ANNA, bucket=Bucket(server.place(hostile.port)))
    assert shelf.opens(tmp_path, BERT)
    shelf.run(tmp_path, ANNA, identity=BERT)
    shelf.settled(tmp_path)


def test_what_object_lock_keeps_stays_as_it_is(
    server: S3Server, store: Store, database: Database, tmp_path: Path
) -> None:
    shelf = Shelf(server, store, database, LOCKED)
    shelf.bucket = Bucket(server.place(bucket=LOCKED, lock=Lock("COMPLIANCE", 3600)))
    file = tmp_path / "again.rec"
    fetch(shelf.bucket, shelf.key, file, shelf.row.version, shelf.row.sha256)
    shelf.bucket.delete(shelf.key, shelf.row.version)
    shelf.upload(file)
    before = shelf.row
    with pytest.raises(
        StoreFault, match=r"object lock \(compliance\) keeps it as it is until \d{4}-"
    ) as told:
        shelf.run(tmp_path, ANNA)
    assert told.value.reason is StoreReason.LOCKED and shelf.row == before
    assert shelf.bucket.versions(shelf.key) == [before.version]


def test_what_is_removed_meanwhile_does_not_come_back(
    server: S3Server, store: Store, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(server, store, database, BUCKET)
    run = Upload.run

    def pruned(upload: Upload) -> Any:
        kept = run(upload)
        with database.write() as connection:
            gone = update(RECORDINGS).where(RECORDINGS.c.session_id == shelf.session)
            connection.execute(gone.values(state=DELETED))
        return kept

    monkeypatch.setattr(Upload, "run", pruned)
    with pytest.raises(StoreFault, match="was removed at this moment"):
        shelf.run(tmp_path, ANNA)
    assert shelf.bucket.head(shelf.key) is None


def test_who_does_not_open_it_changes_nothing(
    server: S3Server, store: Store, database: Database, tmp_path: Path
) -> None:
    shelf = Shelf(server, store, database, BUCKET)
    before = shelf.row
    with pytest.raises(FormatError, match="none of the identities opens it"):
        shelf.run(tmp_path, ANNA, identity=CARL)
    assert shelf.row == before

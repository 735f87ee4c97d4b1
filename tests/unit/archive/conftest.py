"""One S3 server for the tests of a file that want one, and a database with recordings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bastion.recording.store import Store
from bastion.state.database import Database, Place
from bastion.state.schema_version import check_schema
from tests.support.s3 import S3Server, s3_missing


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    if s3_missing():
        pytest.skip(s3_missing())
    made = S3Server()
    try:
        yield made.start().make_buckets()
    finally:
        made.close()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(Place(tmp_path / "recordings" / "state"))
    check_schema(made)
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "recordings", disk_floor_bytes=0, sync_seconds=0.05)
    yield made
    assert made.close()

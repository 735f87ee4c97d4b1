"""A replica becomes the store: another timeline of a real PostgreSQL, by which lost rows are told from unlocks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bastion.state.database import Database, Place, StateDown
from bastion.state.migrating import migrate
from bastion.state.shared_locks import Rows, rows_since
from tests.support.postgres import PASSWORD, Postgres
from tests.support.world import poll

pytestmark = pytest.mark.interop

NOW = 1000.0


@pytest.fixture
def server() -> Iterator[Postgres]:
    with Postgres() as made:
        yield made


def test_a_replica_that_was_promoted_is_another_timeline_and_a_restart_is_none(
    server: Postgres, tmp_path: Path
) -> None:
    database = Database(Place(tmp_path, server.url), PASSWORD)
    migrate(database)

    def look() -> Rows:
        def tried() -> Rows | None:
            try:
                return rows_since(database, tmp_path, "", NOW)
            except StateDown:
                return None

        found = poll(tried, 30, "the store does not answer")
        assert isinstance(found, Rows)
        return found

    first = look()
    assert first.timeline == "00000001" and first.locks == []
    server.stop()
    server.start()
    assert look() == first
    server.stop()
    (server.folder / "data" / "standby.signal").write_text("")
    server.start()
    assert look().timeline == "", "a replica says nothing"
    with database.read() as connection:
        connection.exec_driver_sql("SELECT pg_promote()")
    assert poll(lambda: look().timeline) == "00000002"
    database.close()

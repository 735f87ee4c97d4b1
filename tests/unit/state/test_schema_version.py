"""An empty file is given the schema; an older one is refused with the command; a later one says who may use it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from bastion.state import schema_version
from bastion.state.database import Database, Place, StateDown
from bastion.state.schema_version import (
    HEAD,
    NEWER,
    OLDEST,
    SchemaUnfit,
    check_schema,
    oldest_of,
    revision_of,
    state_oldest,
)


def test_an_empty_file_is_given_the_schema_once(place: Place) -> None:
    database = Database(place)
    assert check_schema(database) == check_schema(database) == HEAD
    with database.read() as connection:
        assert revision_of(connection) == HEAD
    database.close()


def test_a_database_without_a_schema_has_revision_0(tmp_path: Path) -> None:
    database = Database(Place(tmp_path))
    with database.read() as connection:
        assert revision_of(connection) == 0
    database.close()


def become(database: Database, revision: int, oldest: int | None) -> None:
    """What a later version makes of the schema: more of it, and for whom it is; None: it says nothing of that."""
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": f"{revision:04}"})
        if oldest is None:
            connection.execute(text("DROP TABLE schema_oldest"))
        else:
            state_oldest(connection, oldest)


def test_a_new_schema_says_for_whom_it_is(database: Database) -> None:
    with database.read() as connection:
        assert oldest_of(connection) == OLDEST <= HEAD


def test_an_older_one_is_refused_with_the_command(database: Database) -> None:
    become(database, HEAD - 1, OLDEST)
    with pytest.raises(SchemaUnfit, match="bastion state migrate") as unfit:
        check_schema(database)
    assert unfit.value.older


def test_many_revisions_later_is_taken_where_the_schema_says_so(database: Database) -> None:
    become(database, HEAD + 9, HEAD)
    assert check_schema(database) == HEAD + 9
    become(database, HEAD + 9, HEAD - 3)
    assert check_schema(database) == HEAD + 9


@pytest.mark.parametrize("later", [1, 9])
def test_one_that_is_for_later_versions_only_is_refused_and_says_which(
    database: Database, later: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    become(database, HEAD + later, HEAD + 1)
    with pytest.raises(SchemaUnfit) as unfit:
        check_schema(database)
    assert not unfit.value.older
    for word in (
        f"has schema {HEAD + later}",
        f"of schema {HEAD + 1} and later",
        f"knows {HEAD}:",
        "a later version, which is the one to run",
        "from a backup",
    ):
        assert word in unfit.value.text
    monkeypatch.setattr(schema_version, "HEAD", HEAD + 1)
    assert check_schema(database) == HEAD + later


def test_where_nothing_says_so_the_next_revision_is_taken_and_no_other(database: Database) -> None:
    become(database, HEAD + NEWER, None)
    assert check_schema(database) == HEAD + NEWER
    with database.write() as connection:
        connection.execute(
            text("UPDATE alembic_version SET version_num = :v"), {"v": f"{HEAD + NEWER + 1:04}"}
        )
    with pytest.raises(SchemaUnfit, match=r"does not say for whom it is.*a later version") as unfit:
        check_schema(database)
    assert not unfit.value.older


def test_what_is_no_database_is_a_store_that_is_down(place: Place) -> None:
    place.folder.mkdir()
    place.file.write_bytes(b"no database at all " * 100)
    database = Database(place)
    with pytest.raises(StateDown, match="not a database"):
        check_schema(database)
    database.close()

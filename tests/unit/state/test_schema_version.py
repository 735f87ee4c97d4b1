"""An empty file is given the schema; an older one is refused with the command; one revision later is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from bastion.state import schema_version
from bastion.state.database import Database, Place, StateDown
from bastion.state.schema_version import HEAD, NEWER, SchemaUnfit, check_revision, check_schema, revision_of


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


@pytest.mark.parametrize("found", [HEAD, HEAD + NEWER])
def test_the_own_revision_and_the_next_are_taken(found: int) -> None:
    check_revision(found)


@pytest.mark.parametrize("found", [0, HEAD - 1])
def test_an_older_one_is_refused_with_the_command(found: int) -> None:
    with pytest.raises(SchemaUnfit, match="bastion state migrate") as unfit:
        check_revision(found)
    assert unfit.value.older


def test_a_later_one_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with database.write() as connection:
        connection.execute(
            text("UPDATE alembic_version SET version_num = :v"), {"v": f"{HEAD + NEWER + 1:04}"}
        )
    with pytest.raises(SchemaUnfit, match="a later version") as unfit:
        check_schema(database)
    assert not unfit.value.older
    monkeypatch.setattr(schema_version, "HEAD", HEAD + 1)
    assert check_schema(database) == HEAD + NEWER + 1


def test_what_is_no_database_is_a_store_that_is_down(place: Place) -> None:
    place.folder.mkdir()
    place.file.write_bytes(b"no database at all " * 100)
    database = Database(place)
    with pytest.raises(StateDown, match="not a database"):
        check_schema(database)
    database.close()

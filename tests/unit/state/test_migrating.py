"""Migrations make the schema that the program has, one step at a time, and old statements work on the newest one."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from sqlalchemy import MetaData, delete, inspect, select, text, update
from sqlalchemy.dialects import sqlite

from bastion.state.database import Database, Place
from bastion.state.migrating import migrate
from bastion.state.schema import METADATA, RECORDINGS
from bastion.state.schema_version import (
    HEAD,
    OF_THE_SCHEMA,
    OLDEST,
    SchemaUnfit,
    check_schema,
    oldest_of,
    revision_of,
)
from bastion.state.store import migrate_in_child

pytestmark = pytest.mark.slow


def shape(database: Database) -> dict[str, object]:
    """Tables, columns with their types and defaults, keys and indexes."""
    with database.read() as connection:
        found = inspect(connection)
        return {
            table: (
                [
                    (c["name"], str(c["type"]), c["nullable"], str(c["default"]).strip("'"))
                    for c in found.get_columns(table)
                ],
                found.get_pk_constraint(table)["constrained_columns"],
                sorted((str(i["name"]), tuple(i["column_names"])) for i in found.get_indexes(table)),
            )
            for table in sorted(found.get_table_names())
            if table not in OF_THE_SCHEMA
        }


def test_the_migrations_make_the_schema_that_the_program_has(tmp_path: Path) -> None:
    migrated, made = Database(Place(tmp_path / "a")), Database(Place(tmp_path / "b"))
    assert migrate(migrated) == (0, HEAD)
    check_schema(made)
    assert shape(migrated) == shape(made)
    assert set(shape(made)) == set(METADATA.tables)
    for database in (migrated, made):
        with database.read() as connection:
            assert oldest_of(connection) == OLDEST
    assert migrate(migrated) == (HEAD, HEAD) == migrate(made)
    migrated.close()
    made.close()


def test_a_later_schema_is_not_taken_back(tmp_path: Path) -> None:
    database = Database(Place(tmp_path))
    migrate(database)
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0099'")
        connection.execute("UPDATE schema_oldest SET revision = 98")
    with pytest.raises(SchemaUnfit):
        migrate(database)
    database.close()


def test_it_is_a_program_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bastion.state.migrating"]
    subprocess.run([*command, str(tmp_path)], check=True, timeout=60)
    database = Database(Place(tmp_path))
    with database.read() as connection:
        assert revision_of(connection) == HEAD
    database.close()
    (tmp_path / "state.db").write_bytes(b"garbage" * 1000)
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "not a database" in done.stderr


@pytest.mark.parametrize("number", range(20, HEAD + 1))
def test_each_revision_says_for_whom_it_is(number: int) -> None:
    """The first that drops something, or changes what there is, is for nobody before it."""
    module = import_module(f"bastion.state.migrations.versions.r{number:04}")
    before = import_module(f"bastion.state.migrations.versions.r{number - 1:04}")
    assert getattr(before, "oldest", 1) <= module.oldest <= number
    if number == HEAD:
        assert module.oldest == OLDEST


# -- compatible one version back ------------------------------------------------------------------------------------


def tables_of(database: Database) -> MetaData:
    """The tables of the revision that a database has, as its program's statements name them."""
    found = MetaData()
    with database.read() as connection:
        found.reflect(connection)
    return found


@pytest.mark.parametrize("revision", range(1, HEAD))
def test_statements_of_the_revision_before_work_on_the_next_one(tmp_path: Path, revision: int) -> None:
    """Every column that the older program knows is written and read by its own statements, on a newer schema."""
    old, new = Database(Place(tmp_path / "old")), Database(Place(tmp_path / "new"))
    migrate(old, revision)
    migrate(new, revision)
    migrate(new, revision + 1)
    for name, table in tables_of(old).tables.items():
        if name in OF_THE_SCHEMA:
            continue
        row = {c.name: ("x" if c.type.python_type is str else 1) for c in table.columns}
        keys = [c.name for c in table.primary_key]
        others = {key: value for key, value in row.items() if key not in keys}
        insert = sqlite.insert(table).values(row)
        with new.write() as connection:
            connection.execute(insert.on_conflict_do_nothing(index_elements=keys))
            if others:  # else the key is all of it
                connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=others))
                connection.execute(update(table).where(table.c[keys[0]] == row[keys[0]]).values(others))
            assert connection.execute(select(table)).mappings().one() == row
            connection.execute(delete(table).where(table.c[keys[0]] == row[keys[0]]))
    old.close()
    new.close()


def test_a_migration_keeps_the_rows(tmp_path: Path) -> None:
    database = Database(Place(tmp_path))
    migrate(database, 1)
    with database.write() as connection:
        connection.execute(
            text("INSERT INTO recordings (session_id, path, size) VALUES ('a', 'day/a.rec', 7)")
        )
    assert migrate(database) == (1, HEAD)
    with database.read() as connection:
        row = connection.execute(select(RECORDINGS)).mappings().one()
    assert (row["path"], row["size"], row["deleted_at"], row["deleted_by"]) == ("day/a.rec", 7, None, "")
    database.close()


def test_a_gateway_migrates_a_file_of_an_earlier_version(tmp_path: Path) -> None:
    place = Place(tmp_path)
    database = Database(place)
    migrate(database, 1)
    database.close()
    migrate_in_child(place)
    check_schema(database)
    database.close()

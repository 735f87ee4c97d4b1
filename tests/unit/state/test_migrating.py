"""Migrations make the schema that the program has, one step at a time, and old statements work on the newest one."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import inspect

from bastion.state.database import Database, Place
from bastion.state.migrating import migrate
from bastion.state.schema import METADATA
from bastion.state.schema_version import HEAD, SchemaUnfit, check_schema, revision_of

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
            if table != "alembic_version"
        }


def test_the_migrations_make_the_schema_that_the_program_has(tmp_path: Path) -> None:
    migrated, made = Database(Place(tmp_path / "a")), Database(Place(tmp_path / "b"))
    assert migrate(migrated) == (0, HEAD)
    check_schema(made)
    assert shape(migrated) == shape(made)
    assert set(shape(made)) == set(METADATA.tables)
    assert migrate(migrated) == (HEAD, HEAD) == migrate(made)
    migrated.close()
    made.close()


def test_a_later_schema_is_not_taken_back(tmp_path: Path) -> None:
    database = Database(Place(tmp_path))
    migrate(database)
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0099'")
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

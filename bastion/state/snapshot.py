"""A copy of the state as an SQLite file, and a store made from one (L2). Blocks.

One form for both databases: a copy of SQLite is made by its own online backup, one of PostgreSQL in a single snapshot,
table by table, into a fresh file. So a backup can be opened without a server, and a store can move from one database to
the other. Invariants: a copy is of one moment; nothing that is there is written over.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Table, func, insert, inspect, select, text

from bastion.modes import modes_in
from bastion.state.checking import faults_of
from bastion.state.database import Database, Place, StateDown
from bastion.state.folder import give_to_owner_of, make_folder
from bastion.state.schema import METADATA
from bastion.state.schema_version import check_schema, revision_of

ROWS: Final = 500
"""Rows that are held in memory at once."""


class InTheWay(StateDown):
    """There is something already where the state would be restored."""


@contextmanager
def _opened(folder: Path) -> Iterator[Database]:
    database = Database(Place(folder))
    try:
        yield database
    finally:
        database.close()


def take(database: Database, folder: Path) -> Path:
    """Copy the state into a new file in `folder`, which is empty; the file. Raises StateDown, OSError."""
    copy = Place(folder)
    if database.place.embedded:
        source = database.place.file
        try:
            with closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as here:
                os.close(os.open(copy.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
                with closing(sqlite3.connect(copy.file)) as there:
                    here.backup(there)
                    there.execute("PRAGMA journal_mode = DELETE")  # one file, without -wal and -shm
        except sqlite3.Error as error:
            raise StateDown(str(error)) from None
        return copy.file
    with _opened(folder) as there_:
        check_schema(there_)
        with database.read() as source_connection:
            source_connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
            with there_.write() as connection:
                _copy(source_connection, connection)
    with closing(sqlite3.connect(copy.file)) as made:
        made.execute("PRAGMA journal_mode = DELETE")
    return copy.file


def look(folder: Path) -> tuple[int, dict[str, int]]:
    """(revision, rows of each table) of the copy in `folder`, once it is whole. Raises StateDown when it is not."""
    with _opened(folder) as copy:
        for fault in faults_of(copy):
            raise StateDown(f"the copy is damaged: {fault.text}")
        with copy.read() as connection:
            revision = revision_of(connection)
            if not revision:
                raise StateDown("the copy has no schema")
            return revision, _counts(connection)


def check_free(database: Database) -> None:
    """Raises InTheWay when a store is there, StateDown when the database cannot be used."""
    if database.place.embedded:
        if os.path.lexists(database.place.file):
            raise InTheWay(f"{database.place.file} is there already")
        return
    check_schema(database)
    with database.read() as connection:
        full = [name for name, count in _counts(connection).items() if count]
    if full:
        raise InTheWay(f"there are rows in {', '.join(full)} already")


def put(folder: Path, database: Database) -> None:
    """Make the store from the copy in `folder`. Raises InTheWay, StateDown, OSError."""
    check_free(database)
    place, copy = database.place, Place(folder)
    if place.embedded:
        make_folder(place.folder)
        beside = place.folder / ".restored.db"
        beside.unlink(missing_ok=True)
        mode = modes_in(place.folder.stat().st_mode).file
        with open(copy.file, "rb") as source:
            fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with open(fd, "wb") as made:
                while data := source.read(1 << 20):
                    made.write(data)
                made.flush()
                os.fsync(fd)
        give_to_owner_of(place.folder, beside)
        try:
            os.link(beside, place.file)
        except FileExistsError:
            raise InTheWay(f"{place.file} is there already") from None
        finally:
            beside.unlink()
        return
    with _opened(folder) as source_, source_.read() as here, database.write() as there:
        _copy(here, there)


def _counts(connection: Connection) -> dict[str, int]:
    there = set(inspect(connection).get_table_names())
    return {
        name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for name, table in sorted(METADATA.tables.items())
        if name in there
    }


def _copy(here: Connection, there: Connection) -> None:
    """Every table that both have, with the columns that both have: a copy may be of the revision before."""
    known = inspect(here)
    names = set(known.get_table_names())
    for name, table in METADATA.tables.items():
        if name in names:
            columns = {column["name"] for column in known.get_columns(name)}
            _copy_table(here, there, table, columns)


def _copy_table(here: Connection, there: Connection, table: Table, columns: set[str]) -> None:
    shared = [column for column in table.columns if column.name in columns]
    result = here.execution_options(yield_per=ROWS).execute(select(*shared))
    for rows in result.mappings().partitions(ROWS):
        there.execute(insert(table), [dict(row) for row in rows])

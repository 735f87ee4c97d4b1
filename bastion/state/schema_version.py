"""Does the schema in the database fit this program? (L2)

Revisions are counted. On an older one than its own a program does not work. A later one says itself which is the oldest
program that works on it (`schema_oldest`): a migration only adds (`state.migrations`), so that is one of an earlier
release, however many revisions came since. Where nothing says so, as before revision 20, the one that follows its own
is taken and nobody has tried another. An empty SQLite file gets the whole schema at once, without alembic, which a
gateway need not load to start.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, inspect, text

from bastion.state.database import Database, StateDown
from bastion.state.schema import METADATA

HEAD: Final = 22
"""The revision that this program was written for: the newest module of `migrations.versions`."""

OLDEST: Final = 19
"""The revision of the oldest program that works on it: what that module says."""

NEWER: Final = 1
"""How many revisions later than its own a program takes that do not say for whom they are."""

OF_THE_SCHEMA: Final = ("alembic_version", "schema_oldest")
"""Tables that are about the schema: no rows of theirs are part of the state."""


class SchemaUnfit(StateDown):
    """The schema is not one that this program works on. `older`: `bastion state migrate` helps."""

    def __init__(self, text: str, older: bool) -> None:
        super().__init__(text)
        self.older = older


def revision_of(connection: Connection) -> int:
    """The revision of the schema, 0 for a database without one."""
    if not inspect(connection).has_table("alembic_version"):
        return 0
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return int(found) if found and str(found).isdigit() else 0


def oldest_of(connection: Connection) -> int:
    """The revision of the oldest program that works on this schema, 0 where it does not say so."""
    if not inspect(connection).has_table("schema_oldest"):
        return 0
    return int(connection.execute(text("SELECT max(revision) FROM schema_oldest")).scalar() or 0)


def state_oldest(connection: Connection, revision: int) -> None:
    """From now on the schema is for programs of that revision and later."""
    connection.execute(text("DELETE FROM schema_oldest"))
    connection.execute(text("INSERT INTO schema_oldest VALUES (:revision)"), {"revision": revision})


def check_fit(connection: Connection) -> int:
    """The revision of the schema. Raises SchemaUnfit, in words that name what to do."""
    found = revision_of(connection)
    if found < HEAD:
        what = f"has schema {found}" if found else "has no schema yet"
        raise SchemaUnfit(
            f"the state store {what}, this version needs {HEAD}: run `bastion state migrate --config FILE`",
            True,
        )
    if found > HEAD:
        _check_later(found, oldest_of(connection))
    return found


def _check_later(found: int, oldest: int) -> None:
    if (oldest or found - NEWER) <= HEAD:
        return
    takes = (
        f"which is for versions of schema {oldest} and later"
        if oldest
        else "which does not say for whom it is"
    )
    raise SchemaUnfit(
        f"the state store has schema {found}, {takes}; this version knows {HEAD}: it was migrated by a later version, "
        "which is the one to run; or restore the state from a backup made before",
        False,
    )


def check_schema(database: Database) -> int:
    """The revision of the schema. An empty SQLite file is given one. Raises SchemaUnfit and StateDown."""
    if database.place.embedded:
        with database.write() as connection:
            if not revision_of(connection):
                _make(connection)
            return check_fit(connection)
    with database.read() as connection:
        return check_fit(connection)


def _make(connection: Connection) -> None:
    METADATA.create_all(connection)
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:number)"), {"number": f"{HEAD:04}"})
    connection.execute(text("CREATE TABLE schema_oldest (revision BIGINT NOT NULL PRIMARY KEY)"))
    state_oldest(connection, OLDEST)

"""Does the schema in the database fit this program? (L2)

Revisions are counted. This program works on its own revision and on the one that follows it, because a migration only
adds (`state.migrations`); on an older one it does not, and on a later one nobody has tried. An empty SQLite file gets
the whole schema at once, without alembic, which a gateway need not load to start.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, inspect, text

from bastion.state.database import Database, StateDown
from bastion.state.schema import METADATA

HEAD: Final = 19
"""The revision that this program was written for: the newest module of `migrations.versions`."""

NEWER: Final = 1
"""How many revisions later than its own a program takes."""


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


def check_revision(found: int) -> None:
    """Raises SchemaUnfit, in words that name the command."""
    if found < HEAD:
        what = f"has schema {found}" if found else "has no schema yet"
        raise SchemaUnfit(
            f"the state store {what}, this version needs {HEAD}: run `bastion state migrate --config FILE`",
            True,
        )
    if found > HEAD + NEWER:
        raise SchemaUnfit(
            f"the state store has schema {found}, this version knows {HEAD} and takes {HEAD + NEWER}: "
            "it was migrated by a later version, which is the one to run",
            False,
        )


def check_schema(database: Database) -> int:
    """The revision of the schema. An empty SQLite file is given one. Raises SchemaUnfit and StateDown."""
    if database.place.embedded:
        with database.write() as connection:
            found = revision_of(connection)
            if not found:
                _make(connection)
                found = HEAD
    else:
        with database.read() as connection:
            found = revision_of(connection)
    check_revision(found)
    return found


def _make(connection: Connection) -> None:
    METADATA.create_all(connection)
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:number)"), {"number": f"{HEAD:04}"})

"""Brings the schema to this program's revision, with alembic (L2). Blocks.

`bastion state migrate` calls `migrate`. A gateway does not load this module, which costs 12 MB: for an SQLite file of
an earlier version it runs it as a program of its own (`state.opening`).
"""

from __future__ import annotations

import sys
from pathlib import Path

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from bastion.state import migrations
from bastion.state.database import Database, Place, StateDown
from bastion.state.schema_version import HEAD, check_fit, revision_of, state_oldest


def migrate(database: Database, revision: int = HEAD) -> tuple[int, int]:
    """(the revision that was there, the one that is now). One transaction. Raises SchemaUnfit and StateDown."""
    with database.write() as connection:
        if not database.place.embedded:  # one at a time; SQLite's transaction sees to that
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": 0x62617374})
        found = revision_of(connection)
        if found >= revision:
            check_fit(connection)
            return found, found
        _run(connection, found + 1, revision)
        return found, revision_of(connection)


def _run(connection: Connection, first: int, last: int) -> None:
    """One revision after the other, each noted when it is done; alembic's own command would want a script beside it."""
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    context = MigrationContext.configure(connection)
    with Operations.context(context):
        for number in range(first, last + 1):
            name = f"{number:04}"
            revision = script.get_revision(name)
            assert revision is not None
            revision.module.upgrade()
            context.stamp(script, name)
            if hasattr(revision.module, "oldest"):
                state_oldest(connection, revision.module.oldest)


def main() -> int:
    """`python -m bastion.state.migrating FOLDER`: the SQLite file in that folder. 0, or 1 and a line on stderr."""
    database = Database(Place(Path(sys.argv[1])))
    try:
        migrate(database)
    except StateDown as error:
        print(error.text, file=sys.stderr)
        return 1
    finally:
        database.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

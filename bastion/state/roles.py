"""Rights of the store's roles in PostgreSQL, granted by whoever owns its tables (L2). Blocks.

What it is for: the gateway writes, whoever reads the index writes nothing, a console what reviewers leave, and none may
change the schema. The roles
are made by the database's administrator; those that are there get their rights at each `bastion state migrate`, for
tables that a version brings too. Invariant: a role has afterwards what is written here and no more, whatever it had
before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

from bastion.state.database import Database, StateDown
from bastion.state.schema import METADATA
from bastion.state.schema_version import OF_THE_SCHEMA

GATEWAY: Final = "bastion_gateway"
READER: Final = "bastion_reader"
CONSOLE: Final = "bastion_console"

VERSION: Final = frozenset(OF_THE_SCHEMA)

READ: Final = frozenset(
    (
        "nodes",
        "sessions",
        "recordings",
        "locks",
        "lock_ends",
        "break_glass",
        "holds",
        "hold_lifts",
        "deletions",
        "configs",
        "policy_loads",
        "policy_texts",
        "ledger_heads",
        "findings",
        "mutes",
        "review_notes",
        "review_tags",
        "review_marks",
        *VERSION,
    )
)
"""What an auditor's commands read: who was where, and what was in force."""

SHOWN: Final = READ | {"approvals", "certificates", "key_ages", "saved_searches", "saved_hits"}
"""What a console shows beside that. Second factors are nobody's but the gateway's."""

LEFT: Final = frozenset(
    ("review_notes", "review_tags", "review_marks", "holds", "hold_lifts", "saved_searches")
)
"""Where people leave something in a console; what they have written stays."""

LOCKING: Final = "UPDATE (deleted_why)"
"""The least with which a row of `recordings` may be locked: of a hold and a deletion at once the first one counts."""

TOLD: Final = "UPDATE (to_post, to_mail)"
RAN: Final = "UPDATE (ran_at, stopped_at, stopped)"
"""Saved searches are run as the console: their words are whoever's who saved them."""

VOIDING: Final = "UPDATE (void_at)"
"""Whoever holds a recording makes void what two people wanted to delete; it can say nothing else about that."""

KEPT: Final = frozenset(("console_tokens", "passkeys", "penalties"))
"""What a console keeps itself; guesses at it count at the gateways, too."""

RIGHTS: Final[Mapping[str, Mapping[str, frozenset[str]]]] = {
    GATEWAY: {
        "SELECT": frozenset((*METADATA.tables, *VERSION)),
        "INSERT, UPDATE, DELETE": frozenset(METADATA.tables),
    },
    READER: {"SELECT": READ},
    CONSOLE: {
        "SELECT": SHOWN | KEPT | {"penalty_key"},
        "INSERT": LEFT | KEPT | {"saved_hits"},
        "DELETE": frozenset(("review_tags", "holds", "saved_searches", "saved_hits")) | KEPT,
        "UPDATE": frozenset(("hold_lifts",)) | KEPT,
        LOCKING: frozenset(("recordings",)),
        RAN: frozenset(("saved_searches",)),
        VOIDING: frozenset(("deletions",)),
        TOLD: frozenset(("saved_hits",)),
    },
}
"""Role -> rights -> tables."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The roles that were there, and why they have not got their rights, "" when they have."""

    roles: tuple[str, ...] = ()
    fault: str = ""


def grant_rights(database: Database) -> Granted:
    """Give each role that is there what it may. Nothing in SQLite. Raises StateDown when the store does not answer."""
    if database.place.embedded:
        return Granted()
    with database.read() as connection:
        known = text("SELECT rolname FROM pg_roles WHERE rolname = ANY(:names)")
        found = set(connection.execute(known, {"names": list(RIGHTS)}).scalars())
    roles = tuple(role for role in RIGHTS if role in found)
    try:
        with database.write() as connection:
            for role in roles:
                _grant(connection, role)
    except StateDown as error:
        if not error.refused:
            raise
        return Granted(roles, error.text)
    return Granted(roles)


def _grant(connection: Connection, role: str) -> None:
    """The names are ours: nothing of them is anybody's text."""
    everything = ", ".join(sorted((*METADATA.tables, *VERSION)))
    (schema,) = connection.execute(text("SELECT quote_ident(current_schema())")).scalars()
    connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    connection.exec_driver_sql(f"REVOKE ALL ON {everything} FROM {role}")
    for rights, tables in RIGHTS[role].items():
        connection.exec_driver_sql(f"GRANT {rights} ON {', '.join(sorted(tables))} TO {role}")

"""Policies that were in force, in the state store (L2): what they said, and on which gateway since when.

Invariants: a load is one row, whatever number of processes take it, because all of them are told the same moment; the
text of a load is written before the load; neither is changed afterwards. What writes here is the journal, so that a
load while the database is away is kept as well. Reading blocks.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Final

from sqlalchemy import select

from bastion.state.changes import ADD, Change
from bastion.state.database import Database
from bastion.state.schema import POLICY_LOADS, POLICY_TEXTS

PART: Final = 48_000
"""Characters of one part: less than `changes.LINE_MAX` with the rest of the line."""

LIST_MAX: Final = 10_000
"""Loads of a listing, the newest."""


@dataclass(frozen=True, slots=True)
class PolicyLoad:
    """One row. `digest` is that of the policy with its inventory, `config` of the whole configuration,
    `loaded_by` is `start` or `reload`, `version` the program's."""

    node: str
    loaded_at: float
    digest: str
    config: str
    loaded_by: str
    version: str


_COLUMNS: Final = tuple(POLICY_LOADS.c[field.name] for field in fields(PolicyLoad))


def policy_text(digest: str, packed: bytes) -> Iterator[Change]:
    """The rows of a text; none when it was too large to be kept."""
    text = b64encode(packed).decode("ascii")
    for part, at in enumerate(range(0, len(text), PART)):
        yield Change(ADD, "policy_texts", {"digest": digest, "part": part, "packed": text[at : at + PART]})


def policy_loaded(load: PolicyLoad) -> Change:
    """The row of a load."""
    return Change(ADD, "policy_loads", {field.name: getattr(load, field.name) for field in fields(load)})


def loads(database: Database) -> list[PolicyLoad]:
    """Of all gateways, newest first. Raises StateDown."""
    query = select(*_COLUMNS).order_by(POLICY_LOADS.c.loaded_at.desc()).limit(LIST_MAX)
    with database.read() as connection:
        return [PolicyLoad(*row) for row in connection.execute(query)]


def in_force_at(database: Database, node: str, at: float) -> PolicyLoad | None:
    """The last load on `node` at or before that moment. Raises StateDown."""
    table = POLICY_LOADS.c
    query = select(*_COLUMNS).where(table.node == node, table.loaded_at <= at)
    with database.read() as connection:
        row = connection.execute(query.order_by(table.loaded_at.desc()).limit(1)).first()
    return None if row is None else PolicyLoad(*row)


def digests_beginning(database: Database, prefix: str) -> list[str]:
    """Those of the versions that were loaded, whether their text is kept or not. Raises StateDown."""
    column = POLICY_LOADS.c.digest
    query = select(column).where(column.startswith(prefix, autoescape=True)).distinct().order_by(column)
    with database.read() as connection:
        return list(connection.execute(query).scalars())


def packed_text(database: Database, digest: str) -> bytes:
    """What was kept under a digest, b"" for nothing; whoever reads it looks at the digest. Raises StateDown."""
    table = POLICY_TEXTS.c
    query = select(table.packed).where(table.digest == digest).order_by(table.part)
    with database.read() as connection:
        text = "".join(connection.execute(query).scalars())
    try:
        return b64decode(text, validate=True)
    except (Error, ValueError):
        return text.encode("utf-8", "replace")

"""Penalties that the gateways of one store tell each other: a row for each gateway and key (L2). Blocks.

What it is for: a guesser must not find the free tries of each gateway. Rows are `auth.penalty_claims.Claim`.
Invariants: a gateway writes its own rows alone, BATCH of them at once; it has MOST_EACH, and those of the last minute;
whoever reads gets BATCH of each other gateway that it names, in the order in which they were written, and no other's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from bastion.auth.penalty_claims import BATCH, DAY, MOST_EACH, Claim, Of
from bastion.state.database import Database
from bastion.state.schema import PENALTIES, PENALTY_KEY

KEY: Final = 32
"""Bytes of the key."""

_NAME: Final = "digests"
_SHORT: Final = tuple(
    func.length(PENALTIES.c[name]) <= most for name, most in (("key", 24), ("of", 8), ("source", 64))
)
_LARGEST: Final = (1 << 53) - 1
_FIELDS: Final = tuple(field.name for field in fields(Claim))
_COLUMNS: Final = tuple(PENALTIES.c[name] for name in _FIELDS)


def key_of(database: Database, proposed: bytes | None) -> bytes | None:
    """The key of all gateways of this store: `proposed` is it from now on where there is none. Raises StateDown."""
    query = select(PENALTY_KEY.c.key).where(PENALTY_KEY.c.name == _NAME)
    with database.read() as connection:
        found = connection.execute(query).scalar()
    if not found and proposed is not None:
        with database.write() as connection:
            insert = _insert(connection)(PENALTY_KEY).values(name=_NAME, key=proposed.hex())
            connection.execute(insert.on_conflict_do_nothing(index_elements=["name"]))
            found = connection.execute(query).scalar()
    try:
        key = bytes.fromhex(found or "")
    except ValueError:
        return None
    return key if len(key) == KEY else None


def tell(database: Database, node: str, claims: Sequence[Claim]) -> None:
    """`node` claims these. Raises StateDown."""
    rows = [{"node": node, **_values(claim)} for claim in claims[:BATCH]]
    if not rows:
        return
    with database.write() as connection:
        insert = _insert(connection)(PENALTIES)
        others = {name: insert.excluded[name] for name in _FIELDS if name != "key"}
        later = PENALTIES.c.revision < insert.excluded.revision
        put = insert.on_conflict_do_update(index_elements=["node", "key"], set_=others, where=later)
        connection.execute(put, rows)


def read(database: Database, seen: Mapping[str, int], now: float) -> dict[str, tuple[Claim, ...]]:
    """What is new of each gateway, of which all up to a revision were `seen`; of those that have something. A revision
    that nobody can have reached by `now`, with a day in hand, is none. Raises StateDown."""
    found = {}
    latest = int((now + DAY) * 1_000_000)
    with database.read() as connection:
        for node, revision in seen.items():
            query = (
                select(*_COLUMNS)
                .where(PENALTIES.c.node == node)
                .where(PENALTIES.c.revision > revision, PENALTIES.c.revision <= latest)
                .where(*_SHORT)
                .order_by(PENALTIES.c.revision)
                .limit(BATCH)
            )
            rows = tuple(_claim(tuple(row)) for row in connection.execute(query))
            if rows:
                found[node] = rows
    return found


def sweep(database: Database, node: str, now: float) -> None:
    """Remove what `node` says no more, all but the newest MOST_EACH of it, and what others have left for a day. Raises
    StateDown."""
    mine = PENALTIES.c.node == node
    newest = (
        select(PENALTIES.c.revision)
        .where(mine)
        .order_by(PENALTIES.c.revision.desc())
        .offset(MOST_EACH)
        .limit(1)
        .scalar_subquery()
    )
    with database.write() as connection:
        connection.execute(delete(PENALTIES).where(mine, PENALTIES.c.ends_at < now))
        connection.execute(delete(PENALTIES).where(mine, PENALTIES.c.revision <= newest))
        connection.execute(delete(PENALTIES).where(PENALTIES.c.ends_at < now - DAY))


def _insert(connection: Connection) -> Any:
    dialect: Any = sqlite if connection.dialect.name == "sqlite" else postgresql
    return dialect.insert


def _values(claim: Claim) -> dict[str, Any]:
    return {name: getattr(claim, name) for name in _FIELDS} | {"of": str(claim.of)}


def _claim(row: tuple[Any, ...]) -> Claim:
    """As it stands there. What is no claim, and could not be passed on, becomes one that nobody takes
    (`Claims.take`), so that it is read once."""
    values = dict(zip(_FIELDS, row, strict=True))
    numbers = [value for value in values.values() if isinstance(value, int | float)]
    try:
        of = Of(values["of"])
    except ValueError:
        of = None
    if of is None or not all(-_LARGEST <= number <= _LARGEST for number in numbers):  # nor is NaN
        return Claim("", Of.PAIR, "", 0, 0.0, 0.0, 0.0, 0.0, 0.0, values["revision"])
    return Claim(**values | {"of": of})

"""Since when each key has logged in, in the state store (L2). Everything here blocks.

Invariants: a key is known by its fingerprint and the immutable id of whose it is; the first moment that is known is
never changed; of the processes and gateways that see an old key on one day, one tells of it. Nobody has more than
MOST_KEYS: those that were used longest ago are forgotten first.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, delete, select, update

from bastion.state.changes import ADD, Change, Value, apply
from bastion.state.database import Database
from bastion.state.schema import KEY_AGES

MOST_KEYS: Final = 200
"""Of one person: a certificate for a new key every day is remembered for half a year."""

AGAIN: Final = 86400.0
"""Seconds until an old key that still logs in is told of again."""


def first_use(
    database: Database, uid: str, fingerprint: str, now: float, longest: float
) -> tuple[float, bool]:
    """A login with that key at `now`. Since when it is known, and whether somebody is to be told that this is more than
    `longest` seconds ago (0: nobody is). Raises StateDown."""
    table = KEY_AGES
    same = (table.c.uid == uid, table.c.fingerprint == fingerprint)
    with database.write() as connection:
        found = connection.execute(select(table.c.first_seen).where(*same)).scalar()
        if found is None:
            row: dict[str, Value] = {
                "uid": uid,
                "fingerprint": fingerprint,
                "first_seen": now,
                "last_seen": now,
                "told_at": 0.0,
            }
            apply(connection, [Change(ADD, "key_ages", row)])  # another gateway may have been faster
            _forget(connection, uid)
            return now, False
        connection.execute(update(table).where(*same, table.c.last_seen < now).values(last_seen=now))
        if not longest or now - found <= longest:
            return float(found), False
        told = update(table).where(*same, table.c.told_at <= now - AGAIN).values(told_at=now)
        return float(found), connection.execute(told).rowcount == 1


def _forget(connection: Connection, uid: str) -> None:
    table = KEY_AGES
    kept = (
        select(table.c.fingerprint)
        .where(table.c.uid == uid)
        .order_by(table.c.last_seen.desc(), table.c.fingerprint)
        .limit(MOST_KEYS)
    )
    known = list(connection.execute(kept).scalars())
    if len(known) == MOST_KEYS:
        connection.execute(delete(table).where(table.c.uid == uid, table.c.fingerprint.not_in(known)))


def first_uses(database: Database, uid: str) -> dict[str, float]:
    """Of all keys of one person, by fingerprint. Raises StateDown."""
    query = select(KEY_AGES.c.fingerprint, KEY_AGES.c.first_seen).where(KEY_AGES.c.uid == uid)
    with database.read() as connection:
        return {row.fingerprint: row.first_seen for row in connection.execute(query)}

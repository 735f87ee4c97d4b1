"""API tokens of the review console in the state store (L2): kept, found, listed, taken away. Everything here blocks.

Invariants: of a token a digest is kept and nothing else; it belongs to the immutable id of an identity, never to a
name; what has ended or was taken away is found no longer, by whatever process asks next.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, delete, func, select, update

from bastion.state.database import Database
from bastion.state.schema import CONSOLE_TOKENS as TOKENS

MOST_OF_ONE: Final = 20
"""Tokens of one identity: one for each program, and none is lost sight of."""

LIST_MAX: Final = 10_000
USED_SECONDS: Final = 60.0
"""Seconds between two notes that a token is used: a program that asks often writes no row each time."""

NO_DIGEST: Final = "0" * 64
"""What a token that there is not is compared with."""


@dataclass(frozen=True, slots=True)
class KeptToken:
    """One token without its secret. Times are seconds since the epoch; `used_at` is None before the first use, and a
    minute old at most."""

    id: str
    label: str
    uid: str
    name: str
    scope: tuple[str, ...]
    made_at: float
    made_by: str
    ends_at: float
    used_at: float | None = None


def keep(
    database: Database, token: KeptToken, digest: str, now: float, tell: Callable[[], object] = bool
) -> bool:
    """Keep it; False: the identity has as many as may be. What has ended makes room. `tell` writes the audit line when
    nothing else can fail, and what it raises undoes it. Raises StateDown."""
    with database.write() as connection:
        connection.execute(delete(TOKENS).where(TOKENS.c.uid == token.uid, TOKENS.c.ends_at <= now))
        count = select(func.count()).where(TOKENS.c.uid == token.uid)
        if connection.execute(count).scalar_one() >= MOST_OF_ONE:
            return False
        connection.execute(
            TOKENS.insert().values(
                id=token.id,
                digest=digest,
                label=token.label,
                uid=token.uid,
                name=token.name,
                scope=",".join(token.scope),
                made_at=token.made_at,
                made_by=token.made_by,
                ends_at=token.ends_at,
            )
        )
        tell()
    return True


def use(database: Database, token: str, digest: str, now: float) -> KeptToken | None:
    """The token with this id, if the digest is its own and it has not ended; noted as used. Raises StateDown."""
    with database.read() as connection:
        row = connection.execute(select(TOKENS).where(TOKENS.c.id == token)).first()
    same = hmac.compare_digest(digest, NO_DIGEST if row is None else row.digest)
    if row is None or not same or now >= row.ends_at:
        return None
    if row.used_at is None or now - row.used_at >= USED_SECONDS:
        with database.write() as connection:
            connection.execute(update(TOKENS).where(TOKENS.c.id == token).values(used_at=now))
    return _kept(row)


def listed(database: Database, uid: str | None = None) -> list[KeptToken]:
    """Those of one identity, or of everybody, the newest first; those that have ended too. Raises StateDown."""
    wanted = select(TOKENS).order_by(TOKENS.c.made_at.desc()).limit(LIST_MAX)
    if uid is not None:
        wanted = wanted.where(TOKENS.c.uid == uid)
    with database.read() as connection:
        return [_kept(row) for row in connection.execute(wanted)]


def find(database: Database, token: str, uid: str | None = None) -> KeptToken | None:
    """The token with this id, of this identity if one is named. Raises StateDown."""
    meant = [TOKENS.c.id == token] + ([] if uid is None else [TOKENS.c.uid == uid])
    with database.read() as connection:
        row = connection.execute(select(TOKENS).where(*meant)).first()
    return None if row is None else _kept(row)


def revoke(database: Database, token: str) -> bool:
    """Take it away; False: somebody else has. Raises StateDown."""
    with database.write() as connection:
        return connection.execute(delete(TOKENS).where(TOKENS.c.id == token)).rowcount == 1


def _kept(row: Row[Any]) -> KeptToken:
    return KeptToken(
        row.id,
        row.label,
        row.uid,
        row.name,
        tuple(part for part in row.scope.split(",") if part),
        row.made_at,
        row.made_by,
        row.ends_at,
        row.used_at,
    )

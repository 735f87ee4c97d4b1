"""Passkeys for the review console in the state store (L2): kept, found, used, taken away. Everything here blocks.

Invariants: a passkey belongs to the immutable id of an identity, never to a name; a counter only ever rises, however
many processes judge signatures at the same moment; of a passkey its public half is here and nothing else.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import and_, delete, func, or_, select, update

from bastion.state.database import Database
from bastion.state.schema import PASSKEYS

MOST_OF_ONE: Final = 10
LIST_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Passkey:
    """One credential. `id` is its fingerprint, as audit lines and locks have it; `credential` is the id that
    authenticators know, and `public_key` a COSE key, both in base64url; `synced`: its owner's cloud may have copies.
    Times are seconds since the epoch; `used_at` is None before the first use."""

    id: str
    credential: str
    public_key: str
    uid: str
    name: str
    label: str
    counter: int
    synced: int
    made_at: float
    used_at: float | None = None


_COLUMNS: Final = tuple(PASSKEYS.c[name] for name in Passkey.__slots__)


def fingerprint(credential: bytes) -> str:
    """Of the id that authenticators know."""
    return "SHA256:" + urlsafe_b64encode(hashlib.sha256(credential).digest()).decode("ascii").rstrip("=")


def keep(database: Database, passkey: Passkey, tell: Callable[[], object] = bool) -> bool:
    """Keep it; False: it is somebody's already, or the identity has as many as may be. `tell` as in
    `console_tokens.keep`. Raises StateDown."""
    with database.write() as connection:
        count = select(func.count()).where(PASSKEYS.c.uid == passkey.uid)
        known = select(PASSKEYS.c.id).where(PASSKEYS.c.id == passkey.id)
        if connection.execute(known).first() or connection.execute(count).scalar_one() >= MOST_OF_ONE:
            return False
        connection.execute(
            PASSKEYS.insert().values({name: getattr(passkey, name) for name in Passkey.__slots__})
        )
        tell()
    return True


def find(database: Database, passkey: str, uid: str | None = None) -> Passkey | None:
    """The one with this id, of this identity if one is named. Raises StateDown."""
    meant = [PASSKEYS.c.id == passkey] + ([] if uid is None else [PASSKEYS.c.uid == uid])
    with database.read() as connection:
        row = connection.execute(select(*_COLUMNS).where(*meant)).first()
    return None if row is None else _passkey(row)


def listed(database: Database, uid: str | None = None) -> list[Passkey]:
    """Those of one identity, or of everybody, the newest first. Raises StateDown."""
    wanted = select(*_COLUMNS).order_by(PASSKEYS.c.made_at.desc()).limit(LIST_MAX)
    if uid is not None:
        wanted = wanted.where(PASSKEYS.c.uid == uid)
    with database.read() as connection:
        return [_passkey(row) for row in connection.execute(wanted)]


def use(database: Database, passkey: str, counter: int, now: float) -> bool:
    """A signature with this counter was right; False: one as high was seen before, which a copy makes, or it is gone.
    0 is what authenticators say that do not count (WebAuthn, section 6.1.1). Raises StateDown."""
    rises = or_(PASSKEYS.c.counter < counter, and_(PASSKEYS.c.counter == 0, PASSKEYS.c.counter == counter))
    with database.write() as connection:
        done = connection.execute(
            update(PASSKEYS).where(PASSKEYS.c.id == passkey, rises).values(counter=counter, used_at=now)
        )
    return done.rowcount == 1


def remove(database: Database, passkey: str) -> bool:
    """Take it away; False: somebody else has. Raises StateDown."""
    with database.write() as connection:
        return connection.execute(delete(PASSKEYS).where(PASSKEYS.c.id == passkey)).rowcount == 1


def _passkey(row: Any) -> Passkey:
    return Passkey(*row)

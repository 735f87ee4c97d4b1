"""When a key was used, as far as the index of sessions remembers (L2). Blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlalchemy import select

from bastion.state.database import Database
from bastion.state.schema import SESSIONS

LOOKED_AT: Final = 20_000
"""Sessions of one person that are looked at, the newest first: a quarter of a second."""


@dataclass(frozen=True, slots=True)
class Uses:
    """Sessions that were opened with one key, or a certificate for it: when the first and the last that are known began
    (seconds since the epoch), and how many they are."""

    first: float
    last: float
    sessions: int


def uses_of(database: Database, uid: str) -> dict[str, Uses]:
    """By the key's fingerprint. Raises StateDown."""
    query = (
        select(SESSIONS.c.started_at, SESSIONS.c.header)
        .where(SESSIONS.c.uid == uid)
        .order_by(SESSIONS.c.started_at.desc())
        .limit(LOOKED_AT)
    )
    found: dict[str, Uses] = {}
    with database.read() as connection:
        for started_at, header in connection.execute(query):
            for key in _keys_in(header):
                known = found.get(key)
                count = 1 if known is None else known.sessions + 1
                found[key] = Uses(started_at, started_at if known is None else known.last, count)
    return found


def _keys_in(header: str) -> Iterator[str]:
    try:
        document: Any = orjson.loads(header or "{}")
    except orjson.JSONDecodeError:
        return
    key = document.get("key_fingerprint") if isinstance(document, dict) else None
    if isinstance(key, str) and key:
        yield key

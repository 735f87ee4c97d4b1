"""Which recordings are in the bucket, and which could be: rows (L2). Blocks.

A recording may be uploaded when nobody will write to its file any more: its session has ended, or it died and somebody
has seen to what it left (`assembly.leftovers`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import or_, select, update

from bastion.state.database import Database
from bastion.state.rows import DELETED, ENDED, INCOMPLETE
from bastion.state.schema import RECORDINGS, SESSIONS

AT_ONCE: Final = 500
"""Ids in one question."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A recording whose file stays as it is: when its session ended, in seconds since the epoch."""

    session: str
    ended_at: float


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a recording is: `url` is s3://bucket/key, `version` the object's, `sha256` the file's in hex."""

    session: str
    url: str
    version: str
    size: int
    sha256: str


def ended(database: Database, sessions: Sequence[str]) -> dict[str, Ended]:
    """Which of these may be uploaded. Raises StateDown."""
    done = or_(
        SESSIONS.c.state == ENDED,
        (SESSIONS.c.state == INCOMPLETE) & (SESSIONS.c.reason != ""),
    )
    query = (
        select(SESSIONS.c.id, SESSIONS.c.started_at, SESSIONS.c.ended_at)
        .join_from(SESSIONS, RECORDINGS, RECORDINGS.c.session_id == SESSIONS.c.id)
        .where(done, RECORDINGS.c.state.in_((ENDED, INCOMPLETE)))
    )
    found: dict[str, Ended] = {}
    with database.read() as connection:
        for some in _some(sessions):
            for name, started, at in connection.execute(query.where(SESSIONS.c.id.in_(some))):
                found[name] = Ended(name, started if at is None else at)
    return found


def _some(sessions: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(sessions), AT_ONCE):
        yield sessions[start : start + AT_ONCE]


def mark_stored(database: Database, one: Stored, now: float) -> bool:
    """It is there and proved; False when its row says deleted, or is gone. Raises StateDown."""
    change = (
        update(RECORDINGS)
        .where(RECORDINGS.c.session_id == one.session, RECORDINGS.c.state != DELETED)
        .values(stored=one.url, stored_version=one.version, stored_at=now, sha256=one.sha256, size=one.size)
    )
    with database.write() as connection:
        return connection.execute(change).rowcount > 0


def stored_beginning(database: Database, prefix: str) -> list[Stored]:
    """Those in the bucket whose session's id begins so, deleted ones left out. Raises StateDown."""
    query = select(
        RECORDINGS.c.session_id,
        RECORDINGS.c.stored,
        RECORDINGS.c.stored_version,
        RECORDINGS.c.size,
        RECORDINGS.c.sha256,
    ).where(RECORDINGS.c.stored != "", RECORDINGS.c.state != DELETED)
    with database.read() as connection:
        found = connection.execute(query.where(RECORDINGS.c.session_id.startswith(prefix, autoescape=True)))
        return [Stored(*row) for row in found]

"""Which recordings are in the bucket, and which could be: rows (L2). Blocks.

A recording may be uploaded when nobody will write to its file any more: its session has ended, or it died and somebody
has seen to what it left (`assembly.leftovers`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import or_, select, update

from bastion.state.changes import SET, Change, Value
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
    """Where a recording is: `url` is s3://bucket/key, `version` the object's, `sha256` the file's in hex, two
    of them while it is being replaced: it is the one or the other."""

    session: str
    url: str
    version: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Holding:
    """A recording in the bucket, and whose it is. Times in seconds since the epoch; `node` is the gateway's name."""

    stored: Stored
    node: str
    identity: str
    target: str
    started_at: float
    ended_at: float | None


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


def known_files(database: Database) -> dict[str, tuple[str, str]]:
    """(state of the recording, where it is stored) of every session that has a row for one. Raises StateDown."""
    query = select(RECORDINGS.c.session_id, RECORDINGS.c.state, RECORDINGS.c.stored)
    with database.read() as connection:
        return {name: (state, stored) for name, state, stored in connection.execute(query)}


def stored_of(database: Database, session: str) -> Stored | None:
    """Where in a bucket the recording of this very session is; None: in none. Raises StateDown."""
    file = RECORDINGS.c
    query = select(file.session_id, file.stored, file.stored_version, file.size, file.sha256).where(
        file.session_id == session, file.stored != "", file.state != DELETED
    )
    with database.read() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else Stored(*row)


def stored_change(one: Stored, now: float) -> Change:
    """As `mark_stored`, to be written with others."""
    values: dict[str, Value] = {"session_id": one.session, "stored": one.url, "stored_version": one.version}
    values |= {"stored_at": now, "sha256": one.sha256, "size": one.size}
    return Change(SET, "recordings", values)


def stored_beginning(database: Database, prefix: str) -> list[Stored]:
    """Those in the bucket whose session's id begins so, deleted ones left out. Raises StateDown."""
    return [one.stored for one in holdings(database, prefix)]


def holdings(database: Database, prefix: str) -> list[Holding]:
    """The same, with whose they are, newest first. Raises StateDown."""
    file, session = RECORDINGS.c, SESSIONS.c
    place = (file.session_id, file.stored, file.stored_version, file.size, file.sha256)
    about = (file.node, session.identity, session.target, session.started_at, session.ended_at)
    query = (
        select(*place, *about)
        .join_from(RECORDINGS, SESSIONS, session.id == file.session_id)
        .where(file.stored != "", file.state != DELETED)
        .where(file.session_id.startswith(prefix, autoescape=True))
        .order_by(session.started_at.desc())
    )
    with database.read() as connection:
        rows = connection.execute(query).all()
    return [Holding(Stored(*row[:5]), row[5], row[6], row[7], row[8], row[9]) for row in rows]

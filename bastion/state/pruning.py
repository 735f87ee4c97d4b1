"""Recordings that go, and those that are held (L2). Blocks.

Invariants: a recording that is held or that somebody writes or uploads is never removed, whoever asks at the same
moment: the row is marked in the transaction that looks for a hold, the file is removed under its lock. What was removed
leaves a row, `deleted`, with size and SHA-256, and a line in the audit log, both before the file or the object goes. An
object that the bucket does not let go has its row back, and a line that says so.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Select, delete, func, insert, select, update

from bastion.recording.listing import Recordings
from bastion.state.checking import rebuild
from bastion.state.database import Database
from bastion.state.deletions import make_void
from bastion.state.retention import Going, Kept
from bastion.state.rows import DELETED, LIVE, SESSION
from bastion.state.schema import HOLDS, RECORDINGS, SESSIONS
from bastion.state.stored import Stored, stored_beginning

CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Hold:
    """One recording that nothing may delete."""

    session: str
    reason: str
    made_by: str
    made_at: float


@dataclass(frozen=True, slots=True)
class Removed:
    """One recording that went."""

    going: Going
    size: int
    sha256: str


class Stays(Exception):
    """A recording that was to go and does not: it is held by now, somebody writes it, or the bucket keeps it."""


@dataclass(frozen=True, slots=True)
class Objects:
    """What removes from the bucket. `check` raises Stays for what it would not give; `drop` deletes for good, and
    raises Stays when it was refused all the same; `refused` writes the audit line about that."""

    check: Callable[[Stored], None]
    drop: Callable[[Stored], None]
    refused: Callable[[Going, str], None]


def kept(
    database: Database,
    recordings: Recordings,
    node: str,
    labels: Callable[[str], Collection[str] | None],
) -> list[Kept]:
    """All recordings of this gateway that are there and have ended. Those without a row are given one first.

    `labels` are those of a target, None for one that is not known. Raises StateDown and OSError.
    """
    rebuild(database, recordings, node)
    query = (
        select(
            SESSIONS.c.id,
            SESSIONS.c.started_at,
            SESSIONS.c.ended_at,
            SESSIONS.c.identity,
            SESSIONS.c.target,
            RECORDINGS.c.size,
            (RECORDINGS.c.stored != "") & (RECORDINGS.c.node == node) & (RECORDINGS.c.state != DELETED),
        )
        .join_from(SESSIONS, RECORDINGS, RECORDINGS.c.session_id == SESSIONS.c.id)
        .where(SESSIONS.c.kind == SESSION, SESSIONS.c.state != LIVE)
    )
    files = dict(recordings.names())
    known: dict[str, Collection[str] | None] = {}
    with database.read() as connection:
        found = connection.execute(query).all()
    made = []
    for session, started, ended, identity, target, size, stored in found:
        if session in files or stored:
            if target not in known:
                known[target] = labels(target)
            end = started if ended is None else ended
            path = files.get(session, "")
            made.append(Kept(session, end, identity, target, known[target], size, path, bool(stored)))
    return made


def rows_kept(
    database: Database, labels: Callable[[str], Collection[str] | None], most: int
) -> dict[str, list[Kept]]:
    """Gateway -> recordings of it that have ended, as their rows are, for whoever only asks: the `most` that ended
    first, of all gateways together. Raises StateDown."""
    ended = func.coalesce(SESSIONS.c.ended_at, SESSIONS.c.started_at)
    about = SESSIONS.c.id, ended, SESSIONS.c.identity, SESSIONS.c.target, RECORDINGS.c.size
    query = (
        select(RECORDINGS.c.node, *about)
        .join_from(SESSIONS, RECORDINGS, RECORDINGS.c.session_id == SESSIONS.c.id)
        .where(SESSIONS.c.kind == SESSION, SESSIONS.c.state != LIVE, RECORDINGS.c.state != DELETED)
        .order_by(ended, SESSIONS.c.id)
        .limit(most)
    )
    made: dict[str, list[Kept]] = {}
    known: dict[str, Collection[str] | None] = {}
    with database.read() as connection:
        for node, session, end, identity, target, size in connection.execute(query):
            if target not in known:
                known[target] = labels(target)
            made.setdefault(node, []).append(Kept(session, end, identity, target, known[target], size, ""))
    return made


def holds(database: Database) -> dict[str, Hold]:
    """Every hold, by session. Raises StateDown."""
    with database.read() as connection:
        found = connection.execute(select(HOLDS)).all()
    return {row.session_id: Hold(row.session_id, row.reason, row.made_by, row.made_at) for row in found}


def hold(database: Database, one: Hold, tell: Callable[[], None]) -> bool:
    """Hold a recording, in the place of an earlier hold; what two people wanted to delete is void. False when it is
    deleted already. Raises StateDown.

    `tell` writes the audit line when nothing else can fail, and what it raises undoes the hold.
    """
    with database.write() as connection:
        row = connection.execute(_own(one.session)).first()
        if row is not None and row.state == DELETED:
            return False
        connection.execute(delete(HOLDS).where(HOLDS.c.session_id == one.session))
        connection.execute(
            insert(HOLDS).values(
                session_id=one.session, reason=one.reason, made_by=one.made_by, made_at=one.made_at
            )
        )
        make_void(connection, one.session, one.made_at)
        tell()
    return True


def _own(session: str) -> Select[str]:
    """The row of a recording, for this transaction alone: of a hold and a deletion at once the first one counts.

    SQLite has one writer at a time and leaves FOR UPDATE out.
    """
    return select(RECORDINGS.c.state).where(RECORDINGS.c.session_id == session).with_for_update()


def unhold(database: Database, session: str, tell: Callable[[], None]) -> bool:
    """Hold it no longer. False when nothing held it. `tell` as in `hold`. Raises StateDown."""
    with database.write() as connection:
        done = connection.execute(delete(HOLDS).where(HOLDS.c.session_id == session)).rowcount > 0
        if done:
            tell()
    return done


def remove(
    database: Database,
    recordings: Recordings,
    going: Going,
    by: str,
    now: float,
    tell: Callable[[Removed], None],
    objects: Objects | None = None,
    still: Callable[[Connection], bool] = lambda _: True,
) -> Removed:
    """Remove one recording, wherever it is. `tell` writes the audit line, and what it raises keeps it where it is;
    `still` is asked in the transaction that marks the row whether it is to go.

    Raises Stays, StateDown and OSError.
    """
    recording = going.recording
    stored = _stored(database, recording.session) if recording.stored else None
    with _held(recordings, recording.path) as fd:
        if stored is not None:
            if objects is None:
                raise Stays("it is in a bucket, and [recording.store] names none")
            objects.check(stored)
        if fd is None and stored is None:
            raise FileNotFoundError(errno.ENOENT, "it is gone")
        size, digest = _digest(fd) if fd is not None else _told_of(stored)
        removed = Removed(going, size, digest)
        with database.write() as connection:
            before = _mark(connection, removed, by, now)
            if not still(connection):
                raise Stays("somebody has kept it at the same moment")
            tell(removed)
        if stored is not None and objects is not None:
            _drop(database, going, stored, objects, before)
        if fd is not None:
            os.unlink(recordings.directory / recording.path)
    return removed


def _stored(database: Database, session: str) -> Stored | None:
    return next((one for one in stored_beginning(database, session) if one.session == session), None)


def _told_of(stored: Stored | None) -> tuple[int, str]:
    return (stored.size, stored.sha256) if stored is not None else (0, "")


def _drop(
    database: Database, going: Going, stored: Stored, objects: Objects, before: Mapping[str, object]
) -> None:
    try:
        objects.drop(stored)
    except Stays as refused:
        with database.write() as connection:
            connection.execute(
                update(RECORDINGS).where(RECORDINGS.c.session_id == stored.session).values(**before)
            )
            objects.refused(going, str(refused))
        raise


@contextmanager
def _held(recordings: Recordings, path: str) -> Iterator[int | None]:
    """The file, with its lock; None when there is none. Raises Stays when somebody has it, and OSError."""
    if not path:
        yield None
        return
    fd = os.open(recordings.directory / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Stays("it is being recorded or uploaded") from None
        yield fd
    finally:
        os.close(fd)


_MARKED: Final = ("state", "size", "sha256", "deleted_at", "deleted_by", "deleted_why")


def _mark(connection: Connection, removed: Removed, by: str, now: float) -> dict[str, object]:
    """The row says deleted; what it said before."""
    session = removed.going.recording.session
    connection.execute(_own(session)).first()
    columns = [RECORDINGS.c[name] for name in _MARKED]
    before = connection.execute(select(*columns).where(RECORDINGS.c.session_id == session)).mappings().first()
    held = select(HOLDS.c.session_id).where(HOLDS.c.session_id == session)
    if connection.execute(held).first() is not None:
        raise Stays("it is held")
    connection.execute(
        update(RECORDINGS)
        .where(RECORDINGS.c.session_id == session)
        .values(
            state=DELETED,
            size=removed.size,
            sha256=removed.sha256,
            deleted_at=now,
            deleted_by=by,
            deleted_why=removed.going.why,
        )
    )
    return dict(before or {})


def _digest(fd: int) -> tuple[int, str]:
    """(size, SHA-256) of what is removed, so that a copy of it can still be told from a forgery."""
    made, at = hashlib.sha256(), 0
    while data := os.pread(fd, CHUNK, at):
        made.update(data)
        at += len(data)
    return at, made.hexdigest()


def remove_empty_days(recordings: Recordings, now: float) -> None:
    """The folders of days before today in which nothing is left."""
    today = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")
    for folder in _days(recordings.directory, today):
        with suppress(OSError):  # something is in it
            folder.rmdir()


def _days(directory: Path, today: str) -> Iterator[Path]:
    for name in sorted(os.listdir(directory)):
        if len(name) == len(today) and name[:2].isdigit() and name < today:
            yield directory / name


def sums(going: Collection[Going]) -> Mapping[str, tuple[int, int]]:
    """Rule -> (recordings, bytes)."""
    found: dict[str, tuple[int, int]] = {}
    for one in going:
        count, size = found.get(one.why, (0, 0))
        found[one.why] = count + 1, size + one.recording.size
    return found

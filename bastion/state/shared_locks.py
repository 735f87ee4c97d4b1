"""The locks as the store has them now, which several gateways may share (L2). Blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError

from bastion.policy.lock_list import Gone
from bastion.policy.locks import Lock as LockInForce
from bastion.policy.locks import LockKind, value_of
from bastion.state.database import Database, StateDown
from bastion.state.lock_copy import write_copy
from bastion.state.lock_ends import prune, read_ends
from bastion.state.rows import Lock
from bastion.state.schema import LOCKS

_COLUMNS: Final = tuple(LOCKS.c[field.name] for field in fields(Lock))
_ROWS: Final = select(*_COLUMNS).order_by(LOCKS.c.kind, LOCKS.c.value)


def kept_locks(database: Database, now: float) -> list[Lock]:
    """All that nobody has taken away, those too that have expired. Raises StateDown."""
    with database.read() as connection:
        locks = _locks(_rows(connection))
        return read_ends(connection, now).alive(locks)


def load_kept(database: Database, folder: Path, now: float) -> list[Lock]:
    """The same for a gateway that starts; what is over is removed, the copy in `folder` follows. Raises StateDown."""
    with suppress(StateDown):
        prune(database, now)
    locks = kept_locks(database, now)
    with suppress(OSError):
        write_copy(folder, locks)
    return locks


def in_force(rows: Iterable[Lock]) -> tuple[LockInForce, ...]:
    """What they mean; what another version has put there and this one does not know is left there."""
    found = []
    for row in rows:
        try:
            kind = LockKind(row.kind)
            value = value_of(kind, row.value)
        except ValueError:
            continue
        found.append(LockInForce(kind, value, row.reason, row.made_by, row.made_at, row.until, row.uid))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Rows:
    """Another `mark` whenever the `locks`, or their ends, are others; `locks` is None when whoever asks has seen these.
    Some of them may be over, as `gone` says. Another `timeline` where another server has become the store, which may
    have lost the last of what the one before had; "" where nobody knows."""

    mark: str
    locks: list[Lock] | None
    timeline: str = ""
    gone: tuple[Gone, ...] = ()


def rows_since(database: Database, folder: Path, seen: str, now: float) -> Rows:
    """Those of now, unless they were `seen`. The copy in `folder` (`lock_copy`) follows. Raises StateDown: it is never
    what was known before."""
    with database.read() as connection:
        timeline = _timeline(connection)
        rows = _rows(connection)
        ends = read_ends(connection, now)
    mark = hashlib.sha256(repr((rows, ends.rows)).encode("utf-8", "replace")).hexdigest()
    if mark == seen:
        return Rows(mark, None, timeline)
    locks = _locks(rows)
    alive = ends.alive(locks)
    if ends.unfit or len(alive) < len(locks):
        with suppress(StateDown):
            prune(database, now)
    with suppress(OSError):
        write_copy(folder, alive)
    return Rows(mark, locks, timeline, ends.gone)


_TIMELINE: Final = text(
    "SELECT CASE WHEN pg_is_in_recovery() THEN '' ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END"
)
_WITHOUT: Final[set[str]] = set()
"""Servers that do not say it: what only looks like PostgreSQL."""


def _timeline(connection: Connection) -> str:
    """PostgreSQL counts one more each time a replica becomes the server."""
    url = str(connection.engine.url)
    if connection.dialect.name != "postgresql" or url in _WITHOUT:
        return ""
    try:
        with connection.begin_nested():
            return str(connection.execute(_TIMELINE).scalar() or "")
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        _WITHOUT.add(url)
        return ""


def _rows(connection: Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.execute(_ROWS)]


def _locks(rows: Iterable[tuple[Any, ...]]) -> list[Lock]:
    return [Lock(*row) for row in rows]

"""The locks as the store has them now, which several gateways may share (L2). Blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select

from bastion.policy.locks import Lock as LockInForce
from bastion.policy.locks import LockKind, value_of
from bastion.state.database import Database
from bastion.state.lock_copy import write_copy
from bastion.state.rows import Lock
from bastion.state.schema import LOCKS

_COLUMNS: Final = tuple(LOCKS.c[field.name] for field in fields(Lock))
_ROWS: Final = select(*_COLUMNS).order_by(LOCKS.c.kind, LOCKS.c.value)


def kept_locks(database: Database) -> list[Lock]:
    """All of them, those too that have expired. Raises StateDown."""
    return _locks(_rows(database))


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


def rows_since(database: Database, folder: Path, seen: str) -> tuple[str, list[Lock] | None]:
    """(mark, locks): another mark whenever they are others; None when whoever asks has `seen` these. The copy in
    `folder` (`lock_copy`) follows. Raises StateDown: it is never what was known before."""
    rows = _rows(database)
    mark = hashlib.sha256(repr(rows).encode("utf-8", "replace")).hexdigest()
    if mark == seen:
        return mark, None
    locks = _locks(rows)
    with suppress(OSError):
        write_copy(folder, locks)
    return mark, locks


def _rows(database: Database) -> list[tuple[Any, ...]]:
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(_ROWS)]


def _locks(rows: Iterable[tuple[Any, ...]]) -> list[Lock]:
    return [Lock(*row) for row in rows]

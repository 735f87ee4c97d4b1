"""The locks of a store that several gateways share, as it has them now (L2). Blocks."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Final

from sqlalchemy import select

from bastion.state.database import Database
from bastion.state.lock_copy import write_copy
from bastion.state.rows import Lock
from bastion.state.schema import LOCKS

_COLUMNS: Final = tuple(LOCKS.c[field.name] for field in fields(Lock))
_ROWS: Final = select(*_COLUMNS).order_by(LOCKS.c.kind, LOCKS.c.value)


def rows_since(database: Database, folder: Path, seen: str) -> tuple[str, list[Lock] | None]:
    """(mark, locks): another mark whenever they are others; None when whoever asks has `seen` these. The copy in
    `folder` (`lock_copy`) follows. Raises StateDown: it is never what was known before."""
    with database.read() as connection:
        rows = connection.execute(_ROWS).all()
    mark = hashlib.sha256(repr([tuple(row) for row in rows]).encode("utf-8", "replace")).hexdigest()
    if mark == seen:
        return mark, None
    locks = [Lock(*row) for row in rows]
    with suppress(OSError):
        write_copy(folder, locks)
    return mark, locks

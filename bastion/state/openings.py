"""That the break-glass accounts were opened, or closed again, by somebody: kept over a restart (L2). Blocks.

A row for each gateway, and the newest of all counts for all of them. A copy lies in a file beside the store: an
emergency is when the store may be away as well. Invariants: the file is whole or not there; what nobody knows is
closed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from sqlalchemy import select

from bastion.state import json_file
from bastion.state.changes import PUT, Change
from bastion.state.database import Database
from bastion.state.schema import BREAK_GLASS

FILE: Final = "break-glass.json"
SIZE_MAX: Final = 16 << 10
"""Bytes of the file: a reason has 200 characters."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Somebody has opened them until then, or closed them (`until` is 0). Times are seconds since the epoch."""

    made_at: float
    until: float
    reason: str
    made_by: str


NEVER: Final = Opened(0.0, 0.0, "", "")
"""Nobody has."""

_COLUMNS: Final = tuple(BREAK_GLASS.c[field.name] for field in fields(Opened))


def opened(node: str, what: Opened) -> Change:
    """The row of that gateway."""
    return Change(PUT, BREAK_GLASS.name, {"node": node, **asdict(what)})


def newest(database: Database, folder: Path) -> Opened:
    """What was said last, here or at another gateway of the store; it is copied. Raises StateDown."""
    with database.read() as connection:
        rows = connection.execute(select(*_COLUMNS)).all()
    here = read_copy(folder)  # its row may be owed still
    last = max([here, *(Opened(*row) for row in rows)], key=lambda one: one.made_at)
    if last != here:
        with suppress(OSError):
            write_copy(folder, last)
    return last


def read_copy(folder: Path) -> Opened:
    """What was known last; NEVER where that is nothing."""
    try:
        document = json_file.read(folder / FILE, SIZE_MAX)
    except (OSError, ValueError):
        return NEVER
    match document:
        case {
            "made_at": float(made_at),
            "until": float(until),
            "reason": str(reason),
            "made_by": str(made_by),
        }:
            return Opened(made_at, until, reason, made_by)
    return NEVER


def write_copy(folder: Path, what: Opened) -> None:
    """That is what is known now. Raises OSError."""
    json_file.write(folder / FILE, asdict(what))

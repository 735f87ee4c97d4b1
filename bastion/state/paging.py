"""The index read a page at a time, newest first, for whoever looks at a list (L2). Blocks.

A page begins where the one before ended (keyset), so that the thousandth costs what the first does. No folder is listed
and no file that has ended is opened; what a file alone can tell of a session that runs is asked of it. Invariant: one
page looks at MOST_LOOKED rows at most, however rare what is wanted is, and says where it stopped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, or_, select

from bastion.recording.listed import Listed, Wanted, of_entry, within
from bastion.recording.listing import Recordings
from bastion.recording.ran import unpack
from bastion.state.database import Database
from bastion.state.index import MORE, SHOWN, chosen, of_row
from bastion.state.rows import DELETED, TUNNEL
from bastion.state.schema import RECORDINGS, SESSIONS

STEP: Final = 2000
"""Rows that are asked for at a time where a database cannot say which fit."""

MOST_LOOKED: Final = 20_000
"""Rows that one page looks at there: a tenth of a second."""

_CURSOR: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,17})?)~([a-z2-7]{16}(?:\.[0-9]{1,10})?)")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last row of a page: what comes next is older, or as old with an id before it."""

    started_at: float
    id: str

    def __str__(self) -> str:
        return f"{self.started_at!r}~{self.id}"

    @classmethod
    def of(cls, text: str) -> Cursor | None:
        """`str` read back; None for what is none."""
        found = _CURSOR.fullmatch(text)
        return None if found is None else cls(float(found[1]), found[2])


@dataclass(frozen=True, slots=True)
class PageOf:
    """Rows, and where to go on; None: there are no more. `looked` rows were looked at."""

    rows: tuple[Listed, ...]
    after: Cursor | None
    looked: int


@dataclass(frozen=True, slots=True)
class Place:
    """Whose recordings are here: the folder, and the name of the gateway that writes into it."""

    recordings: Recordings
    node: str


Among = Callable[[Connection], ColumnElement[bool] | None]
"""What else chooses rows of `sessions`; None: nothing."""


def page_of(
    database: Database,
    place: Place,
    wanted: Wanted,
    kind: str,
    after: Cursor | None,
    size: int,
    now: float,
    among: Among = lambda _: None,
) -> PageOf:
    """Up to `size` that are wanted, behind `after`. `kind`: with a channel of this kind (`recording.ran.KINDS`), "" for
    any. Raises StateDown."""
    step = STEP if wanted.rule or wanted.source or kind else size + 1
    names: list[str] = []
    looked = 0
    with database.read() as connection:
        where = among(connection)
        while looked < MOST_LOOKED:
            found = connection.execute(_query(wanted, after, where).limit(step)).all()
            for row in found:
                if not _fits(row, wanted, kind):
                    continue
                if len(names) == size:
                    return PageOf(_whole(connection, names, place, wanted, now), after, looked)
                names.append(row[0])
                after = Cursor(row[1], row[0])
            looked += len(found)
            if len(found) < step:
                after = None
                break
            after = Cursor(found[-1][1], found[-1][0])
        return PageOf(_whole(connection, names, place, wanted, now), after, looked)


def one_of(database: Database, place: Place, session: str, now: float) -> Listed | None:
    """One row with all that is known of it (`Listed.more`), or what its file says: the row of a session that has just
    begun comes a second later. None: there is neither. Raises StateDown."""
    with database.read() as connection:
        found = connection.execute(select(*SHOWN, *MORE).where(SESSIONS.c.id == session)).all()
        if found:
            return next(iter(_listed(connection, found, place, now)))
    try:
        entry = place.recordings.entry(place.recordings.path_of(session))
    except OSError:
        return None
    return None if entry is None else of_entry(entry)


_NARROW: Final = (SESSIONS.c.id, SESSIONS.c.started_at, SESSIONS.c.source, SESSIONS.c.rules, SESSIONS.c.ran)
"""Of each row that is looked at: headers are read of those alone that are shown."""


def _query(wanted: Wanted, after: Cursor | None, where: ColumnElement[bool] | None) -> Select[Any]:
    table = SESSIONS.c
    query = chosen(wanted, select(*_NARROW))
    if where is not None:
        query = query.where(where)
    if wanted.opaque:
        query = query.where(or_(table.opaque > 0, table.kind == TUNNEL))
    if after is not None:
        older = or_(table.started_at < after.started_at, table.id < after.id)
        query = query.where(and_(table.started_at <= after.started_at, older))
    return query.order_by(table.started_at.desc(), table.id.desc())


def _fits(row: Sequence[Any], wanted: Wanted, kind: str) -> bool:
    """What a database cannot say of a row of _NARROW."""
    _, _, source, rules, ran = row
    return (
        (not wanted.rule or wanted.rule in rules.split(","))
        and (wanted.source is None or within(source, wanted.source))
        and (not kind or (f'"{kind}"' in ran and any(asked.kind == kind for asked in unpack(ran) or ())))
    )


def _whole(
    connection: Connection, names: Sequence[str], place: Place, wanted: Wanted, now: float
) -> tuple[Listed, ...]:
    """These rows as a listing has them; a file may say that one is live no more."""
    table = SESSIONS.c
    query = select(*SHOWN, table.source, table.rules, table.opaque).where(table.id.in_(names))
    found = connection.execute(query.order_by(table.started_at.desc(), table.id.desc())).all()
    return tuple(one for one in _listed(connection, found, place, now) if wanted.takes(one))


def _listed(connection: Connection, found: Sequence[Sequence[Any]], place: Place, now: float) -> list[Listed]:
    """The rows as a listing has them, with where their recordings are."""
    names = [row[0] for row in found]
    files: dict[str, str] = {}
    gone: set[str] = set()
    kept = RECORDINGS.c
    asked = select(kept.session_id, kept.node, kept.path, kept.state, kept.stored).where(
        kept.session_id.in_(names)
    )
    for name, node, path, state, stored in connection.execute(asked):
        if state == DELETED:
            gone.add(name)
        elif node == place.node and path and (place.recordings.directory / path).exists():
            files[name] = path
        elif stored:
            files[name] = stored
    return [_row(tuple(row), place, files, gone, now) for row in found]


def _row(row: tuple[Any, ...], place: Place, files: dict[str, str], gone: set[str], now: float) -> Listed:
    whole = len(row) == len(SHOWN) + len(MORE)
    one = of_row(row if whole else row[: len(SHOWN)], place.recordings, place.node, files, gone, now)
    if whole or one.more is not None:  # a file has told of it
        return one
    source, rules, opaque = row[len(SHOWN) :]
    return one._replace(source=source, rules=rules, opaque=opaque)

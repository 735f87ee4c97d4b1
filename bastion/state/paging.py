"""The index read a page at a time, newest first, for whoever looks at a list (L2). Blocks.

A page begins where the one before ended (keyset), so that the thousandth costs what the first does. No folder is listed
and no file that has ended is opened; what a file alone can tell of a session that runs is asked of it. Invariant: one
page looks at MOST_LOOKED rows at most, however rare what is wanted is, and says where it stopped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
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

CANDIDATES: Final = 500
"""Sessions whose rows are asked for at a time where something beside the database knows which may fit."""

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


Newest = Callable[[Wanted, tuple[float, str] | None], Iterator[tuple[float, str]]]


@dataclass(frozen=True, slots=True)
class Known:
    """What something beside the database knows of sessions. `takes`: is the one with this id one that is looked for?
    That is the last word. `newest`: begin and id of all that it may take, the newest first, behind a place; some of
    those that are not wanted may be left out. None: they are too many to be led to."""

    takes: Callable[[str], bool]
    newest: Newest | None


def page_of(
    database: Database,
    place: Place,
    wanted: Wanted,
    kind: str,
    after: Cursor | None,
    size: int,
    now: float,
    among: Among = lambda _: None,
    known: Known | None = None,
) -> PageOf:
    """Up to `size` that are wanted, behind `after`. `kind`: with a channel of this kind (`recording.ran.KINDS`), "" for
    any. `known` chooses too: where it can and `among` does not it leads the way, and no other row is read. Raises
    StateDown."""
    names: list[str] = []
    looked, end = 0, after
    with database.read() as connection:
        where = among(connection)
        if known is not None and known.newest is not None and where is None:
            batches = _led(connection, wanted, after, known.newest)
        else:
            step = STEP if wanted.rule or wanted.source or kind or known is not None else size + 1
            batches = _walked(connection, wanted, after, where, step)
        for found, count, behind in batches:
            for row in found:
                if not _fits(row, wanted, kind) or (known is not None and not known.takes(row[0])):
                    continue
                if len(names) == size:
                    return PageOf(_whole(connection, names, place, wanted, now), after, looked)
                names.append(row[0])
                after = Cursor(row[1], row[0])
            looked, end = looked + count, behind
            if looked >= MOST_LOOKED:
                break
        return PageOf(_whole(connection, names, place, wanted, now), end, looked)


Batch = tuple[Sequence[Sequence[Any]], int, Cursor | None]
"""Rows of _NARROW, how many were looked at for them, and where to go on; None: there are no more."""


def _walked(
    connection: Connection,
    wanted: Wanted,
    after: Cursor | None,
    where: ColumnElement[bool] | None,
    step: int,
) -> Iterator[Batch]:
    """All rows that the database takes, `step` at a time."""
    while True:
        found = connection.execute(_query(wanted, after, where).limit(step)).all()
        after = Cursor(found[-1][1], found[-1][0]) if len(found) == step else None
        yield found, len(found), after
        if after is None:
            return


def _led(connection: Connection, wanted: Wanted, after: Cursor | None, newest: Newest) -> Iterator[Batch]:
    """Those rows that are named."""
    candidates = newest(wanted, None if after is None else (after.started_at, after.id))
    while True:
        some = list(islice(candidates, CANDIDATES))
        chosen = SESSIONS.c.id.in_([name for _, name in some])
        found = connection.execute(_query(wanted, None, chosen)).all() if some else []
        after = Cursor(*some[-1]) if len(some) == CANDIDATES else None
        yield found, len(some), after
        if after is None:
            return


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

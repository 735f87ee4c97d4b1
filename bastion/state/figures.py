"""Figures of a while for an overview: how many sessions, of whom, where to, what is kept (L2). Blocks.

Invariant: each question looks at the rows of that while by an index, or at one table once, and answers with a bounded
number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, func, select

from bastion.state.database import Database
from bastion.state.rows import TUNNEL
from bastion.state.schema import FINDINGS, RECORDINGS, SESSIONS

TOP: Final = 10
"""Rows of each list: the largest."""


@dataclass(frozen=True, slots=True)
class Place:
    """A destination of tunnels, or somebody: how often, and how many bytes in both directions."""

    name: str
    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Kept:
    """Recordings in one state; `stored` are in the bucket. `bytes` of the files as far as they are known."""

    state: str
    stored: bool
    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Figures:
    """`begun`: (beginning of the step in seconds since the epoch, sessions and tunnels that began in it); `alerts`:
    (detection, how many) that are not muted."""

    begun: tuple[tuple[float, int], ...]
    people: tuple[Place, ...]
    destinations: tuple[Place, ...]
    recordings: tuple[Kept, ...]
    alerts: tuple[tuple[str, int], ...]


def figures_of(database: Database, since: float, step: float, steps: int) -> Figures:
    """`steps` of `step` seconds each, from `since` on. Raises StateDown."""
    with database.read() as connection:
        return Figures(
            _begun(connection, since, step, steps),
            _people(connection, since),
            _destinations(connection, since),
            _recordings(connection),
            _alerts(connection, since),
        )


def _begun(connection: Connection, since: float, step: float, steps: int) -> tuple[tuple[float, int], ...]:
    """A count of each step: the two databases round in different ways, and an index counts as quickly."""
    at = SESSIONS.c.started_at
    made = []
    for number in range(steps):
        begin = since + number * step
        inside = (at >= begin) & (at < begin + step)
        count = connection.execute(select(func.count()).select_from(SESSIONS).where(inside)).scalar_one()
        made.append((begin, count))
    return tuple(made)


_BYTES: Final = func.coalesce(func.sum(SESSIONS.c.bytes_in + SESSIONS.c.bytes_out), 0)


def _top(connection: Connection, *names: Any, where: Any) -> list[Any]:
    counted = func.count().label("count")
    query = select(*names, counted, _BYTES.label("bytes")).where(where).group_by(*names)
    return list(connection.execute(query.order_by(_BYTES.desc(), counted.desc(), *names).limit(TOP)))


def _people(connection: Connection, since: float) -> tuple[Place, ...]:
    rows = _top(connection, SESSIONS.c.identity, where=SESSIONS.c.started_at >= since)
    return tuple(Place(name, count, int(size)) for name, count, size in rows)


def _destinations(connection: Connection, since: float) -> tuple[Place, ...]:
    own = SESSIONS.c
    here = (own.started_at >= since) & (own.kind == TUNNEL)
    rows = _top(connection, own.target, own.port, where=here)
    return tuple(Place(f"{host}:{port}", count, int(size)) for host, port, count, size in rows)


def _recordings(connection: Connection) -> tuple[Kept, ...]:
    """All there are, whenever they were made: what is kept is no matter of a while."""
    own = RECORDINGS.c
    stored = own.stored != ""
    query = select(own.state, stored, func.count(), func.coalesce(func.sum(own.size), 0))
    rows = connection.execute(query.group_by(own.state, stored).order_by(own.state, stored)).all()
    return tuple(Kept(state, bool(away), count, int(size)) for state, away, count, size in rows)


def _alerts(connection: Connection, since: float) -> tuple[tuple[str, int], ...]:
    own = FINDINGS.c
    counted = func.count().label("count")
    query = (
        select(own.kind, counted)
        .where(own.at >= since, own.level == "alert", own.mute == "")
        .group_by(own.kind)
        .order_by(counted.desc(), own.kind)
    )
    return tuple((kind, count) for kind, count in connection.execute(query.limit(TOP * 2)))

"""The index read back: sessions and tunnels, newest first, for commands (L2). Blocks.

A row is what the gateway knew; a file is what there is. Where a file can tell more (a session that runs, a recording
that the index does not know) it is asked, so that a listing made from the index says what one made from the files does.
Files that have ended are not opened: 100,000 sessions are listed in a second, and damage is found by
`bastion state check`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlalchemy import Select, or_, select

from bastion.recording.listed import Listed, Wanted, of_entry
from bastion.recording.listing import SCHEME, Recordings, Unreadable
from bastion.state.database import Database
from bastion.state.rows import DELETED, INCOMPLETE, LIVE, SESSION, TUNNEL
from bastion.state.schema import RECORDINGS, SESSIONS

MISSING: Final = "missing"
"""The state of a session whose row is there and whose file is not, although nobody is known to have deleted it."""

SHOWN: Final = (
    SESSIONS.c.id,
    SESSIONS.c.kind,
    SESSIONS.c.state,
    SESSIONS.c.started_at,
    SESSIONS.c.ended_at,
    SESSIONS.c.identity,
    SESSIONS.c.login,
    SESSIONS.c.target,
    SESSIONS.c.port,
    SESSIONS.c.bytes_in + SESSIONS.c.bytes_out,
    SESSIONS.c.node,
    SESSIONS.c.ran,
)
MORE: Final = (
    SESSIONS.c.source,
    SESSIONS.c.rules,
    SESSIONS.c.opaque,
    SESSIONS.c.reason,
    SESSIONS.c.summary,
    SESSIONS.c.config,
    SESSIONS.c.header,
    # a column and not a join: without headers a listing reads one table
    select(RECORDINGS.c.size).where(RECORDINGS.c.session_id == SESSIONS.c.id).scalar_subquery(),
)


def chosen(wanted: Wanted, query: Select[Any]) -> Select[Any]:
    """What a database can leave out; `Wanted.takes` has the last word."""
    table = SESSIONS.c
    if wanted.tunnels is not None:
        query = query.where(table.kind == (TUNNEL if wanted.tunnels else SESSION))
    if wanted.until is not None:
        query = query.where(table.started_at < wanted.until)
    if wanted.since is not None:
        query = query.where(or_(table.ended_at.is_(None), table.ended_at >= wanted.since))
    if wanted.user:
        query = query.where(table.identity == wanted.user)
    if wanted.target:
        query = query.where(table.target.in_((wanted.target, wanted.target.rpartition(":")[0])))
    if wanted.login:
        query = query.where(table.login == wanted.login)
    if wanted.live:
        query = query.where(table.state == LIVE)
    if wanted.incomplete:
        query = query.where(table.state.in_((LIVE, INCOMPLETE)))
    return query


def sessions_beginning(database: Database, prefix: str) -> list[str]:
    """The ids of sessions that begin so, tunnels left out. Raises StateDown."""
    query = select(SESSIONS.c.id).where(SESSIONS.c.kind == SESSION)
    with database.read() as connection:
        return list(
            connection.execute(query.where(SESSIONS.c.id.startswith(prefix, autoescape=True))).scalars()
        )


@dataclass(frozen=True, slots=True)
class Known:
    """What the index says of one session; `recording` is the state of its file, `started_at` in seconds since the
    epoch."""

    identity: str
    target: str
    login: str
    started_at: float
    recording: str


def known_sessions(database: Database, names: Sequence[str]) -> dict[str, Known]:
    """Those of some sessions that have a row, by id; tunnels have no recording. Raises StateDown."""
    own, file = SESSIONS.c, RECORDINGS.c
    query = select(own.id, own.identity, own.target, own.login, own.started_at, file.state).join_from(
        SESSIONS, RECORDINGS, file.session_id == own.id
    )
    with database.read() as connection:
        found = connection.execute(query.where(own.id.in_(names)))
        return {row[0]: Known(*row[1:]) for row in found}


def listed(
    database: Database,
    recordings: Recordings,
    node: str,
    wanted: Wanted,
    now: float,
    whole: bool,
    unreadable: Unreadable | None = None,
) -> Iterator[Listed]:
    """All that are wanted, newest first, those too of which there is a file and no row. Raises StateDown.

    `node` is the gateway whose recordings these are: rows of others are taken as they are. `whole`: headers too.
    """
    whole = whole or bool(wanted.rule or wanted.source or wanted.opaque)
    columns = (*SHOWN, *MORE) if whole else SHOWN
    query = chosen(wanted, select(*columns)).order_by(SESSIONS.c.started_at.desc())
    with database.read() as connection:
        rows = connection.execute(query).all()
        gone = set(
            connection.execute(select(RECORDINGS.c.session_id).where(RECORDINGS.c.state == DELETED)).scalars()
        )
        stored = select(RECORDINGS.c.session_id, RECORDINGS.c.stored).where(
            RECORDINGS.c.stored != "", RECORDINGS.c.state != DELETED
        )
        away: dict[str, str] = {row.session_id: row.stored for row in connection.execute(stored)}
        known = {row[0] for row in rows}
        if not wanted.everything:
            known.update(connection.execute(select(SESSIONS.c.id)).scalars())
    files = dict(recordings.names(None, unreadable))
    found = (_of_file(recordings, path) for name, path in files.items() if name not in known)
    strangers = [one for one in found if one is not None]
    strangers.sort(key=lambda one: one.started_at)
    places = away | files
    told = _merged((of_row(row, recordings, node, places, gone, now) for row in rows), strangers)
    return told if wanted.everything else filter(wanted.takes, told)


def _merged(rows: Iterator[Listed], strangers: list[Listed]) -> Iterator[Listed]:
    """Newest first; `strangers` stand in the order of their times."""
    for one in rows:
        while strangers and strangers[-1].started_at > one.started_at:
            yield strangers.pop()
        yield one
    yield from reversed(strangers)


def of_row(
    row: Sequence[Any],
    recordings: Recordings,
    node: str,
    files: Mapping[str, str],
    gone: Collection[str],
    now: float,
) -> Listed:
    """A row of SHOWN, or of SHOWN and MORE, as a listing has it. `files`: session -> where its recording is; `gone`:
    those that were deleted."""
    name, kind, state, started, ended, identity, login, target, port, moved, writer, ran, *more = row
    path = files.get(name, "")
    if state == LIVE and path and not path.startswith(SCHEME):
        told = _of_file(recordings, path)
        if told is not None and told.state != "damaged":
            return told
    if name in gone:
        state = DELETED
    elif not path and kind == SESSION and writer == node:
        state = MISSING
    if state == INCOMPLETE:
        state = "truncated"
    if ended is None:
        ended = now if state == LIVE else started
    if kind == TUNNEL:
        target = f"{target}:{port}"
    took = ended - started if ended > started else 0.0
    one = Listed(name, state, started, identity, login, target, took, moved, path, kind, ran)
    if not more:
        return one
    source, rules, opaque, *rest = more
    return one._replace(source=source, rules=rules, opaque=opaque, more=_more(kind, writer, opaque, *rest))


def _more(
    kind: str, node: str, opaque: int, reason: str, summary: str, config: str, header: str, size: int | None
) -> dict[str, Any]:
    return {
        **(orjson.loads(header) if header else {}),
        "kind": kind,
        "node": node,
        "config": config,
        "summary": orjson.loads(summary) if summary else {},
        "reason": reason,
        "opaque": opaque,
        "file_size": size or 0,
    }


def _of_file(recordings: Recordings, path: str) -> Listed | None:
    entry = recordings.entry(recordings.directory / path)
    return None if entry is None else of_entry(entry)

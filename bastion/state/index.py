"""The index read back: sessions and tunnels, newest first, for commands (L2). Blocks.

A row is what the gateway knew; a file is what there is. Where a file can tell more (a session that runs, a recording
that the index does not know) it is asked, so that a listing made from the index says what one made from the files does.
Files that have ended are not opened: 100,000 sessions are listed in a second, and damage is found by
`bastion state check`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import Select, select

from bastion.recording.listing import Recordings, Unreadable
from bastion.state.database import Database
from bastion.state.rows import DELETED, INCOMPLETE, LIVE, SESSION, TUNNEL
from bastion.state.schema import RECORDINGS, SESSIONS

MISSING: Final = "missing"
"""The state of a session whose row is there and whose file is not, although nobody is known to have deleted it."""

DAY: Final = 86400.0

_SHOWN: Final = (
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
)
_MORE: Final = (
    SESSIONS.c.reason,
    SESSIONS.c.opaque,
    SESSIONS.c.summary,
    SESSIONS.c.config,
    SESSIONS.c.header,
    # a column and not a join: without headers a listing reads one table
    select(RECORDINGS.c.size).where(RECORDINGS.c.session_id == SESSIONS.c.id).scalar_subquery(),
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows. `since` is seconds since the epoch; None and "" choose nothing."""

    since: float | None = None
    user: str = ""
    target: str = ""
    tunnels: bool = False

    @property
    def narrow(self) -> bool:
        """Rows are left out whose files stand in the same folders."""
        return bool(self.user or self.target or self.since is not None)

    def all_of_these_days(self) -> Select[tuple[str]]:
        """The ids of all sessions that may have a file in a folder that is looked into."""
        query = select(SESSIONS.c.id).where(SESSIONS.c.kind == SESSION)
        return query if self.since is None else query.where(SESSIONS.c.started_at >= self.since - DAY)

    def chosen(self, query: Select[Any]) -> Select[Any]:
        if not self.tunnels:
            query = query.where(SESSIONS.c.kind == SESSION)
        if self.since is not None:
            query = query.where(SESSIONS.c.started_at >= self.since)
        if self.user:
            query = query.where(SESSIONS.c.identity == self.user)
        if self.target:
            query = query.where(SESSIONS.c.target == self.target)
        return query


class Listed(NamedTuple):
    """One session or tunnel. `state` is as `recording.listing` says it, or `deleted`, or MISSING; times are in seconds.

    A tuple, and not a dataclass: there may be 100,000 of them.
    """

    id: str
    state: str
    started_at: float
    identity: str
    login: str
    target: str
    duration: float
    bytes: int
    path: str = ""
    more: Mapping[str, Any] | None = None  # what only --json tells


def sessions_beginning(database: Database, prefix: str) -> list[str]:
    """The ids of sessions that begin so, tunnels left out. Raises StateDown."""
    query = select(SESSIONS.c.id).where(SESSIONS.c.kind == SESSION)
    with database.read() as connection:
        return list(
            connection.execute(query.where(SESSIONS.c.id.startswith(prefix, autoescape=True))).scalars()
        )


def listed(
    database: Database,
    recordings: Recordings,
    node: str,
    wanted: Wanted,
    now: float,
    whole: bool,
    unreadable: Unreadable | None = None,
) -> Iterator[Listed]:
    """All rows that are wanted, newest first, and the recordings that have none. Raises StateDown.

    `node` is the gateway whose recordings these are: rows of others are taken as they are. `whole`: headers too.
    """
    columns = (*_SHOWN, *_MORE) if whole else _SHOWN
    query = wanted.chosen(select(*columns)).order_by(SESSIONS.c.started_at.desc())
    with database.read() as connection:
        rows = connection.execute(query).all()
        gone = set(
            connection.execute(select(RECORDINGS.c.session_id).where(RECORDINGS.c.state == DELETED)).scalars()
        )
        known = {row[0] for row in rows}
        if wanted.narrow:
            known.update(connection.execute(wanted.all_of_these_days()).scalars())
    files = dict(recordings.names(wanted.since, unreadable))
    found = (_of_file(recordings, path) for name, path in files.items() if name not in known)
    strangers = [entry for entry in found if entry is not None and _is_wanted(entry, wanted)]
    strangers.sort(key=lambda entry: entry.started_at)
    for row in rows:
        one = _of_row(row, recordings, node, files, gone, now)
        while strangers and strangers[-1].started_at > one.started_at:
            yield strangers.pop()
        yield one
    yield from reversed(strangers)


def _of_row(
    row: Sequence[Any],
    recordings: Recordings,
    node: str,
    files: Mapping[str, str],
    gone: Collection[str],
    now: float,
) -> Listed:
    name, kind, state, started, ended, identity, login, target, port, moved, writer, *more = row
    path = files.get(name, "")
    if state == LIVE and path:
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
    told_more = _more(kind, writer, *more) if more else None
    return Listed(name, state, started, identity, login, target, took, moved, path, told_more)


def _more(
    kind: str, node: str, reason: str, opaque: int, summary: str, config: str, header: str, size: int | None
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
    if entry is None:
        return None
    header = entry.header
    more = {
        **header.document(),
        "kind": SESSION,
        "problem": entry.problem,
        "reason": entry.reason,
        "opaque": entry.opaque,
        "file_size": entry.size,
    }
    return Listed(
        entry.path.stem,
        entry.state,
        header.started_at,
        header.identity,
        header.login,
        header.target,
        entry.duration,
        entry.bytes,
        path,
        more,
    )


def _is_wanted(entry: Listed, wanted: Wanted) -> bool:
    if wanted.since is not None and 0 < entry.started_at < wanted.since:
        return False
    if wanted.user and entry.identity != wanted.user:
        return False
    return not wanted.target or entry.target == wanted.target

"""What processes that died have left to others: rows owed, and sessions whose end nobody wrote (L2). Blocks.

Invariant: after `adopt` has returned, no row of this folder's processes says `live` unless its process lives, and no
row that a dead process owed is missing. Any process may do it at any time, several at once too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

from sqlalchemy import Row, select

from bastion.recording.listing import Recordings
from bastion.state.changes import SET, BadChange, Change, apply, read_line
from bastion.state.database import Database
from bastion.state.journal import left_over, living, owed_lines
from bastion.state.rows import (
    INCOMPLETE,
    LIVE,
    SESSION,
    Moved,
    Writer,
    ending_of,
    session_ended,
    session_started,
    tunnel_ended,
)
from bastion.state.schema import RECORDINGS, SESSIONS

AT_ONCE: Final = 64
"""Lines of a dead process's journal in one transaction, so that others can write between two."""


LAST_MOMENT: Final = 120.0
"""Seconds before a dead journal was written last in which its process may have made a file without a row."""

DAY: Final = 86400.0


@dataclass(frozen=True, slots=True)
class Adopted:
    """What came of it: changes written, lines that were none, rows whose session had died with its process."""

    written: int = 0
    bad: int = 0
    ended: int = 0


def adopt(database: Database, folder: Path, home: str, recordings: Recordings, node: str) -> Adopted:
    """Write what is left over in `folder`, and end what has died. `home` is what this folder's instances begin with,
    `node` the gateway whose recordings these are.

    Raises StateDown, and OSError for the folder; then the rest is still there for the next time.
    """
    owed = write_owed(database, folder, recordings, node)
    # Whose process lives is asked again: one may have begun meanwhile, and noted that a session has.
    return replace(owed, ended=owed.ended + _end_the_dead(database, home, living(folder), recordings))


def write_owed(database: Database, folder: Path, recordings: Recordings, node: str) -> Adopted:
    """The first half: what is left over is written. For who cannot wait until each session that died is looked at."""
    found, _ = left_over(folder)
    written = bad = added = 0
    try:
        for one in found:
            lines = one.lines()
            while batch := list(islice(lines, AT_ONCE)):
                changes = list(_readable(batch))
                bad += len(batch) - len(changes)
                if changes:
                    with database.write() as connection:
                        apply(connection, changes)
                written += len(changes)
        if found:
            since = min(one.written_at for one in found) - LAST_MOMENT
            added = _add_missing(database, recordings, node, since)
        for one in found:
            one.done()
    finally:
        for one in found:
            one.close()
    return Adopted(written, bad, added)


def without_end(database: Database, node: str, folder: Path) -> list[str]:
    """Sessions whose process died, whose recordings have no end, and of which nothing says why, nor is about to: an
    elder that lives may owe it still. Raises StateDown, and OSError for the folder."""
    owed = _ends_owed(
        folder
    )  # before the store is asked: what was owed then, and is not now, is in the store
    wanted = (
        select(SESSIONS.c.id)
        .join_from(SESSIONS, RECORDINGS, RECORDINGS.c.session_id == SESSIONS.c.id)
        .where(SESSIONS.c.state == INCOMPLETE, SESSIONS.c.kind == SESSION, SESSIONS.c.reason == "")
        .where(RECORDINGS.c.state == INCOMPLETE, RECORDINGS.c.node == node)
        .order_by(SESSIONS.c.started_at)
    )
    with database.read() as connection:
        return [one for one in connection.execute(wanted).scalars() if one not in owed]


def give_up(database: Database, node: str) -> int:
    """Nothing of `node` is left but its rows: those that say `live` are over, as far as anybody will ever know.

    How many there were. Should its disk turn up after all, its recordings still get their end. Raises StateDown.
    """
    query = select(SESSIONS.c.id, SESSIONS.c.kind).where(SESSIONS.c.state == LIVE, SESSIONS.c.node == node)
    with database.read() as connection:
        lost = connection.execute(query).all()
    for some in (lost[at : at + AT_ONCE] for at in range(0, len(lost), AT_ONCE)):
        with database.write() as connection:
            apply(connection, [change for row in some for change in _unknown_end(row.id, row.kind)])
    return len(lost)


def _unknown_end(row: str, kind: str) -> list[Change]:
    """It died, and nobody can tell more of it: its file was not there yet, or is gone."""
    if kind != SESSION:
        return [tunnel_ended(row, INCOMPLETE, None, "", Moved(0, 0))]
    return session_ended(row, INCOMPLETE, None, "", Moved(0, 0), 0)


def _ends_owed(folder: Path) -> set[str]:
    """Sessions whose end stands in the journal of a process that lives."""
    return {
        str(one.values["id"])
        for one in _readable(owed_lines(folder))
        if one.verb == SET and one.table == SESSIONS.name and one.values.get("reason")
    }


def _add_missing(database: Database, recordings: Recordings, node: str, since: float) -> int:
    """Recordings without a row: their process died after the file was there and before the row was owed."""
    query = select(SESSIONS.c.id).where(SESSIONS.c.kind == SESSION, SESSIONS.c.started_at >= since - DAY)
    with database.read() as connection:
        known = set(connection.execute(query).scalars())
    added = 0
    for name, path in recordings.names(since):
        entry = None if name in known else recordings.entry(recordings.directory / path)
        if entry is None or entry.state in ("live", "damaged"):
            continue
        with database.write() as connection:
            apply(connection, [*session_started(entry.header, path, Writer(node, "")), *ending_of(entry)])
        added += 1
    return added


def _readable(lines: Iterable[bytes]) -> list[Change]:
    changes = []
    for line in lines:
        try:
            changes.append(read_line(line))
        except BadChange:
            continue  # torn by the crash, or of a later version
    return changes


def _end_the_dead(database: Database, home: str, alive: list[str], recordings: Recordings) -> int:
    """Rows that say `live` and whose process does not."""
    wanted = (
        select(SESSIONS.c.id, SESSIONS.c.kind, SESSIONS.c.started_at, RECORDINGS.c.path)
        .join_from(SESSIONS, RECORDINGS, RECORDINGS.c.session_id == SESSIONS.c.id, isouter=True)
        .where(SESSIONS.c.state == LIVE, SESSIONS.c.instance.startswith(home, autoescape=True))
        .where(SESSIONS.c.instance.not_in(alive))
    )
    with database.read() as connection:
        dead = connection.execute(wanted).all()
    ended = 0
    for row in dead:
        changes = _ending(row, recordings)
        if changes:
            with database.write() as connection:
                apply(connection, changes)
            ended += 1
    return ended


def _ending(row: Row[str, str, float, str], recordings: Recordings) -> list[Change]:
    """The end of one that died, as far as its recording tells it; nothing when it lives after all."""
    entry = recordings.entry(recordings.directory / row.path) if row.path and row.kind == SESSION else None
    if entry is None:  # it died before its file was there, or the file was taken away
        return _unknown_end(row.id, row.kind)
    if entry.state == "live":
        return []
    return ending_of(entry)

"""Index against files: where they differ, and the index made again from the files (L2). Blocks, for as long as it takes
to read the head and the tail of every recording.

The files are right. A row without a file is not: it is told, and kept, because it is all that is left of the session.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select, text

from bastion.recording.listing import LEFTOVER, SUFFIX, Recordings, SessionEntry
from bastion.state.changes import PUT, Change, apply
from bastion.state.database import Database
from bastion.state.rows import DELETED, LIVE, SESSION, Writer, ending_of, session_ran, session_started
from bastion.state.schema import RECORDINGS, SESSIONS

AT_ONCE: Final = 200
"""Changes in one transaction of a rebuild, so that a gateway that runs can write between two."""

_COMPARED: Final = ("state", "identity", "target", "login", "reason", "bytes_in", "bytes_out")


@dataclass(frozen=True, slots=True)
class Difference:
    """Where index and files differ. `session` is "" for what concerns the database as a whole."""

    session: str
    text: str


@dataclass(slots=True)
class Rebuilt:
    """What a rebuild did: recordings that got a row, rows that were corrected, files that could not be read."""

    added: int = 0
    corrected: int = 0
    unreadable: int = 0


def faults_of(database: Database) -> list[Difference]:
    """What SQLite says of its own file; PostgreSQL checks itself. Raises StateDown."""
    if not database.place.embedded:
        return []
    with database.read() as connection:
        found = connection.execute(text("PRAGMA integrity_check")).scalars().all()
    return [Difference("", str(line)) for line in found if line != "ok"]


def differences(database: Database, recordings: Recordings, node: str) -> Iterator[Difference]:
    """Everything about the recordings of `node` in which index and files differ. Raises StateDown and OSError.

    A session that runs is compared by being there.
    """
    rows = _rows(database)
    seen = set()
    for name, path in recordings.names():
        seen.add(name)
        row = rows.get(name)
        if row is None:
            yield Difference(name, "has a file and no row")
        elif (entry := recordings.entry(recordings.directory / path)) is not None:
            yield from _compared(entry, row, path)
    for left in sorted(recordings.directory.glob(f"*/*{SUFFIX}{LEFTOVER}")):
        yield Difference(
            left.name.partition(".")[0], f"{left.name} is there: a rewrap is running, or was cut off"
        )
    for name, row in rows.items():
        gone = row["file_state"] == DELETED or row["stored"]
        if row["node"] == node and name not in seen and not gone:
            yield Difference(name, "has a row and no file")


def _compared(entry: SessionEntry, row: dict[str, Any], path: str) -> Iterator[Difference]:
    name = entry.path.stem
    if entry.state == "live":
        if row["state"] != LIVE:
            yield Difference(name, f"is being recorded, and the index says {row['state']}")
        return
    if entry.state == "damaged":
        yield Difference(name, f"is damaged: {entry.problem}")
        return
    if row["file_state"] == DELETED:
        yield Difference(name, "was deleted, and its file is there")
        return
    wrong = [
        f"{column} {row[column]!r} instead of {value!r}"
        for column, value in _expected(entry, path).items()
        if row[column] != value
    ]
    if wrong:
        yield Difference(name, "the index has " + ", ".join(wrong))


def _expected(entry: SessionEntry, path: str) -> dict[str, Any]:
    """What the row of a recording that has ended says, as far as the file tells."""
    values: dict[str, Any] = {"identity": entry.header.identity, "target": entry.header.target}
    values |= {"login": entry.header.login, "path": path}
    session, file = ending_of(entry)
    values |= {name: session.values[name] for name in _COMPARED if name in session.values}
    return values | {"size": file.values["size"]}


def _rows(database: Database) -> dict[str, dict[str, Any]]:
    joined = SESSIONS.outerjoin(RECORDINGS, RECORDINGS.c.session_id == SESSIONS.c.id)
    columns: list[Any] = [SESSIONS.c[name] for name in ("id", "node", *_COMPARED)]
    columns += [RECORDINGS.c[name] for name in ("path", "size", "stored")]
    columns += [RECORDINGS.c.state.label("file_state")]
    query = select(*columns).select_from(joined).where(SESSIONS.c.kind == SESSION)
    with database.read() as connection:
        return {row["id"]: dict(row) for row in connection.execute(query).mappings()}


def rebuild(database: Database, recordings: Recordings, node: str) -> Rebuilt:
    """Give every recording in the folder the row that its file tells of. Raises StateDown and OSError.

    What only the gateway knew (the process, the configuration, what was asked for) stays where a row is there. A
    session that runs and has a row is left to its gateway.
    """
    rows, done, waiting = _rows(database), Rebuilt(), list[Change]()
    for name, path in recordings.names():
        entry, row = recordings.entry(recordings.directory / path), rows.get(name)
        if entry is None or (row is not None and entry.state == "live"):
            continue
        if entry.state == "damaged":
            done.unreadable += 1
        elif row is None:
            waiting += rows_of(entry, path, Writer(node, ""))
            waiting += session_ran(name, recordings.ran(entry.path).kinds)
            done.added += 1
        elif list(_compared(entry, row, path)):
            waiting += _corrected(entry, path)
            done.corrected += 1
        if len(waiting) >= AT_ONCE:
            write(database, waiting)
    write(database, waiting)
    return done


def write(database: Database, waiting: list[Change]) -> None:
    """Writes what waits, and empties the list. Raises StateDown."""
    if waiting:
        with database.write() as connection:
            apply(connection, waiting)
        waiting.clear()


def rows_of(entry: SessionEntry, path: str, writer: Writer) -> list[Change]:
    """The rows of a recording that has none."""
    start = session_started(entry.header, path, writer)
    return start if entry.state == "live" else [*start, *ending_of(entry)]


def _corrected(entry: SessionEntry, path: str) -> list[Change]:
    """As `rows_of`, over what is there."""
    session, file, *more = session_started(entry.header, path, Writer("", ""))
    kept = {
        name: value for name, value in session.values.items() if name not in ("node", "instance", "config")
    }
    whole = {name: value for name, value in file.values.items() if name != "node"}
    return [Change(PUT, "sessions", kept), Change(PUT, "recordings", whole), *more, *ending_of(entry)]

"""Recordings with rows, as a gateway leaves them, and files of chance."""

from __future__ import annotations

import random
from pathlib import Path

from bastion.recording.store import Store
from bastion.state.changes import apply
from bastion.state.database import Database
from bastion.state.rows import ENDED, Moved, Writer, session_ended, session_started
from tests.unit.recording.disk import finish, say
from tests.unit.recording.samples import header

START = 1_800_000_000.0
DAY = "2027-01-15"
GW = Writer("gw1", "gw1.1.abcd")


def name_of(number: int) -> str:
    """A session id for each number."""
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    text = ""
    for _ in range(16):
        number, digit = divmod(number, 32)
        text = letters[digit] + text
    return text


def row_of(database: Database, store: Store, session: str, ended_at: float | None = START + 60) -> None:
    """The rows of a session that has ended, or with None of one that runs."""
    size = (store.directory / DAY / f"{session}.rec").stat().st_size
    changes = session_started(header(session, started_at=START), f"{DAY}/{session}.rec", GW)
    if ended_at is not None:
        changes += session_ended(session, ENDED, ended_at, "client_closed", Moved(1, 2), size)
    with database.write() as connection:
        apply(connection, changes)


def record(database: Database, store: Store, session: str, ended_at: float = START + 60) -> Path:
    """A whole recording with its rows, which nobody writes any more; where it is."""
    recorder, writer = store.start(header(session, started_at=START))
    say(recorder, writer, f"hello from {session}".encode())
    finish(recorder, writer)
    row_of(database, store, session, ended_at)
    return writer.path


def noise(path: Path, size: int, seed: int = 1) -> Path:
    """A file of chance."""
    path.write_bytes(random.Random(seed).randbytes(size))
    return path

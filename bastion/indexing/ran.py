"""Commands in the index, found again by their words (L2). Blocks.

A command's number tells its session (SESSION_COMMANDS), so that the words of commands lead to sessions without a row of
one being read. Invariant: `Ran` takes a session exactly when `Question.takes` takes one of its commands.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import fields
from typing import Final

from bastion.indexing.words import Question, indexed
from bastion.recording.commands import Command
from bastion.recording.listed import Wanted

SESSION_COMMANDS: Final = 1 << 20
"""Commands of one session at most; `filling` keeps a tenth of that."""

MOST_MATCHES: Final = 50_000
"""Commands by which sessions are found before they are looked at, 20 ms. Words that stand in more are so common that
the sessions that are met first have them."""

FEW: Final = 5000
"""Sessions that are sorted by themselves; more are met on the way through all of them, the newest first."""

SLACK: Final = 1.0
"""Seconds by which the end of a session may be another here than where `wanted` is looked at."""

COLUMNS: Final = tuple(one.name for one in fields(Command) if one.name != "session")

TABLES: Final = f"""CREATE TABLE commands (number INTEGER PRIMARY KEY, {", ".join(COLUMNS)});
CREATE VIRTUAL TABLE command_words USING fts5 (said, content='', columnsize=0, tokenize=ascii);
"""

BEFORE: Final = 5
"""The version whose commands had no words: `raised` makes them, and no recording is read again."""


def put(database: sqlite3.Connection, session: int, commands: Iterable[Command]) -> None:
    """The commands of a session, in the order in which they are told. Within a transaction."""
    places = ", ".join("?" * (len(COLUMNS) + 1))
    for number, one in enumerate(commands, session * SESSION_COMMANDS):
        values = (number, *(getattr(one, name) for name in COLUMNS))
        database.execute(f"INSERT INTO commands VALUES ({places})", values)
        database.execute("INSERT INTO command_words (rowid, said) VALUES (?, ?)", (number, _words(one.text)))


def remove(database: sqlite3.Connection, session: int) -> None:
    """Those of a session. Within a transaction."""
    for number, text in database.execute(
        "SELECT number, text FROM commands WHERE number >= ? AND number < ?", _numbers(session)
    ).fetchall():
        database.execute(
            "INSERT INTO command_words (command_words, rowid, said) VALUES ('delete', ?, ?)",
            (number, _words(text)),
        )
    database.execute("DELETE FROM commands WHERE number >= ? AND number < ?", _numbers(session))


def commands_of(database: sqlite3.Connection, session: int) -> Iterator[Command]:
    """Those of a session, in the order of time; `Command.session` is not said."""
    rows = database.execute(
        f"SELECT {', '.join(COLUMNS)} FROM commands WHERE number >= ? AND number < ? ORDER BY start, channel",
        _numbers(session),
    )
    for row in rows:
        yield Command(session="", **dict(zip(COLUMNS, row, strict=True)))


def raised(database: sqlite3.Connection, version: int) -> bool:
    """Has a file of this version become one of ours? Within a transaction."""
    if version != BEFORE:
        return False
    database.execute("DROP INDEX IF EXISTS sessions_started")
    database.execute("ALTER TABLE commands RENAME TO commands_before")
    for statement in TABLES.split(";\n"):
        database.execute(statement)
    database.create_function("said_of", 1, _words, deterministic=True)
    database.execute(
        f"INSERT INTO commands SELECT session * {SESSION_COMMANDS} - 1 + row_number() OVER (PARTITION BY session"
        f" ORDER BY rowid), {', '.join(COLUMNS)} FROM commands_before"
    )
    database.execute("INSERT INTO command_words (rowid, said) SELECT number, said_of(text) FROM commands")
    database.execute("DROP TABLE commands_before")
    return True


def _words(text: str) -> str:
    """A command is one line, whatever it was typed on."""
    return indexed(" ".join(text.split("\n")))


def _numbers(session: int) -> tuple[int, int]:
    return session * SESSION_COMMANDS, (session + 1) * SESSION_COMMANDS


class Ran:
    """The sessions in which a command was run in whose text all terms of a question stand."""

    def __init__(
        self,
        database: sqlite3.Connection,
        question: Question,
        blamed: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """`blamed`: within it whatever fails is the file's (`IndexFile.blamed`)."""
        self._database, self._question, self._blamed = database, question, blamed
        numbers = database.execute(
            "SELECT rowid FROM command_words WHERE command_words MATCH ? ORDER BY rowid LIMIT ?",
            (question.match, MOST_MATCHES),
        )
        found = [number // SESSION_COMMANDS for (number,) in numbers]
        self._sessions = set(found) if len(found) < MOST_MATCHES else None
        """All in which it may have been; None: there are too many."""

    @property
    def is_common(self) -> bool:
        """There are so many that nobody is led to them."""
        return self._sessions is None

    def takes(self, session: str) -> bool:
        """Was one run in the session with this id?"""
        asked = "SELECT number FROM sessions WHERE id = ? AND whole"
        with self._blamed():
            found = self._database.execute(asked, (session,)).fetchone()
            may = found is not None and (self._sessions is None or found[0] in self._sessions)
            return may and self._is(found[0])

    def newest(self, wanted: Wanted, after: tuple[float, str] | None) -> Iterator[tuple[float, str]]:
        """Begin and id of the sessions that `takes` may take, the newest first; behind `after`. Some that are not
        `wanted` are left out. Not for what `is_common`."""
        sessions = self._sessions or set()
        conditions, values = ["whole"], list[object]()
        for name, value in (("identity", wanted.user), ("login", wanted.login)):
            if value:
                conditions.append(f"{name} = ?")
                values.append(value)
        if wanted.until is not None:
            conditions.append("started_at < ?")
            values.append(wanted.until)
        if wanted.since is not None:
            conditions.append("(started_at + duration >= ? OR started_at = 0)")
            values.append(wanted.since - SLACK)
        if after is not None:
            conditions.append("started_at <= ? AND (started_at < ? OR id < ?)")
            values += [after[0], *after]
        if len(sessions) <= FEW:
            conditions.append("number IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(sorted(sessions)))
        asked = f"SELECT number, started_at, id FROM sessions WHERE {' AND '.join(conditions)}"
        with self._blamed():
            rows = self._database.execute(f"{asked} ORDER BY started_at DESC, id DESC", values)
            for number, started_at, name in rows:
                if number in sessions:
                    yield started_at, name

    def _is(self, number: int) -> bool:
        """The words of a command are all there; is it what was asked for? To ask the words again would cost as much as
        all sessions that have them."""
        texts = self._database.execute(
            "SELECT text FROM commands WHERE number >= ? AND number < ?", _numbers(number)
        )
        return any(self._question.takes(text) for (text,) in texts)

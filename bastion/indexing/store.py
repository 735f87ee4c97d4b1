"""The index's file: SQLite with its full-text search (FTS5), one writer at a time, readers beside it (L2). Blocks.

Invariant: a session's rows are believed only when its row says `whole`, which is written last; what a process that was
killed left is removed by the next that writes. A page's number tells its session (SESSION_PAGES).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from bastion.errors import BastionError
from bastion.indexing import ran as commands_in
from bastion.indexing.pages import Page, unpack
from bastion.indexing.ran import Ran
from bastion.indexing.searching import SESSION_PAGES, SESSIONS, Hit, Search, listed
from bastion.indexing.words import Question
from bastion.recording.commands import Command
from bastion.recording.keyframes import Keyframe
from bastion.recording.listed import Listed, Wanted
from bastion.recording.listing import SCHEME, Recordings
from bastion.recording.reader import Place

VERSION: Final = 6
BUSY_SECONDS: Final = 60.0

PAGE_BYTES: Final = 16384
"""Of the file: a packed page of lines has 2 KiB, and with SQLite's own 4 KiB half of each would be empty."""

CACHE_BYTES: Final = 32 << 20
"""Memory that a connection takes for what it has read, at most."""

_TABLES: Final = f"""
CREATE TABLE sessions (number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, path TEXT NOT NULL, size INTEGER NOT NULL,
  changed INTEGER NOT NULL, whole INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL, started_at REAL NOT NULL,
  duration REAL NOT NULL, identity TEXT NOT NULL, uid TEXT NOT NULL, login TEXT NOT NULL, target TEXT NOT NULL,
  host TEXT NOT NULL, source TEXT NOT NULL, rules TEXT NOT NULL, opaque INTEGER NOT NULL, bytes INTEGER NOT NULL,
  ran TEXT NOT NULL DEFAULT '', problem TEXT NOT NULL DEFAULT '', redaction TEXT NOT NULL,
  played TEXT NOT NULL DEFAULT '', masks BLOB NOT NULL DEFAULT x'');
{commands_in.TABLES}CREATE TABLE keyframes (session INTEGER NOT NULL, time REAL NOT NULL, place INTEGER NOT NULL,
  sequence INTEGER NOT NULL);
CREATE INDEX keyframes_time ON keyframes (session, time);
CREATE TABLE screens (session INTEGER NOT NULL, channel INTEGER NOT NULL, place INTEGER NOT NULL, packed BLOB NOT NULL,
  PRIMARY KEY (session, channel, place)) WITHOUT ROWID;
CREATE TABLE pages (number INTEGER PRIMARY KEY, channel INTEGER NOT NULL, packed BLOB NOT NULL);
CREATE VIRTUAL TABLE words USING fts5 (said, content='', columnsize=0, tokenize=ascii);
PRAGMA user_version = {VERSION};
"""
_WALKED: Final = ("number", "whole", "duration", "identity", "login", "target", "id")
_INDEX: Final = (
    f"CREATE INDEX IF NOT EXISTS sessions_walked ON sessions (started_at DESC, {', '.join(_WALKED)})"
)
"""All that choosing sessions by time and person takes: rows are large, and reading 100,000 takes half a second."""


def place_in(recordings: Path) -> Path:
    """Where the index of a folder of recordings is, unless somebody says otherwise."""
    return recordings / "index" / "reading.db"


class IndexUnfit(BastionError):
    """The file is no index of this version, or cannot be read or written. `text` is for people."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Stored(NamedTuple):
    """A session as `end` left it: its number, what is to be said of it, the digest of the patterns that masked it, and
    what a replay needs."""

    number: int
    problem: str
    redaction: str
    played: str
    masks: bytes


class IndexFile:
    """One connection to the index. Everything raises IndexUnfit for what the file or the disk is to blame for."""

    def __init__(self, path: Path, make: bool = False) -> None:
        """Opens the index; with `make` one is made where none is."""
        self.path = path
        with _told(path):
            if make and not path.exists():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            uri = f"file:{str(path.absolute()).replace('%', '%25').replace('?', '%3f').replace('#', '%23')}?mode="
            self._uri = uri + "ro"
            self._database = sqlite3.connect(uri + "rw", BUSY_SECONDS, uri=True, isolation_level=None)
            self._database.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a file that is made now
            self._database.execute(f"PRAGMA cache_size = -{CACHE_BYTES >> 10}")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")  # it can be made again
            self._database.execute("PRAGMA secure_delete = ON")
            with self._writing() if make else _nothing():
                version = self._database.execute("PRAGMA user_version").fetchone()[0]
                if not version and make:
                    for statement in _TABLES.split(";\n"):
                        self._database.execute(statement)
                elif make and commands_in.raised(self._database, version):
                    self._database.execute(f"PRAGMA user_version = {VERSION}")
                elif version != VERSION:
                    raise IndexUnfit(_other_version(path, version))
                if make:
                    self._database.execute(_INDEX)

    def close(self) -> None:
        """Give the file up."""
        self._database.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction, whole or not at all."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Many questions of one state of the file: each alone would take a lock."""
        self._database.execute("BEGIN")
        try:
            yield
        finally:
            self._database.execute("ROLLBACK")

    def blamed(self) -> AbstractContextManager[None]:
        """Within it whatever fails is the file's: an IndexUnfit."""
        return _told(self.path)

    # -- filling

    def known(self) -> dict[str, tuple[int, int, int, str]]:
        """Session id -> (number, size, time of change, digest of what masked it) of those that are in it whole."""
        with _told(self.path):
            rows = self._database.execute(
                "SELECT id, number, size, changed, redaction FROM sessions WHERE whole"
            )
            return {name: (number, size, changed, digest) for name, number, size, changed, digest in rows}

    def torn(self) -> list[int]:
        """Numbers of sessions that somebody began and did not end."""
        with _told(self.path):
            return [row[0] for row in self._database.execute("SELECT number FROM sessions WHERE NOT whole")]

    def begin(self, one: Listed, uid: str, host: str, size: int, changed: int, redaction: str = "") -> int:
        """A session is about to be written, masked by the `redaction` of that digest; its number."""
        values = {
            "id": one.id, "path": one.path, "size": size, "changed": changed, "state": one.state,
            "started_at": one.started_at, "duration": one.duration, "identity": one.identity, "uid": uid,
            "login": one.login, "target": one.target, "host": host, "source": one.source, "rules": one.rules,
            "opaque": one.opaque, "bytes": one.bytes,
            "redaction": redaction,
        }  # fmt: skip
        names = ", ".join(values)
        with _told(self.path), self._writing():
            made = self._database.execute(
                f"INSERT INTO sessions ({names}) VALUES ({', '.join('?' * len(values))})",
                tuple(values.values()),
            )
            return int(made.lastrowid or 0)

    def add(self, session: int, first: int, pages: Iterable[Page]) -> None:
        """Pages of a session, the first of them counted from 0."""
        with _told(self.path), self._writing():
            for place, page in enumerate(pages, session * SESSION_PAGES + first):
                self._database.execute(
                    "INSERT INTO pages VALUES (?, ?, ?)", (place, page.channel, page.pack())
                )
                self._database.execute("INSERT INTO words (rowid, said) VALUES (?, ?)", (place, page.words))

    def keep(self, session: int, keyframes: Iterable[Keyframe]) -> None:
        """Keyframes of a session."""
        with _told(self.path), self._writing():
            for one in keyframes:
                self._database.execute(
                    "INSERT INTO keyframes VALUES (?, ?, ?, ?)", (session, one.time, *one.place)
                )
                self._database.executemany(
                    "INSERT INTO screens VALUES (?, ?, ?, ?)",
                    [(session, channel, one.place.offset, packed) for channel, packed in one.screens.items()],
                )

    def end(
        self,
        session: int,
        commands: Iterable[Command],
        ran: str,
        problem: str,
        played: str = "",
        masks: bytes = b"",
    ) -> None:
        """The session is in it whole. `played` is what a replay says of it (playing.py), `masks` where it is masked
        (`RedactedReader.masks`)."""
        with _told(self.path), self._writing():
            commands_in.put(self._database, session, commands)
            self._database.execute(
                "UPDATE sessions SET whole = 1, ran = ?, problem = ?, played = ?, masks = ? WHERE number = ?",
                (ran, problem, played, masks, session),
            )

    def remove(self, session: int) -> None:
        """Nothing of it stays, but for words in the full-text index until `settle`."""
        low, high = session * SESSION_PAGES, (session + 1) * SESSION_PAGES
        with _told(self.path), self._writing():
            pages = self._database.execute(
                "SELECT number, channel, packed FROM pages WHERE number >= ? AND number < ?", (low, high)
            ).fetchall()
            for number, channel, packed in pages:
                words = unpack(channel, packed).words
                self._database.execute(
                    "INSERT INTO words (words, rowid, said) VALUES ('delete', ?, ?)", (number, words)
                )
            self._database.execute("DELETE FROM pages WHERE number >= ? AND number < ?", (low, high))
            commands_in.remove(self._database, session)
            for table in ("keyframes", "screens"):
                self._database.execute(f"DELETE FROM {table} WHERE session = ?", (session,))
            self._database.execute("DELETE FROM sessions WHERE number = ?", (session,))

    def settle(self) -> None:
        """Words of removed sessions go too; the file is as small as it can be."""
        with _told(self.path):
            for words in ("words", "command_words"):
                self._database.execute(f"INSERT INTO {words} ({words}) VALUES ('optimize')")
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    # -- looking things up

    def fresh(
        self, recordings: Recordings, away: Mapping[str, int] | None = None, redaction: str = ""
    ) -> dict[int, Listed]:
        """As `sessions`, those alone whose file is as it was when it was read, and masked by that `redaction`. `away`
        are the sizes of recordings that are in a bucket, by session: what is there does not change, so its size is
        enough."""
        known, found = self.known(), self.sessions()
        for number, size, changed, digest in known.values():
            if digest != redaction:
                del found[number]
                continue
            if away is not None and away.get(found[number].id) == size:
                continue
            try:
                now = (recordings.directory / found[number].path).lstat()
            except OSError:
                del found[number]
                continue
            if (now.st_size, now.st_mtime_ns) != (size, changed):
                del found[number]
        return found

    def sessions(self, only: int | None = None) -> dict[int, Listed]:
        """All that are in it whole (or this one), by number; `more` has `uid` and `host`."""
        with _told(self.path):
            chosen = "number = coalesce(?, number)"
            return listed(self._database.execute(f"{SESSIONS} AND {chosen}", (only,)))

    def commands(self, sessions: dict[int, Listed]) -> Iterator[tuple[Listed, Command]]:
        """The commands of these sessions, newest session first, each in the order of time."""
        with _told(self.path):
            for number in sorted(sessions, key=lambda one: sessions[one].started_at, reverse=True):
                for one in commands_in.commands_of(self._database, number):
                    yield sessions[number], replace(one, session=sessions[number].id)

    def ran(self, question: Question) -> Ran:
        """The sessions in which a command was run that this question takes: one with a term at least."""
        with _told(self.path):
            return Ran(self._database, question, self.blamed)

    def known_until(self) -> float:
        """When the newest session began that is in it whole, seconds since the epoch; 0.0: there is none."""
        with _told(self.path):
            found = self._database.execute("SELECT max(started_at) FROM sessions WHERE whole").fetchone()
        return float(found[0] or 0.0)

    def played(self, path: Path, size: int | None = None) -> Stored | None:
        """The session in this file, if it is as it was when it was read. Of a file that was fetched from a bucket,
        whose name says the session, the size is enough, as in `fresh`; of one that lies there still it is given.
        """
        try:
            now = path.lstat() if size is None else None
        except OSError:
            return None
        with _told(self.path):
            row = self._database.execute(
                "SELECT number, problem, redaction, played, masks, path, size, changed FROM sessions"
                " WHERE id = ? AND whole",
                (path.stem,),
            ).fetchone()
        if row is None or row[6] != (size if now is None else now.st_size):
            return None
        same = now is None or row[7] == now.st_mtime_ns or row[5].startswith(SCHEME)
        return Stored(*row[:5]) if same else None

    def keyframe(self, session: int, channel: int, time: float) -> tuple[float, Place, bytes | None] | None:
        """The last keyframe up to `time`: its time, where it is, and the channel's screen there; None for the screen
        of one that had shown nothing. None when there is no keyframe.
        """
        with _told(self.path):
            found = self._database.execute(
                "SELECT time, place, sequence FROM keyframes WHERE session = ? AND time <= ?"
                " ORDER BY time DESC, place DESC LIMIT 1",
                (session, time),
            ).fetchone()
            if found is None:
                return None
            screen = self._database.execute(
                "SELECT packed FROM screens WHERE session = ? AND channel = ? AND place <= ?"
                " ORDER BY place DESC LIMIT 1",
                (session, channel, found[1]),
            ).fetchone()
        return found[0], Place(found[1], found[2]), None if screen is None else screen[0]

    def newest(self, question: Question, wanted: Wanted, context: int = 0) -> Generator[Hit, None, None]:
        """As `search` in the sessions that are `wanted`, which are looked for here."""
        with _told(self.path), self._reading():
            yield from Search(self._database, self._uri).newest(question, wanted, context)

    def search(
        self, question: Question, sessions: dict[int, Listed], context: int = 0
    ) -> Generator[Hit, None, None]:
        """Lines of these sessions that are asked for, the newest session first."""
        with _told(self.path), self._reading():
            yield from Search(self._database, self._uri).search(question, sessions, context)


def _other_version(path: Path, version: int) -> str:
    if version == commands_in.BEFORE:
        return f"{path}: is an index of the version before: run `bastion index`, which makes it one of this version"
    return f"{path}: is no index of this version: remove it, and run `bastion index`"


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the disk or the file is to blame for is an IndexUnfit, whose text holds nothing of what was recorded."""
    try:
        yield
    except sqlite3.Error as error:
        raise IndexUnfit(f"{path}: {error}") from None
    except ValueError as error:
        raise IndexUnfit(f"{path}: is damaged ({error}): remove it, and run `bastion index`") from None
    except OSError as error:
        raise IndexUnfit(f"{path}: {error.strerror}") from None

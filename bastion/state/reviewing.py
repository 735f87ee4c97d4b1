"""What reviewers leave at a session: notes, tags, and marks that they have reviewed it (L2). Blocks.

Invariants: a note and a mark are one row that nobody changes; whoever was in a session leaves no mark at it; how much
is left at one session, and how long each is, is bounded. The audit line about it is written in the same transaction:
without it nothing is left.
"""

from __future__ import annotations

import re
import secrets
from base64 import b32encode
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from sqlalchemy import Connection, Table, delete, func, insert, select

from bastion.errors import BastionError
from bastion.state.database import Database
from bastion.state.rows import LIVE
from bastion.state.schema import REVIEW_MARKS, REVIEW_NOTES, REVIEW_TAGS, SESSIONS

TEXT_MAX: Final = 800
"""Characters of a note, or of what is said with a mark: a form has room for as many of any script."""

MOST_NOTES: Final = 200
MOST_MARKS: Final = 50
MOST_TAGS: Final = 16
"""Of one session."""

AT_ONCE: Final = 500
"""Ids in one statement."""

TAG: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


class NotTaken(BastionError):
    """It is not left there. `text` says why; `own`: because it is whoever asks who was in that session."""

    def __init__(self, text: str, own: bool = False) -> None:
        super().__init__(text)
        self.text, self.own = text, own


@dataclass(frozen=True, slots=True)
class Reviewer:
    """Who leaves it: the immutable id of the account, and its name of that day."""

    uid: str
    name: str

    def is_person(self, uid: str, name: str) -> bool:
        """Is it whoever has this id or this name? For what nobody decides about himself, either is enough."""
        return self.uid == uid or self.name == name


@dataclass(frozen=True, slots=True)
class Written:
    """A note, or a mark with what was said. Times are seconds since the epoch."""

    id: str
    session_id: str
    uid: str
    name: str
    made_at: float
    text: str


@dataclass(frozen=True, slots=True)
class Tag:
    """A word at a session, and who has put it there."""

    session_id: str
    tag: str
    uid: str
    name: str
    made_at: float


@dataclass(frozen=True, slots=True)
class Left:
    """All that was left at one session, the oldest first."""

    notes: tuple[Written, ...] = ()
    marks: tuple[Written, ...] = ()
    tags: tuple[Tag, ...] = ()


Tell = Callable[[str], None]
"""Writes the audit line about the row of that id, when nothing else can fail; what it raises undoes the row."""

_NOTE: Final = tuple(REVIEW_NOTES.c[field.name] for field in fields(Written))
_MARK: Final = tuple(REVIEW_MARKS.c[field.name] for field in fields(Written))
_TAG: Final = tuple(REVIEW_TAGS.c[field.name] for field in fields(Tag))


def new_id() -> str:
    """Sixteen letters, 80 bits of chance."""
    return b32encode(secrets.token_bytes(10)).decode("ascii").lower()


def words_of(text: str) -> str:
    """What was typed, on one line. Raises NotTaken for what is too long."""
    words = " ".join(text.split())
    if len(words) > TEXT_MAX:
        raise NotTaken(f"it has more than {TEXT_MAX} characters")
    return words


# -- reading ---------------------------------------------------------------------------------------------------------


def left_at(database: Database, session: str) -> Left:
    """What was left at one session. Raises StateDown."""
    with database.read() as connection:
        notes = _of_session(connection, REVIEW_NOTES, _NOTE, session)
        tags = _of_session(connection, REVIEW_TAGS, _TAG, session)
        marks = marks_at(connection, [session]).get(session, ())
    return Left(tuple(Written(*row) for row in notes), tuple(marks), tuple(Tag(*row) for row in tags))


def _of_session(connection: Connection, table: Table, columns: tuple[Any, ...], session: str) -> list[Any]:
    query = select(*columns).where(table.c.session_id == session).order_by(table.c.made_at)
    return list(connection.execute(query))


def marks_at(connection: Connection, sessions: Sequence[str]) -> dict[str, list[Written]]:
    """Session -> its marks, the oldest first; sessions without any are left out."""
    found: dict[str, list[Written]] = {}
    for start in range(0, len(sessions), AT_ONCE):
        some = REVIEW_MARKS.c.session_id.in_(sessions[start : start + AT_ONCE])
        for row in connection.execute(select(*_MARK).where(some).order_by(REVIEW_MARKS.c.made_at)):
            one = Written(*row)
            found.setdefault(one.session_id, []).append(one)
    return found


# -- leaving ---------------------------------------------------------------------------------------------------------


def add_note(database: Database, session: str, by: Reviewer, text: str, now: float, tell: Tell) -> Written:
    """Leave a note. Raises NotTaken, StateDown."""
    words = words_of(text)
    if not words:
        raise NotTaken("there is nothing in it")
    one = Written(new_id(), session, by.uid, by.name, now, words)
    with database.write() as connection:
        session_row(connection, session)
        _room(connection, REVIEW_NOTES, session, MOST_NOTES, "notes")
        connection.execute(insert(REVIEW_NOTES).values(asdict(one)))
        tell(one.id)
    return one


def add_mark(database: Database, session: str, by: Reviewer, text: str, now: float, tell: Tell) -> Written:
    """Leave a mark that it was reviewed. Raises NotTaken, StateDown."""
    one = Written(new_id(), session, by.uid, by.name, now, words_of(text))
    with database.write() as connection:
        about = session_row(connection, session)
        if by.is_person(about.uid, about.identity):
            raise NotTaken("nobody reviews a session of his own", own=True)
        if about.state == LIVE:
            raise NotTaken("it runs still: it can be reviewed when it has ended")
        _room(connection, REVIEW_MARKS, session, MOST_MARKS, "marks")
        connection.execute(insert(REVIEW_MARKS).values(asdict(one)))
        tell(one.id)
    return one


def add_tag(database: Database, session: str, by: Reviewer, tag: str, now: float, tell: Tell) -> bool:
    """Put a tag there; False when it is there already. Raises NotTaken, StateDown."""
    if not TAG.fullmatch(tag):
        raise NotTaken("a tag has up to 32 small letters, digits and . _ -")
    one = Tag(session, tag, by.uid, by.name, now)
    with database.write() as connection:
        session_row(connection, session)
        tags = [row.tag for row in _of_session(connection, REVIEW_TAGS, _TAG, session)]
        if tag in tags:
            return False
        if len(tags) >= MOST_TAGS:
            raise NotTaken(f"it has {MOST_TAGS} tags already")
        connection.execute(insert(REVIEW_TAGS).values(asdict(one)))
        tell(tag)
    return True


def drop_tag(database: Database, session: str, tag: str, tell: Tell) -> bool:
    """Take a tag away; False when it is not there. Raises StateDown."""
    here = (REVIEW_TAGS.c.session_id == session) & (REVIEW_TAGS.c.tag == tag)
    with database.write() as connection:
        done = connection.execute(delete(REVIEW_TAGS).where(here)).rowcount > 0
        if done:
            tell(tag)
    return done


def session_row(connection: Connection, session: str) -> Any:
    """Whose session it is, and its state. Raises NotTaken when it has no row."""
    columns = SESSIONS.c.uid, SESSIONS.c.identity, SESSIONS.c.state
    row = connection.execute(select(*columns).where(SESSIONS.c.id == session)).first()
    if row is None:
        raise NotTaken("there is no such session in the index")
    return row


def _room(connection: Connection, table: Table, session: str, most: int, what: str) -> None:
    """Two who write at the same moment may be one too many: that is no harm."""
    query = select(func.count()).select_from(table).where(table.c.session_id == session)
    if connection.execute(query).scalar_one() >= most:
        raise NotTaken(f"it has {most} {what} already")

"""Recordings that two people want gone (L2). Blocks.

One asks, another agrees, and `bastion prune` removes. Invariants: nobody agrees to what he has asked himself, nobody
asks or agrees about a session of his own, by account id and by name; an answer counts once; a recording that runs, is
held, or is younger than `retention.at_least` is not asked for, not agreed to and not removed; a hold that is placed
makes void whatever was asked or agreed before; what nobody has answered or carried out in LASTS seconds lapses. The
rows are the gateway's to write, which has had the proof of each of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select, update

from bastion.state.database import Database
from bastion.state.reviewing import NotTaken, Reviewer, new_id, words_of
from bastion.state.rows import DELETED, LIVE, SESSION
from bastion.state.schema import DELETIONS, HOLDS, RECORDINGS, SESSIONS

LASTS: Final = 7 * 86400.0
"""Seconds in which somebody may agree, and after that in which it may be carried out."""

MOST_OPEN: Final = 1000
"""Questions that nobody has answered, of everybody together."""

MOST_SHOWN: Final = 500


class DeletionState(StrEnum):
    """Of one question."""

    OPEN = "open"
    AGREED = "agreed"
    REFUSED = "refused"
    DONE = "done"
    STAYED = "stayed"  # it was agreed to, and the recording may not go


@dataclass(frozen=True, slots=True)
class Deletion:
    """Somebody asked to delete the recording of a session. Times are seconds since the epoch; `asked_factor` and
    `answered_factor` are what the two have shown; `void_at`: a hold was placed; `outcome`: why it is there still."""

    id: str
    session_id: str
    state: str
    reason: str
    asked_uid: str
    asked_by: str
    asked_factor: str
    asked_at: float
    answered_uid: str = ""
    answered_by: str = ""
    answered_factor: str = ""
    answered_at: float | None = None
    void_at: float | None = None
    outcome: str = ""

    def is_open(self, now: float) -> bool:
        """May somebody agree to it?"""
        return self.state == DeletionState.OPEN and self._lasts(self.asked_at, now)

    def is_due(self, now: float) -> bool:
        """Is it to be carried out?"""
        return self.state == DeletionState.AGREED and self._lasts(self.answered_at, now)

    def _lasts(self, since: float | None, now: float) -> bool:
        return self.void_at is None and since is not None and now - since < LASTS

    def said(self, now: float) -> str:
        """How it stands, for people."""
        if self.void_at is not None and self.state in _WAITING:
            return "void: a hold was placed"
        if self.state in _WAITING and not (self.is_open(now) or self.is_due(now)):
            return "has lapsed"
        return str(self.state)

    @property
    def rule(self) -> str:
        """By which rule the recording goes, as the audit log and the index say it."""
        return f"people {self.asked_by}, {self.answered_by}"


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks or agrees, and the factor that was just given. `since`: a passkey signed for it at that time or later;
    None for a code, which is good once."""

    uid: str
    name: str
    factor: str
    since: float | None = None

    @property
    def reviewer(self) -> Reviewer:
        return Reviewer(self.uid, self.name)


_WAITING: Final = (DeletionState.OPEN, DeletionState.AGREED)
_ROW: Final = tuple(DELETIONS.c[field.name] for field in fields(Deletion))

Tell = Callable[[Deletion], None]
"""Writes the audit line when nothing else can fail; what it raises undoes the row."""


def two_people(one: Deletion, uid: str, identity: str) -> bool:
    """Is a row one of two people, neither of whom was in the session, which is of `uid` and `identity`? Whoever carries
    it out asks again."""
    if not (one.asked_uid and one.answered_uid and one.asked_by and one.answered_by):
        return False
    asked, answered = Reviewer(one.asked_uid, one.asked_by), Reviewer(one.answered_uid, one.answered_by)
    is_own = asked.is_person(uid, identity) or answered.is_person(uid, identity)
    return not is_own and not answered.is_person(one.asked_uid, one.asked_by)


def deletions(database: Database) -> list[Deletion]:
    """What waits for somebody and then what is over, the newest first. Raises StateDown."""
    waits = DELETIONS.c.state.in_(_WAITING).desc()
    query = select(*_ROW).order_by(waits, DELETIONS.c.asked_at.desc()).limit(MOST_SHOWN)
    with database.read() as connection:
        return [Deletion(*row) for row in connection.execute(query)]


def find(database: Database, name: str) -> Deletion | None:
    """One question. Raises StateDown."""
    with database.read() as connection:
        return _find(connection, name)


def ask(
    database: Database, session: str, by: Person, reason: str, now: float, at_least: float, tell: Tell
) -> Deletion:
    """Ask that a recording be deleted; `at_least` is how old it has to be, in seconds. Raises NotTaken, StateDown."""
    words = words_of(reason)
    if not words:
        raise NotTaken("say why: it stands in the audit log")
    one = Deletion(new_id(), session, DeletionState.OPEN, words, by.uid, by.name, by.factor, now)
    with database.write() as connection:
        _check(connection, session, by.reviewer, now, at_least)
        asked = select(*_ROW).where(DELETIONS.c.session_id == session, DELETIONS.c.state.in_(_WAITING))
        if any(found.is_open(now) or found.is_due(now) for found in _all(connection, asked)):
            raise NotTaken("somebody has asked for that already")
        _check_new(connection, session, by)
        lately = (DELETIONS.c.state == DeletionState.OPEN) & (DELETIONS.c.asked_at > now - LASTS)
        if connection.execute(select(func.count()).where(lately)).scalar_one() >= MOST_OPEN:
            raise NotTaken(f"{MOST_OPEN} questions wait for an answer already")
        connection.execute(insert(DELETIONS).values(asdict(one)))
        tell(one)
    return one


def answer(
    database: Database, name: str, by: Person, yes: bool, now: float, at_least: float, tell: Tell
) -> Deletion:
    """Agree, or say no; whoever has asked may say no too, and what was agreed to may be stopped by anybody but whoever
    was in the session until it is carried out. Raises NotTaken, StateDown."""
    with database.write() as connection:
        one = _find(connection, name)
        if one is None:
            raise NotTaken("nobody has asked for that")
        _check_own(connection, one.session_id, by.reviewer)
        if yes and by.reviewer.is_person(one.asked_uid, one.asked_by):
            raise NotTaken("somebody else has to agree to it", own=True)
        if not (one.is_open(now) or (one.is_due(now) and not yes)):
            raise NotTaken(f"that question is {one.said(now)}")
        if yes:
            _check(connection, one.session_id, by.reviewer, now, at_least)
        else:
            _check_there(connection, one.session_id)
        values: dict[str, Any] = {
            "state": DeletionState.AGREED if yes else DeletionState.REFUSED,
            "answered_uid": by.uid,
            "answered_by": by.name,
            "answered_factor": by.factor,
            "answered_at": now,
        }
        if not _change(connection, one, values):
            raise NotTaken("somebody else has answered at the same moment")
        done = _find(connection, name)
        assert done is not None
        tell(done)
    return done


def check_hold(database: Database, session: str, by: Reviewer, now: float) -> None:
    """A hold would keep what two people want gone: nobody places one on the recording of a session of his own then.
    Raises NotTaken, StateDown."""
    asked = select(*_ROW).where(DELETIONS.c.session_id == session, DELETIONS.c.state.in_(_WAITING))
    with database.read() as connection:
        if any(one.is_open(now) or one.is_due(now) for one in _all(connection, asked)):
            _check_own(connection, session, by)


# -- carrying it out -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Due:
    """One that is to be carried out, and whose session it is about."""

    deletion: Deletion
    uid: str
    identity: str


def due(database: Database, now: float) -> list[Due]:
    """What was agreed to and is good still, the oldest first. Raises StateDown."""
    query = (
        select(*_ROW, SESSIONS.c.uid, SESSIONS.c.identity)
        .join_from(DELETIONS, SESSIONS, SESSIONS.c.id == DELETIONS.c.session_id)
        .where(DELETIONS.c.state == DeletionState.AGREED)
        .order_by(DELETIONS.c.answered_at)
    )
    with database.read() as connection:
        found = [Due(Deletion(*row[: len(_ROW)]), row.uid, row.identity) for row in connection.execute(query)]
    return [one for one in found if one.deletion.is_due(now)]


def still_due(connection: Connection, name: str, now: float) -> bool:
    """Nobody has stopped it until this transaction, and nobody does in it."""
    query = select(*_ROW).where(DELETIONS.c.id == name).with_for_update()
    return any(one.is_due(now) for one in _all(connection, query))


def stays(database: Database, one: Deletion, why: str, for_good: bool) -> None:
    """The recording is there still, and why; `for_good`: nobody tries again. Raises StateDown."""
    values: dict[str, Any] = {"outcome": why[:200]}
    if for_good:
        values["state"] = DeletionState.STAYED
    with database.write() as connection:
        _change(connection, one, values)


def settle(database: Database, there: Collection[str] = ()) -> None:
    """What was agreed to and is deleted by now, by whatever rule, is done, but of the sessions whose files are `there`
    still; what a hold made void is over for good. Raises StateDown."""
    gone = select(RECORDINGS.c.session_id).where(RECORDINGS.c.state == DELETED)
    here = (DELETIONS.c.state == DeletionState.AGREED) & DELETIONS.c.session_id.in_(gone)
    if there:
        here &= DELETIONS.c.session_id.not_in(there)
    with database.write() as connection:
        connection.execute(update(DELETIONS).where(here).values(state=DeletionState.DONE, outcome=""))
        void = DELETIONS.c.state.in_(_WAITING) & DELETIONS.c.void_at.is_not(None)
        ended = {"state": DeletionState.STAYED, "outcome": "a hold was placed"}
        connection.execute(update(DELETIONS).where(void).values(ended))


def make_void(connection: Connection, session: str, now: float) -> None:
    """A hold is placed, in this transaction: nothing that was asked or agreed before counts."""
    here = (
        (DELETIONS.c.session_id == session) & DELETIONS.c.state.in_(_WAITING) & DELETIONS.c.void_at.is_(None)
    )
    connection.execute(update(DELETIONS).where(here).values(void_at=now))


# -- rows ------------------------------------------------------------------------------------------------------------


def _all(connection: Connection, query: Any) -> list[Deletion]:
    return [Deletion(*row) for row in connection.execute(query)]


def _find(connection: Connection, name: str) -> Deletion | None:
    found = _all(connection, select(*_ROW).where(DELETIONS.c.id == name))
    return found[0] if found else None


def _change(connection: Connection, one: Deletion, values: dict[str, Any]) -> bool:
    """True: the row was as we have read it, and we have changed it."""
    here = (DELETIONS.c.id == one.id) & (DELETIONS.c.state == one.state) & DELETIONS.c.void_at.is_(None)
    return connection.execute(update(DELETIONS).where(here).values(values)).rowcount == 1


def _about(connection: Connection, session: str) -> Any:
    """The session and its recording. Raises NotTaken."""
    columns = SESSIONS.c.uid, SESSIONS.c.identity, SESSIONS.c.kind, SESSIONS.c.started_at, SESSIONS.c.ended_at
    query = select(*columns, SESSIONS.c.state, RECORDINGS.c.state.label("recording")).join_from(
        SESSIONS, RECORDINGS, RECORDINGS.c.session_id == SESSIONS.c.id
    )
    row = connection.execute(query.where(SESSIONS.c.id == session, SESSIONS.c.kind == SESSION)).first()
    if row is None:
        raise NotTaken("there is no such recording in the index")
    return row


def _check_own(connection: Connection, session: str, by: Reviewer) -> None:
    about = _about(connection, session)
    if by.is_person(about.uid, about.identity):
        raise NotTaken("nobody decides about the recording of a session of his own", own=True)


def _check_new(connection: Connection, session: str, by: Person) -> None:
    """What a passkey signed is no older than the last question that it may have been for: one that does not count signs
    no two alike, and its counter says nothing. Raises NotTaken."""
    last = select(func.max(DELETIONS.c.asked_at)).where(
        DELETIONS.c.session_id == session, DELETIONS.c.asked_uid == by.uid
    )
    asked = connection.execute(last).scalar_one()
    if by.since is not None and asked is not None and by.since <= asked:
        raise NotTaken("you asked for that a moment ago: wait half a minute, and load the page again")


def _check_there(connection: Connection, session: str) -> None:
    """It was not removed; the row is locked against a hold and a deletion at the same moment. Raises NotTaken."""
    query = select(RECORDINGS.c.state).where(RECORDINGS.c.session_id == session).with_for_update()
    if connection.execute(query).scalar_one_or_none() == DELETED:
        raise NotTaken("its recording was deleted already")


def _check(connection: Connection, session: str, by: Reviewer, now: float, at_least: float) -> None:
    """May that recording go, if `by` wants it? Raises NotTaken."""
    _check_there(connection, session)
    _check_own(connection, session, by)
    about = _about(connection, session)
    if about.state == LIVE:
        raise NotTaken("it runs still")
    if connection.execute(select(HOLDS.c.session_id).where(HOLDS.c.session_id == session)).first():
        raise NotTaken("it is held: the hold has to be lifted first")
    if now - (about.started_at if about.ended_at is None else about.ended_at) < at_least:
        raise NotTaken(f"{too_young(at_least)}")


def too_young(at_least: float) -> str:
    """Why one that has just ended stays."""
    return f"it is younger than retention.at_least ({at_least / 86400:g} days) lets anything go"

"""Holds that are lifted by two people (L2). Blocks.

One asks and another answers. Invariants: nobody answers what he has asked himself, nobody asks or answers about a
session of his own, by account id and by name; an answer counts once; whoever has said yes has lifted the hold, in the
same step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from bastion.state.database import Database
from bastion.state.pruning import Hold
from bastion.state.reviewing import NotTaken, Reviewer, Tell, new_id, session_row, words_of
from bastion.state.schema import HOLD_LIFTS, HOLDS, RECORDINGS

LASTS: Final = 7 * 86400.0
"""Seconds in which somebody may answer."""

MOST_SHOWN: Final = 500


class LiftState(StrEnum):
    """Of one question."""

    OPEN = "open"
    LIFTED = "lifted"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Lift:
    """Somebody asked to lift the hold of a session. Times are seconds since the epoch."""

    id: str
    session_id: str
    state: str
    reason: str
    asked_uid: str
    asked_by: str
    asked_at: float
    answered_uid: str = ""
    answered_by: str = ""
    answered_at: float | None = None

    def is_open(self, now: float) -> bool:
        return self.state == LiftState.OPEN and now - self.asked_at < LASTS


_LIFT: Final = tuple(HOLD_LIFTS.c[field.name] for field in fields(Lift))


def has_recording(database: Database, session: str) -> bool:
    """Has it a row that a hold could be for? Raises StateDown."""
    query = select(RECORDINGS.c.session_id).where(RECORDINGS.c.session_id == session)
    with database.read() as connection:
        return connection.execute(query).first() is not None


def held(database: Database, session: str) -> Hold | None:
    """The hold of one recording. Raises StateDown."""
    with database.read() as connection:
        row = connection.execute(select(HOLDS).where(HOLDS.c.session_id == session)).first()
    return None if row is None else Hold(row.session_id, row.reason, row.made_by, row.made_at)


def lifts(database: Database) -> list[Lift]:
    """The newest questions, those that were answered too. Raises StateDown."""
    query = select(*_LIFT).order_by(HOLD_LIFTS.c.asked_at.desc()).limit(MOST_SHOWN)
    with database.read() as connection:
        return [Lift(*row) for row in connection.execute(query)]


def ask_lift(database: Database, session: str, by: Reviewer, reason: str, now: float, tell: Tell) -> Lift:
    """Ask that a hold be lifted. Raises NotTaken, StateDown."""
    words = words_of(reason)
    if not words:
        raise NotTaken("say why: it stands in the audit log")
    one = Lift(new_id(), session, LiftState.OPEN.value, words, by.uid, by.name, now)
    with database.write() as connection:
        _check_own(connection, session, by)
        if (
            connection.execute(select(HOLDS.c.session_id).where(HOLDS.c.session_id == session)).first()
            is None
        ):
            raise NotTaken("nothing holds it")
        asked = select(*_LIFT).where(
            HOLD_LIFTS.c.session_id == session, HOLD_LIFTS.c.state == LiftState.OPEN.value
        )
        if any(Lift(*row).is_open(now) for row in connection.execute(asked)):
            raise NotTaken("somebody has asked for that already: it waits for an answer")
        connection.execute(insert(HOLD_LIFTS).values(asdict(one)))
        tell(one.id)
    return one


def answer_lift(
    database: Database, name: str, by: Reviewer, yes: bool, now: float, tell: Callable[[Lift], None]
) -> Lift:
    """Lift the hold, or say no; whoever has asked may say no too. `tell` as in `reviewing.Tell`. Raises NotTaken,
    StateDown."""
    with database.write() as connection:
        row = connection.execute(select(*_LIFT).where(HOLD_LIFTS.c.id == name)).first()
        if row is None:
            raise NotTaken("nobody has asked for that")
        one = Lift(*row)
        if yes and by.is_person(one.asked_uid, one.asked_by):
            raise NotTaken("somebody else has to agree to it", own=True)
        _check_own(connection, one.session_id, by)
        if not one.is_open(now):
            over = "has lapsed" if one.state == LiftState.OPEN else f"is {one.state} already"
            raise NotTaken(f"that question {over}")
        state = LiftState.LIFTED if yes else LiftState.REFUSED
        answered: dict[str, Any] = {"answered_uid": by.uid, "answered_by": by.name, "answered_at": now}
        here = (HOLD_LIFTS.c.id == name) & (HOLD_LIFTS.c.state == LiftState.OPEN.value)
        done = connection.execute(update(HOLD_LIFTS).where(here).values(state=state.value, **answered))
        if done.rowcount != 1:
            raise NotTaken("somebody else has answered at the same moment")
        held = (HOLDS.c.session_id == one.session_id) & (HOLDS.c.made_at <= one.asked_at)
        if yes and connection.execute(delete(HOLDS).where(held)).rowcount < 1:
            raise NotTaken("that hold is there no more, or was placed anew since")
        tell(one)
    return one


def _check_own(connection: Connection, session: str, by: Reviewer) -> None:
    row = session_row(connection, session)
    if by.is_person(row.uid, row.identity):
        raise NotTaken("nobody lifts the hold of a session of his own", own=True)

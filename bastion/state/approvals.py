"""Requests for approval in the state store (L2): filed, answered once, used once. Everything here blocks.

Invariants: the first answer wins and an approval opens one session, however many processes and gateways try at the same
moment: whoever changes the row's state has done it. An approval is good for exactly what it was asked for (`Bound`), by
the immutable id of the identity, and until it expires.
"""

from __future__ import annotations

import re
import secrets
from base64 import b32encode
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, and_, delete, func, or_, select, update

from bastion.errors import ApprovalReason, Refused
from bastion.policy.approval import from_text, may_approve
from bastion.state.database import Database
from bastion.state.schema import APPROVALS

OPEN_OF_ONE: Final = 16
"""Requests of one identity that nobody has answered and that have not expired: a person asks for a few. One that was
withdrawn is among them, or hanging up and asking again would tell the approvers without end."""

OPEN_IN_ALL: Final = 1000
"""... of everybody: a listing of 200 KiB."""

KEPT: Final = 30 * 86400.0
"""Seconds after which a row that has expired is removed; the audit log and the recording have what it says."""

SWEEP: Final = 256
"""Rows removed when one is added."""

CLAIMS: Final = 8
"""Approvals for the same that are tried: others may take one at the same moment."""

LIST_MAX: Final = OPEN_IN_ALL


class State(StrEnum):
    """Of one request."""

    DRAFT = "draft"  # a session was refused with this id, and nobody has asked yet
    OPEN = "open"
    APPROVED = "approved"
    DENIED = "denied"
    USED = "used"
    WITHDRAWN = "withdrawn"


_UNANSWERED: Final = (State.DRAFT, State.OPEN)
_NOT_KEPT: Final = (State.DRAFT, State.WITHDRAWN)

_ID: Final = re.compile(r"\A[a-z2-7]{10}\Z")


@dataclass(frozen=True, slots=True)
class Bound:
    """What an approval is for. `verbs` are joined by commas, `needed` is `policy.approval.as_text`, `machine` what the
    target is, whatever it is called (`policy.targets.Target.machine`)."""

    uid: str
    target: str
    login: str
    verbs: str
    source: str
    needed: str
    machine: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One row. Times are seconds since the epoch. `factor` is what the one who answered has shown besides."""

    id: str
    state: str
    uid: str
    identity: str
    target: str
    login: str
    verbs: str
    source: str
    needed: str
    why: str
    made_at: float
    expires_at: float
    answered_at: float | None = None
    answered_by: str = ""
    answered_uid: str = ""
    factor: str = ""
    answer_why: str = ""
    session: str = ""
    machine: str = ""

    @property
    def bound(self) -> Bound:
        return Bound(self.uid, self.target, self.login, self.verbs, self.source, self.needed, self.machine)


@dataclass(frozen=True, slots=True)
class Approver:
    """Somebody who answers: an identity of the directory, with the groups of now. `factor`: the second factor that was
    just given, "" for none."""

    name: str
    uid: str
    groups: frozenset[str]
    factor: str


_COLUMNS: Final = tuple(APPROVALS.c[field.name] for field in fields(Request))


def new_id() -> str:
    """Ten letters that people read to each other: 48 bits."""
    return b32encode(secrets.token_bytes(6)).decode("ascii").lower().rstrip("=")


def file(
    database: Database, bound: Bound, identity: str, why: str, state: State, now: float, lasts: float
) -> tuple[Request, bool]:
    """The request for `bound` that is open, or a new one (True) of `state`, DRAFT or OPEN, that expires in `lasts`
    seconds. A draft is made an open one. Raises Refused(LIMIT) and StateDown."""
    with database.write() as connection:
        known = _first(connection, _is(bound), _unanswered(now))
        if known is not None and (known.state == State.OPEN or state is State.DRAFT):
            return known, False
        if known is not None:
            values = {"state": State.OPEN.value, "why": why, "made_at": now, "expires_at": now + lasts}
            _change(connection, known.id, State.DRAFT, values)
            return _find(connection, known.id) or known, True
        _check_room(connection, bound.uid, now)
        _sweep(connection, now)
        row = Request(
            new_id(),
            state.value,
            identity=identity,
            why=why,
            made_at=now,
            expires_at=now + lasts,
            **asdict(bound),
        )
        connection.execute(APPROVALS.insert().values(asdict(row)))
        return row, True


def claim(database: Database, bound: Bound, session: str, now: float) -> Request | None:
    """The approval for `bound`, from now on used up for this session; None when there is none. Raises StateDown."""
    with database.write() as connection:
        good = and_(_is(bound), APPROVALS.c.state == State.APPROVED.value, APPROVALS.c.expires_at > now)
        found = select(APPROVALS.c.id).where(good).order_by(APPROVALS.c.expires_at).limit(CLAIMS)
        for request in connection.execute(found).scalars().all():
            if _change(connection, request, State.APPROVED, {"state": State.USED.value, "session": session}):
                return _find(connection, request)
    return None


def give_back(database: Database, session: str) -> int:
    """What that session had claimed may be used again, as long as it lasts; how many. Raises StateDown."""
    with database.write() as connection:
        claimed = and_(APPROVALS.c.session == session, APPROVALS.c.state == State.USED.value)
        values = {"state": State.APPROVED.value, "session": ""}
        return connection.execute(update(APPROVALS).where(claimed).values(values)).rowcount


def withdraw(database: Database, request: str) -> bool:
    """Nobody waits for an answer any more. Raises StateDown."""
    with database.write() as connection:
        return _change(connection, request, State.OPEN, {"state": State.WITHDRAWN.value})


def answer(
    database: Database, request: str, by: Approver, yes: bool, why: str, now: float, valid: float
) -> Request:
    """Approve, for `valid` seconds, or deny. Raises Refused with an ApprovalReason, and StateDown."""
    with database.write() as connection:
        row = (
            _find(connection, request) if _ID.match(request) else None
        )  # a database may choke on what is no id
        _check_answer(row, by, now)
        values = {
            "state": (State.APPROVED if yes else State.DENIED).value,
            "answered_at": now,
            "answered_by": by.name,
            "answered_uid": by.uid,
            "factor": by.factor,
            "answer_why": why,
        }
        if yes:
            values["expires_at"] = now + valid
        if not _change(connection, request, State.OPEN, values):
            raise Refused(ApprovalReason.ANSWERED, f"request {request} has been answered by somebody else")
        done = _find(connection, request)
        assert done is not None
        return done


def _check_answer(row: Request | None, by: Approver, now: float) -> None:
    """May `by` answer it? Who may not reads the same as of one that does not exist."""
    nothing = "there is no such request for you to answer"
    if row is None or row.state == State.DRAFT:
        raise Refused(ApprovalReason.NOT_FOUND, nothing)
    if by.uid == row.uid or by.name == row.identity:
        raise Refused(ApprovalReason.OWN, "nobody answers a request of his own")
    if not may_approve(from_text(row.needed), by.name, by.groups):
        raise Refused(ApprovalReason.NOT_APPROVER, nothing)
    if not by.factor:
        text = "that takes a second factor: log in anew with a one-time code or a security key"
        raise Refused(ApprovalReason.NO_FACTOR, text)
    if row.state != State.OPEN:
        who = f" by {row.answered_by}" if row.answered_by else ""
        raise Refused(ApprovalReason.ANSWERED, f"request {row.id} is {row.state} already{who}")
    if row.expires_at <= now:
        raise Refused(ApprovalReason.EXPIRED, f"request {row.id} has expired: it has to be asked for again")


def found(database: Database, requests: Sequence[str]) -> list[Request]:
    """Those of them that there are. Raises StateDown."""
    with database.read() as connection:
        rows = connection.execute(select(*_COLUMNS).where(APPROVALS.c.id.in_(requests))).all()
    return [Request(*row) for row in rows]


def listed(database: Database, now: float) -> list[Request]:
    """Open ones, and approvals that were not used, oldest first. Raises StateDown."""
    alive = and_(
        APPROVALS.c.state.in_((State.OPEN.value, State.APPROVED.value)), APPROVALS.c.expires_at > now
    )
    with database.read() as connection:
        query = select(*_COLUMNS).where(alive).order_by(APPROVALS.c.made_at).limit(LIST_MAX)
        return [Request(*row) for row in connection.execute(query).all()]


# -- rows ------------------------------------------------------------------------------------------------------------


def _is(bound: Bound) -> Any:
    return and_(*(APPROVALS.c[name] == value for name, value in asdict(bound).items()))


def _unanswered(now: float) -> Any:
    return and_(APPROVALS.c.state.in_([state.value for state in _UNANSWERED]), APPROVALS.c.expires_at > now)


def _first(connection: Connection, *conditions: Any) -> Request | None:
    query = select(*_COLUMNS).where(*conditions).order_by(APPROVALS.c.made_at.desc()).limit(1)
    row = connection.execute(query).first()
    return None if row is None else Request(*row)


def _find(connection: Connection, request: str) -> Request | None:
    return _first(connection, APPROVALS.c.id == request)


def _change(connection: Connection, request: str, state: State, values: dict[str, Any]) -> bool:
    """True: the row had this state until now, and we have changed it."""
    here = and_(APPROVALS.c.id == request, APPROVALS.c.state == state.value)
    return connection.execute(update(APPROVALS).where(here).values(values)).rowcount == 1


def _check_room(connection: Connection, uid: str, now: float) -> None:
    query = select(func.count()).select_from(APPROVALS)
    asked = and_(APPROVALS.c.state.in_([*_UNANSWERED, State.WITHDRAWN]), APPROVALS.c.expires_at > now)
    if connection.execute(query.where(APPROVALS.c.uid == uid, asked)).scalar_one() >= OPEN_OF_ONE:
        text = f"you have {OPEN_OF_ONE} requests that nobody has answered yet, or that you have withdrawn"
        raise Refused(ApprovalReason.LIMIT, text)
    if connection.execute(query.where(_unanswered(now))).scalar_one() >= OPEN_IN_ALL:
        raise Refused(ApprovalReason.LIMIT, "there are as many requests as there may be: try again later")


def _sweep(connection: Connection, now: float) -> None:
    """Drafts that nobody filed, and what was withdrawn, go when they expire, the others a while later."""
    over = or_(
        and_(APPROVALS.c.state.in_(_NOT_KEPT), APPROVALS.c.expires_at <= now),
        APPROVALS.c.expires_at <= now - KEPT,
    )
    old = connection.execute(select(APPROVALS.c.id).where(over).limit(SWEEP)).scalars().all()
    if old:
        connection.execute(delete(APPROVALS).where(APPROVALS.c.id.in_(old)))

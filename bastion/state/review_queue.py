"""Which sessions are to be reviewed, by when, and which have been (L2). Blocks.

Nothing of it is kept: it follows from sessions of break-glass accounts, from alerts and from the marks of reviewers.
Invariant: a reason to review a session is settled by marks that were made after it arose, of as many people as the
rules want, and by nothing else; who looks at a part of what there is says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, false, or_, select

from bastion.state.database import Database
from bastion.state.findings import KEPT, Row
from bastion.state.reviewing import AT_ONCE, Written, marks_at
from bastion.state.rows import LIVE
from bastion.state.schema import FINDINGS, REVIEW_MARKS, REVIEW_TAGS, SESSIONS

BREAK_GLASS: Final = "break_glass"
ALERT: Final = "alert"
WHYS: Final = (BREAK_GLASS, ALERT)
"""Why a session is to be reviewed."""

MOST_ALERTS: Final = 5000
MOST_EMERGENCIES: Final = 2000
"""The newest are looked at: 0.1 s together."""

MOST_OF_SESSION: Final = 100
"""Findings that a session's page shows."""

AFTER: Final = 2 * 86400.0
"""Seconds after a session's end in which findings may name it: a detector that was away catches up."""

STATES: Final = ("due", "overdue", "reviewed", "unreviewed")


@dataclass(frozen=True, slots=True)
class Rules:
    """`within` so many seconds each is to be reviewed; for the reasons `by_two` two people have to."""

    within: float
    by_two: frozenset[str] = frozenset()

    def needed(self, why: str) -> int:
        return 2 if why in self.by_two else 1


class Reason(NamedTuple):
    """Why, since when that is known (seconds since the epoch), and the name of the finding that tells it."""

    why: str
    at: float
    finding: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """The row of a session or tunnel, as far as the queue shows it."""

    id: str
    kind: str
    identity: str
    uid: str
    login: str
    target: str
    state: str
    started_at: float
    ended_at: float | None
    emergency: int
    connection: str


@dataclass(frozen=True, slots=True)
class Duty:
    """One session that is to be reviewed: `open_reasons` are not settled, `missing` people have to look still."""

    session: Known
    reasons: tuple[Reason, ...]
    open_reasons: tuple[Reason, ...]
    marks: tuple[Written, ...]
    due_at: float
    missing: int

    @property
    def done(self) -> bool:
        return not self.open_reasons


@dataclass(frozen=True, slots=True)
class Queue:
    """Those that are open, the one that is due first in front. `cut`: older alerts or emergencies were left out."""

    duties: tuple[Duty, ...]
    cut: bool

    def overdue(self, now: float) -> int:
        """How many should have been reviewed by now."""
        return sum(duty.due_at <= now for duty in self.duties)


@dataclass(slots=True)
class _Reasons:
    """What was found, by session."""

    of: dict[str, list[Reason]] = field(default_factory=dict)
    known: dict[str, Known] = field(default_factory=dict)
    cut: bool = False


_KNOWN: Final = tuple(SESSIONS.c[name] for name in Known.__slots__)
_ROW: Final = tuple(FINDINGS.c[name] for name in Row.__slots__)


# -- the queue -------------------------------------------------------------------------------------------------------


def queue_of(database: Database, rules: Rules, now: float) -> Queue:
    """What is to be reviewed and has not been. Raises StateDown."""
    with database.read() as connection:
        return queue_in(connection, rules, now)


def queue_in(connection: Connection, rules: Rules, now: float) -> Queue:
    """The same, in a transaction that is there."""
    found = _reasons(connection, now)
    marks = marks_at(connection, list(found.known))
    duties = [
        duty
        for name, session in found.known.items()
        if not (duty := duty_of(session, found.of[name], marks.get(name, []), rules)).done
    ]
    duties.sort(key=lambda one: (one.due_at, one.session.id))
    return Queue(tuple(duties), found.cut)


def duty_of(session: Known, reasons: Sequence[Reason], marks: Sequence[Written], rules: Rules) -> Duty:
    """What is left to do at one session."""
    open_reasons, missing = [], 0
    for reason in reasons:
        people = {mark.uid or mark.name for mark in marks if mark.made_at >= reason.at}
        lacks = rules.needed(reason.why) - len(people)
        if lacks > 0:
            open_reasons.append(reason)
            missing = max(missing, lacks)
    due_at = min((reason.at for reason in open_reasons), default=0.0) + rules.within
    return Duty(session, tuple(reasons), tuple(open_reasons), tuple(marks), due_at, missing)


def duty_at(database: Database, session: str, rules: Rules) -> tuple[Duty | None, list[Row]]:
    """What is to do at one session, None when it has no row; and what detections say of it. Raises StateDown."""
    with database.read() as connection:
        row = connection.execute(select(*_KNOWN).where(SESSIONS.c.id == session)).first()
        if row is None:
            return None, []
        known = Known(*row)
        findings = _findings_about(connection, known)
        reasons = [*_own_reasons(known)]
        alerts = (one for one in findings if one.level == ALERT and not one.mute)
        reasons += [Reason(ALERT, one.made_at, one.id) for one in alerts]
        marks = marks_at(connection, [session]).get(session, [])
    return duty_of(known, reasons, marks, rules), findings


def _own_reasons(session: Known) -> Iterator[Reason]:
    if session.emergency:
        yield Reason(BREAK_GLASS, session.started_at if session.ended_at is None else session.ended_at)


def _reasons(connection: Connection, now: float) -> _Reasons:
    found = _Reasons()
    emergencies = connection.execute(
        select(*_KNOWN)
        .where(SESSIONS.c.emergency == 1)
        .order_by(SESSIONS.c.started_at.desc())
        .limit(MOST_EMERGENCIES)
    ).all()
    for row in emergencies:
        known = Known(*row)
        found.known[known.id] = known
        found.of[known.id] = list(_own_reasons(known))
    alerts, cut = _alerts(connection, now)
    found.cut = cut or len(emergencies) == MOST_EMERGENCIES
    for known in _sessions(connection, list(alerts)):
        found.known[known.id] = known
        found.of.setdefault(known.id, []).extend(
            reason for name in {known.id, known.connection} for reason in alerts.get(name, ())
        )
    return found


def _alerts(connection: Connection, now: float) -> tuple[dict[str, list[Reason]], bool]:
    """Session or connection -> its alerts. What is muted is nobody's duty."""
    own = FINDINGS.c
    query = (
        select(own.sessions, own.made_at, own.id)
        .where(own.at >= now - KEPT, own.level == ALERT, own.mute == "")
        .order_by(own.at.desc())
        .limit(MOST_ALERTS)
    )
    found: dict[str, list[Reason]] = {}
    rows = connection.execute(query).all()
    for sessions, at, name in rows:
        for session in sessions.split(","):
            if session:
                found.setdefault(session, []).append(Reason(ALERT, at, name))
    return found, len(rows) == MOST_ALERTS


def _sessions(connection: Connection, names: Sequence[str]) -> Iterator[Known]:
    """The sessions of these names, and those that came through connections of these names."""
    own, told = SESSIONS.c, set[str]()
    for start in range(0, len(names), AT_ONCE):
        some = names[start : start + AT_ONCE]
        carried = (own.connection != "") & own.connection.in_(some)
        for where in (own.id.in_(some), carried):
            for row in connection.execute(select(*_KNOWN).where(where)):
                if row.id not in told:
                    told.add(row.id)
                    yield Known(*row)


def _findings_about(connection: Connection, session: Known) -> list[Row]:
    """Findings that name a session, or the connection that it came through, the oldest first."""
    own = FINDINGS.c
    names = [name for name in (session.id, session.connection) if name]
    ended = session.started_at if session.ended_at is None else session.ended_at
    query = (
        select(*_ROW)
        .where(own.at >= session.started_at - AFTER, or_(*(own.sessions.contains(name) for name in names)))
        .order_by(own.at)
        .limit(MOST_OF_SESSION)
    )
    if session.state != LIVE:
        query = query.where(own.at <= ended + AFTER)
    return [
        one
        for one in (Row(*row) for row in connection.execute(query))
        if set(names) & set(one.sessions.split(","))
    ]


# -- choosing among sessions -----------------------------------------------------------------------------------------


def chosen_among(
    connection: Connection, rules: Rules, alert: bool, review: str, tag: str, now: float
) -> ColumnElement[bool] | None:
    """What chooses rows of `sessions` by what alerts and reviewers say of them; None for all. `review` is one of
    STATES, or ""."""
    own = SESSIONS.c
    parts: list[ColumnElement[bool]] = []
    if tag:
        parts.append(own.id.in_(select(REVIEW_TAGS.c.session_id).where(REVIEW_TAGS.c.tag == tag)))
    if alert:
        alerts, _ = _alerts(connection, now)
        parts.append(_named(one.id for one in _sessions(connection, list(alerts))))
    if review in ("due", "overdue"):
        duties = queue_in(connection, rules, now).duties
        late = (duty for duty in duties if review == "due" or duty.due_at <= now)
        parts.append(_named(duty.session.id for duty in late))
    elif review:
        marked = own.id.in_(select(REVIEW_MARKS.c.session_id))
        parts.append(marked if review == "reviewed" else ~marked)
    found: ColumnElement[bool] | None = None
    for part in parts:
        found = part if found is None else found & part
    return found


def names_among(database: Database, rules: Rules, alert: bool, review: str, tag: str, now: float) -> set[str]:
    """The ids of those sessions. Raises StateDown."""
    with database.read() as connection:
        where = chosen_among(connection, rules, alert, review, tag, now)
        query = select(SESSIONS.c.id)
        return set(connection.execute(query if where is None else query.where(where)).scalars())


def _named(names: Iterable[str]) -> ColumnElement[bool]:
    found: Collection[str] = list(names)
    return SESSIONS.c.id.in_(found) if found else false()


def explained(findings: Sequence[Row]) -> list[Mapping[str, Any]]:
    """Findings for a page or a program, without what only the gateway's own sending needs."""
    return [
        {
            "id": one.id,
            "kind": one.kind,
            "level": one.level,
            "at": one.at,
            "expected": one.expected,
            "came": one.came,
            "muted": bool(one.mute),
            "gateway": one.node,
        }
        for one in findings
    ]

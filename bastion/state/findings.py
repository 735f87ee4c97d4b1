"""What detections found in the log of a gateway, and what of it is muted, in the state store (L2). Everything here
blocks.

Invariants: a finding is one row, however often it is found: the same lines give it the same name; its row is there
before anybody is told of it, and says who still is to be told. What is muted is kept like everything else.
"""

from __future__ import annotations

import secrets
from base64 import b32encode
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Final

from sqlalchemy import Connection, and_, delete, func, insert, select, update

from bastion.errors import BastionError
from bastion.state.changes import ADD, Change, apply
from bastion.state.database import Database
from bastion.state.schema import FINDINGS, MUTES

KEPT: Final = 400 * 86400.0
"""Seconds after which findings go, and mutes that have ended: a year can be looked at as a whole."""

MOST_KEPT: Final = 100_000
"""Findings of one gateway, 60 MB; then the oldest go."""

MOST_MUTES: Final = 1000
"""In force: somebody who wants more wants other limits."""

SWEEP: Final = 1000
"""Rows that one sweep removes."""

AT_ONCE: Final = 500
"""Names in one statement."""

WAITING: Final = "waiting"
"""Of a way by which it is to be told: it was not yet. "" is never, everything else how it ended."""

WAYS: Final = ("audited", "alertmanager", "webhook")


@dataclass(frozen=True, slots=True)
class Row:
    """One finding of the gateway `node`. Times are seconds since the epoch, `sessions` are joined by commas, `mute` is
    the name of the one that covers it."""

    node: str
    id: str
    kind: str
    level: str
    at: float
    identity: str
    target: str
    expected: str
    came: str
    sessions: str
    made_at: float
    mute: str = ""
    audited: str = ""
    alertmanager: str = ""
    webhook: str = ""


@dataclass(frozen=True, slots=True)
class Mute:
    """Findings that nobody is told of: those of which every part that is not "" is so. `until` in seconds since the
    epoch."""

    id: str
    kind: str
    identity: str
    target: str
    reason: str
    made_by: str
    made_at: float
    until: float

    def covers(self, kind: str, identity: str, target: str) -> bool:
        pairs = (self.kind, kind), (self.identity, identity), (self.target, target)
        return all(own in ("", one) for own, one in pairs)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which findings: "" and None leave it open. `muted`: those alone, or those that are not."""

    since: float | None = None
    kind: str = ""
    identity: str = ""
    level: str = ""
    muted: bool | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """How many findings there are of one detection and level, muted ones or open ones."""

    kind: str
    level: str
    muted: bool
    count: int


class TooMany(BastionError):
    """As many mutes are in force as may be."""


_ROW: Final = tuple(FINDINGS.c[field.name] for field in fields(Row))
_MUTE: Final = tuple(MUTES.c[field.name] for field in fields(Mute))


def new_id() -> str:
    """Of a mute: eight letters."""
    return b32encode(secrets.token_bytes(5)).decode("ascii").lower()


# -- findings --------------------------------------------------------------------------------------------------------


def add(connection: Connection, rows: Iterable[Row]) -> None:
    """Those that are not there yet."""
    apply(connection, [Change(ADD, FINDINGS.name, asdict(row)) for row in rows])


def strangers(connection: Connection, node: str, found: Sequence[Row]) -> list[Row]:
    """Those of a gateway's findings that are not there yet, each once."""
    fresh = {row.id: row for row in found}
    names = list(fresh)
    for start in range(0, len(names), AT_ONCE):
        some = FINDINGS.c.id.in_(names[start : start + AT_ONCE])
        for name in connection.execute(select(FINDINGS.c.id).where(FINDINGS.c.node == node, some)).scalars():
            fresh.pop(name, None)
    return list(fresh.values())


def settle(connection: Connection, node: str, way: str, names: Sequence[str], how: str) -> None:
    """They need be told by that way no more: how it ended."""
    column = FINDINGS.c[way]
    for start in range(0, len(names), AT_ONCE):
        some = FINDINGS.c.id.in_(names[start : start + AT_ONCE])
        here = and_(FINDINGS.c.node == node, some, column == WAITING)
        connection.execute(update(FINDINGS).where(here).values({way: how}))


def waiting(database: Database, node: str, way: str, since: float, most: int) -> list[Row]:
    """Those of a gateway that are to be told by that way, the oldest first. Raises StateDown."""
    query = select(*_ROW).where(
        FINDINGS.c.node == node, FINDINGS.c[way] == WAITING, FINDINGS.c.made_at >= since
    )
    with database.read() as connection:
        rows = connection.execute(query.order_by(FINDINGS.c.at).limit(most)).all()
    return [Row(*row) for row in rows]


def sweep(connection: Connection, node: str, now: float) -> None:
    """Of one gateway what is too old, or too much; and mutes that ended long ago."""
    own = FINDINGS.c.node == node
    count = connection.execute(select(func.count()).select_from(FINDINGS).where(own)).scalar_one()
    oldest = select(FINDINGS.c.id, FINDINGS.c.at).where(own).order_by(FINDINGS.c.at).limit(SWEEP)
    rows = connection.execute(oldest).all()
    gone = [row.id for number, row in enumerate(rows) if row.at < now - KEPT or number < count - MOST_KEPT]
    for start in range(0, len(gone), AT_ONCE):
        connection.execute(delete(FINDINGS).where(own, FINDINGS.c.id.in_(gone[start : start + AT_ONCE])))
    connection.execute(delete(MUTES).where(MUTES.c.until < now - KEPT))


def listed(database: Database, wanted: Wanted, most: int) -> list[Row]:
    """The newest that are wanted, oldest first. Raises StateDown."""
    query = select(*_ROW)
    for column, value in (("kind", wanted.kind), ("identity", wanted.identity), ("level", wanted.level)):
        if value:
            query = query.where(FINDINGS.c[column] == value)
    if wanted.since is not None:
        query = query.where(FINDINGS.c.at >= wanted.since)
    if wanted.muted is not None:
        query = query.where((FINDINGS.c.mute != "") == wanted.muted)
    with database.read() as connection:
        rows = connection.execute(query.order_by(FINDINGS.c.at.desc(), FINDINGS.c.id).limit(most)).all()
    return [Row(*row) for row in reversed(rows)]


def tallied(database: Database, since: float) -> list[Tally]:
    """How many there are of each sort, of every gateway, seen at or after `since`. Raises StateDown."""
    muted = (FINDINGS.c.mute != "").label("muted")
    sort = (FINDINGS.c.kind, FINDINGS.c.level, muted)
    query = select(*sort, func.count()).where(FINDINGS.c.at >= since).group_by(*sort).order_by(*sort)
    with database.read() as connection:
        rows = connection.execute(query).all()
    return [Tally(kind, level, bool(covered), count) for kind, level, covered, count in rows]


def named(database: Database, prefix: str, most: int) -> list[Row]:
    """Those whose names begin so, of every gateway. Raises StateDown."""
    query = select(*_ROW).where(FINDINGS.c.id.startswith(prefix, autoescape=True))
    with database.read() as connection:
        rows = connection.execute(query.order_by(FINDINGS.c.at).limit(most)).all()
    return [Row(*row) for row in rows]


# -- mutes -----------------------------------------------------------------------------------------------------------


def mutes_in(connection: Connection, now: float) -> list[Mute]:
    """Those in force, the oldest first."""
    query = select(*_MUTE).where(MUTES.c.until > now).order_by(MUTES.c.made_at, MUTES.c.id)
    return [Mute(*row) for row in connection.execute(query)]


def mutes(database: Database, now: float) -> list[Mute]:
    """The same. Raises StateDown."""
    with database.read() as connection:
        return mutes_in(connection, now)


def all_mutes(database: Database) -> list[Mute]:
    """Those too that have ended. Raises StateDown."""
    with database.read() as connection:
        return [Mute(*row) for row in connection.execute(select(*_MUTE))]


def covering(found: Collection[Mute], kind: str, identity: str, target: str) -> str:
    """The name of the one that covers a finding, "" of none."""
    return next((mute.id for mute in found if mute.covers(kind, identity, target)), "")


def mute(database: Database, one: Mute, tell: Callable[[], None]) -> None:
    """From now on. `tell` writes the audit line when nothing else can fail, and what it raises undoes the mute. Raises
    StateDown, TooMany."""
    with database.write() as connection:
        if len(mutes_in(connection, one.made_at)) >= MOST_MUTES:
            raise TooMany(f"{MOST_MUTES} mutes are in force already")
        connection.execute(insert(MUTES).values(asdict(one)))
        tell()


def unmute(database: Database, name: str, now: float, tell: Callable[[], None]) -> bool:
    """Not any more; False when there is none of that name in force. `tell` as in `mute`. Raises StateDown."""
    with database.write() as connection:
        here = and_(MUTES.c.id == name, MUTES.c.until > now)
        done = connection.execute(update(MUTES).where(here).values(until=now)).rowcount > 0
        if done:
            tell()
    return done

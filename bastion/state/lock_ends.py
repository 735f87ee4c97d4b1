"""Ends of locks, which several gateways may share (L2). Blocks.

What it is for: a gateway that has made a lock, and has not seen its row before another took it away, could not tell a
row that is gone from one that is not written yet; and one that writes a lock late must not bring it back. Invariants: a
lock is over whose end is here, whether its row is there or not; an end stays for KEPT seconds or until there are MOST
later ones, and what it has ended is removed before it. One from the future is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, delete, func, or_, select

from bastion.policy.lock_list import DAY, Gone
from bastion.policy.locks import LockKind
from bastion.state.database import Database
from bastion.state.rows import Lock
from bastion.state.schema import LOCK_ENDS, LOCKS

KEPT: Final = 90 * DAY
"""Seconds for which it is known that a lock was taken away: a gateway that was off for longer, and never heard of it,
may bring the lock back, and somebody unlocks again."""

MOST: Final = 2000
"""Ends that are kept and read, the newest: each gateway reads them once a second, which takes 8 ms of a processor."""

_LONGEST: Final = 512
"""Characters of a value; a longer one is nobody's."""

_NEWEST: Final = (
    select(LOCK_ENDS.c.kind, LOCK_ENDS.c.value, LOCK_ENDS.c.made_at, LOCK_ENDS.c.ended_at)
    .where(func.length(LOCK_ENDS.c.kind) <= _LONGEST, func.length(LOCK_ENDS.c.value) <= _LONGEST)
    .order_by(LOCK_ENDS.c.ended_at.desc(), LOCK_ENDS.c.kind, LOCK_ENDS.c.value)
    .limit(MOST + 1)
)


@dataclass(frozen=True, slots=True)
class Ends:
    """The ends that count; `unfit`: others are there, and may go."""

    rows: tuple[tuple[Any, ...], ...]
    unfit: bool

    @property
    def gone(self) -> tuple[Gone, ...]:
        """What they mean; those of a kind that only another version knows are left out."""
        known = {str(kind): kind for kind in LockKind}
        return tuple(Gone(known[kind], value, at) for kind, value, at, _ in self.rows if kind in known)

    def alive(self, locks: Iterable[Lock]) -> list[Lock]:
        """Those of `locks` that are not over."""
        over = {(kind, value): made_at for kind, value, made_at, _ in self.rows}
        return [lock for lock in locks if lock.made_at > over.get((lock.kind, lock.value), -1.0)]


def read_ends(connection: Connection, now: float) -> Ends:
    """Those of now. Read the locks before: what ends in between is over."""
    found: Sequence[tuple[Any, ...]] = [tuple(row) for row in connection.execute(_NEWEST)]
    rows = tuple(row for row in found[:MOST] if _counts(row[2], row[3], now))
    return Ends(rows, len(rows) < len(found))


def _counts(made_at: float, ended_at: float, now: float) -> bool:
    return 0.0 <= made_at <= now + DAY and now - KEPT <= ended_at <= now + DAY


def prune(database: Database, now: float) -> None:
    """Remove locks that are over, then ends that count no more. Raises StateDown."""
    place = LOCK_ENDS.c.kind == LOCKS.c.kind, LOCK_ENDS.c.value == LOCKS.c.value
    over = (
        LOCK_ENDS.c.made_at.between(LOCKS.c.made_at, now + DAY),
        LOCK_ENDS.c.ended_at.between(now - KEPT, now + DAY),
    )
    with database.write() as connection:
        connection.execute(delete(LOCKS).where(select(LOCK_ENDS.c.kind).where(*place, *over).exists()))
    first_beyond = (
        select(LOCK_ENDS.c.ended_at).order_by(LOCK_ENDS.c.ended_at.desc()).offset(MOST).limit(1)
    ).scalar_subquery()
    with database.write() as connection:
        connection.execute(
            delete(LOCK_ENDS).where(
                or_(
                    LOCK_ENDS.c.ended_at < now - KEPT,
                    LOCK_ENDS.c.ended_at > now + DAY,
                    LOCK_ENDS.c.made_at < 0.0,
                    LOCK_ENDS.c.made_at > now + DAY,
                    func.length(LOCK_ENDS.c.kind) > _LONGEST,
                    func.length(LOCK_ENDS.c.value) > _LONGEST,
                )
            )
        )
        connection.execute(delete(LOCK_ENDS).where(LOCK_ENDS.c.ended_at <= first_beyond))

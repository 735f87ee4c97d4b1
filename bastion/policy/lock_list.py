"""The list of locks where several gateways change it (L1, pure): whoever learns the same, in any order, has the same.

A lock is known by its place (kind and value) and by when it was made. Of two of one place the later counts; one that
was taken away stays away, whoever still tells of it. So lists of other gateways and rows of a store that are behind can
be put into this one at any time. Invariant: what is made here is later than whatever this list knows of its place,
wherever the clocks stand.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from bastion.policy.locks import MAX_LOCKS, MAX_REASON, Lock, LockKind, value_of

Place = tuple[LockKind, str]

STEP: Final = 0.001
"""Seconds by which what is made here is later than what was known."""

MOST_KNOWN: Final = 2 * MAX_LOCKS
"""Locks that are held at most, those included that a second factor's end has made; more are not learned."""

MOST_EACH: Final = MAX_LOCKS
"""Of those, learned of one other gateway: one that was stolen leaves room for what all others lock."""

MAX_BY: Final = 256
MAX_UID: Final = 512
DAY: Final = 86400.0
"""What another gateway may say: characters of who made it and of an account's id; and how far, in seconds, its clock
may be ahead: what it has taken away was made within a day from now. A lock may be of another day: it was made after one
that was taken away, and nobody can be kept from locking again by a clock that was wrong."""


@dataclass(frozen=True, slots=True)
class Gone:
    """A lock that was taken away: no lock of that place that was made then, or before, is in force."""

    kind: LockKind
    value: str
    made_at: float


@dataclass(frozen=True, slots=True)
class Learned:
    """What has changed: locks that are in force now, and those that are not any more."""

    put: tuple[Lock, ...] = ()
    gone: tuple[Lock, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.put or self.gone)


@dataclass(frozen=True, slots=True)
class Again:
    """What the store has to be told again: it has something earlier, or a lock that is over."""

    locks: tuple[Lock, ...] = ()
    gone: tuple[Gone, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.locks or self.gone)


class LockList:
    """What is locked, by place; oldest news of it first."""

    def __init__(self) -> None:
        self._held: dict[Place, Lock] = {}
        self._gone: dict[Place, float] = {}
        self._from: dict[Place, str] = {}  # those that were learned: of whom, "" is the store
        self._stored: dict[Place, float] = {}  # which of a place the store was seen to have
        self._name = secrets.token_hex(8)
        self._changes = 0

    def __iter__(self) -> Iterator[Lock]:
        return iter(list(self._held.values()))

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, place: Place) -> bool:
        return place in self._held

    @property
    def own(self) -> int:
        """How many are neither another gateway's nor read from the store: with those alone is the list full."""
        return len(self._held) - len(self._from)

    def get(self, place: Place) -> Lock | None:
        """The lock of that place."""
        return self._held.get(place)

    @property
    def mark(self) -> str:
        """Another one after every change: who has seen this mark has seen all."""
        return f"{self._name}.{self._changes}"

    @property
    def taken(self) -> tuple[Gone, ...]:
        """What was taken away, as far as it is remembered."""
        return tuple(Gone(*place, made_at) for place, made_at in self._gone.items())

    # -- made here ---------------------------------------------------------------------------------------

    def moment(self, place: Place, now: float) -> float:
        """When a lock that is made now was made."""
        known, gone = self._held.get(place), self._gone.get(place)
        before = [one for one in (gone, None if known is None else known.made_at) if one is not None]
        return max([now, *(one + STEP for one in before)])

    def put(self, lock: Lock) -> bool:
        """The lock is in force from now on. False: something later is known of its place."""
        place = lock.kind, lock.value
        if lock.made_at <= self._gone.get(place, -1.0):
            return False
        known = self._held.get(place)
        if known is not None and not _is_better(lock, known):
            return False
        self._held[place] = lock
        self._from.pop(place, None)
        self._changes += 1
        return True

    def take(self, place: Place) -> Lock:
        """No more. Raises KeyError."""
        lock = self._held.pop(place)
        self._from.pop(place, None)
        self._bury(place, lock.made_at)
        return lock

    def _bury(self, place: Place, made_at: float) -> None:
        before = self._gone.pop(place, made_at)
        self._gone[place] = max(before, made_at)
        while len(self._gone) > MAX_LOCKS:
            del self._gone[next(iter(self._gone))]
        self._changes += 1

    # -- learned -----------------------------------------------------------------------------------------

    def learn(self, now: float, locks: Iterable[Lock], gone: Iterable[Gone] = (), node: str = "?") -> Learned:
        """`node`, another gateway, has these, and has taken those away. What cannot be is left out."""
        removed = self._end(now, gone)
        sound = [lock for lock in locks if _is_lock(lock, now + 2 * DAY)]
        return Learned(tuple(self._take_in(sound, node, MOST_EACH)), tuple(removed))

    def _end(self, now: float, gone: Iterable[Gone]) -> list[Lock]:
        """Others have taken these away: what was in force and is not any more. An end of a lock that is made more than
        a day from now is none."""
        removed = []
        for one in gone:
            place = one.kind, one.value
            if (
                not _is_sound(one.kind, one.value, one.made_at, now + DAY)
                or self._gone.get(place, -1.0) >= one.made_at
            ):
                continue
            known = self._held.get(place)
            if known is not None and known.made_at <= one.made_at:
                removed.append(self._held.pop(place))
                self._from.pop(place, None)
            self._bury(place, one.made_at)
        return removed

    def _take_in(self, locks: Iterable[Lock], node: str, most: int) -> list[Lock]:
        """Put those that are not made here; what was of somebody stays theirs."""
        put, theirs = [], sum(one == node for one in self._from.values())
        for lock in locks:
            place = lock.kind, lock.value
            is_new = place not in self._held
            if is_new and (theirs >= most or len(self._from) >= MOST_KNOWN):
                continue
            whose = node if is_new else self._from.get(place)
            if self.put(lock):
                put.append(lock)
                theirs += is_new
                if whose is not None:
                    self._from[place] = whose
        return put

    def stored(
        self, now: float, rows: Iterable[Lock], gone: Iterable[Gone] = (), lost: bool = False
    ) -> tuple[Learned, Again]:
        """What the store has now, rows and ends of locks: what has changed by that, and what it has to be told again.

        A lock whose end it has is over, whether its row was ever seen or not; one that it had, and has not, was taken
        away by a gateway that writes no ends. With `lost`, another server has become the store, which may lack what it
        never got: it is told of that again.
        """
        ends = {(one.kind, one.value): one.made_at for one in gone}
        removed = self._end(now, (Gone(*place, made_at) for place, made_at in ends.items()))
        later, again, over, seen = [], [], {}, {}
        for row in rows:
            place = row.kind, row.value
            seen[place] = row.made_at
            known, end = self._held.get(place), self._gone.get(place, -1.0)
            if known is not None and known != row and not _is_better(row, known):
                again.append(known)
            elif row.made_at <= end:
                over[place] = end  # written late by somebody who owed it
            else:
                later.append(row)
        put = self._take_in(later, "", MOST_KNOWN)
        for place, made_at in self._stored.items():
            known = self._held.get(place)
            if place in seen or known is None or known.made_at > made_at:
                continue
            if lost:
                again.append(known)
            else:
                removed.append(self.take(place))
        self._stored = seen
        for place, made_at in self._gone.items() if lost else ():
            if place not in self._held and ends.get(place, -1.0) < made_at:
                over[place] = made_at
        told = tuple(Gone(*place, made_at) for place, made_at in over.items())
        return Learned(tuple(put), tuple(removed)), Again(tuple(again), told)


def _is_better(lock: Lock, known: Lock) -> bool:
    """Later; or the same one, when it is known now whose the name is."""
    return _rank(lock) > _rank(known)


def _rank(lock: Lock) -> tuple[object, ...]:
    """No two locks of a place are alike in it: else two gateways would tell each other, and the store, of theirs for
    ever. Of two that were made at the same moment the longer one counts."""
    ends = lock.until is None, lock.until or 0.0
    return lock.made_at, bool(lock.uid), ends, lock.uid, lock.reason, lock.made_by


def _is_lock(lock: Lock, latest: float) -> bool:
    sizes = len(lock.reason) <= MAX_REASON and len(lock.made_by) <= MAX_BY and len(lock.uid) <= MAX_UID
    return sizes and bool(lock.reason) and _is_sound(lock.kind, lock.value, lock.made_at, latest)


def _is_sound(kind: LockKind, value: str, made_at: float, latest: float) -> bool:
    try:
        return 0.0 <= made_at <= latest and value_of(kind, value) == value
    except ValueError:
        return False

"""Searches that people saved, and the sessions in which they found something (L2). Blocks.

Invariants: a search is its owner's, whom the immutable id of the account names; how many there are, of one person and
in all, is bounded; a session is told once for each search and way, and what could not be told stays until it is. A
search that was stopped runs no more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Final

from sqlalchemy import delete, func, insert, select, update

from bastion.state.changes import ADD, Change, apply
from bastion.state.database import Database
from bastion.state.reviewing import NotTaken, Reviewer, Tell, new_id
from bastion.state.schema import SAVED_HITS, SAVED_SEARCHES

MOST_OF_ONE: Final = 20
MOST_SEARCHES: Final = 500
TITLE_MAX: Final = 80

LOOKED_BACK: Final = 90 * 86400.0
"""Seconds: sessions that began before that are looked for no more."""

KEPT: Final = LOOKED_BACK + 10 * 86400.0
"""Seconds for which what was told is known."""

MOST_SHOWN: Final = 20
"""Of each search the newest sessions."""


@dataclass(frozen=True, slots=True)
class Saved:
    """One search. `query` are its filters as of a URL, `mail` where its news go, "" for nowhere; times in seconds since
    the epoch, `ran_at` None: not yet. `stopped_at` and `stopped`: since when it runs no more, and why."""

    id: str
    uid: str
    name: str
    title: str
    words: str
    query: str
    made_at: float
    ran_at: float | None = None
    mail: str = ""
    stopped_at: float | None = None
    stopped: str = ""


class Way(StrEnum):
    """How somebody is told; the column that says that he is to be."""

    POST = "to_post"
    MAIL = "to_mail"


@dataclass(frozen=True, slots=True)
class Hit:
    """A session in which it was found. `who`: `alice, deploy@web1`."""

    search_id: str
    session_id: str
    who: str
    started_at: float
    found_at: float


_SAVED: Final = tuple(SAVED_SEARCHES.c[field.name] for field in fields(Saved))
_HIT: Final = tuple(SAVED_HITS.c[field.name] for field in fields(Hit))


def save(
    database: Database,
    by: Reviewer,
    title: str,
    words: str,
    query: str,
    now: float,
    tell: Tell,
    mail: str = "",
) -> Saved:
    """Have it looked for from now on. Raises NotTaken, StateDown."""
    named = " ".join(title.split())
    if not named or len(named) > TITLE_MAX:
        raise NotTaken(f"give it a name of up to {TITLE_MAX} characters")
    one = Saved(new_id(), by.uid, by.name, named, words, query, now, mail=mail)
    count = select(func.count()).select_from(SAVED_SEARCHES)
    with database.write() as connection:
        if connection.execute(count.where(SAVED_SEARCHES.c.uid == by.uid)).scalar_one() >= MOST_OF_ONE:
            raise NotTaken(f"you have {MOST_OF_ONE} saved searches already")
        if connection.execute(count).scalar_one() >= MOST_SEARCHES:
            raise NotTaken("there are as many saved searches as there may be")
        connection.execute(insert(SAVED_SEARCHES).values(asdict(one)))
        tell(one.id)
    return one


def drop(database: Database, name: str, by: Reviewer, tell: Tell, stopped: bool = False) -> bool:
    """No more; False when there is none of that name that is theirs. `stopped`: or anybody's that was stopped. Raises
    StateDown."""
    theirs = SAVED_SEARCHES.c.uid == by.uid
    if stopped:
        theirs = theirs | SAVED_SEARCHES.c.stopped_at.is_not(None)
    own = (SAVED_SEARCHES.c.id == name) & theirs
    with database.write() as connection:
        done = connection.execute(delete(SAVED_SEARCHES).where(own)).rowcount > 0
        if done:
            connection.execute(delete(SAVED_HITS).where(SAVED_HITS.c.search_id == name))
            tell(name)
    return done


def searches_of(database: Database, uid: str) -> list[tuple[Saved, list[Hit]]]:
    """Those of one person, each with the newest that it found. Raises StateDown."""
    query = select(*_SAVED).where(SAVED_SEARCHES.c.uid == uid).order_by(SAVED_SEARCHES.c.made_at)
    newest = select(*_HIT).order_by(SAVED_HITS.c.found_at.desc(), SAVED_HITS.c.started_at.desc())
    found = []
    with database.read() as connection:
        for row in connection.execute(query.limit(MOST_OF_ONE)).all():
            one = Saved(*row)
            hits = connection.execute(newest.where(SAVED_HITS.c.search_id == one.id).limit(MOST_SHOWN))
            found.append((one, [Hit(*hit) for hit in hits]))
    return found


def all_searches(database: Database) -> list[Saved]:
    """Everybody's, the oldest first. Raises StateDown."""
    query = select(*_SAVED).order_by(SAVED_SEARCHES.c.made_at, SAVED_SEARCHES.c.id).limit(MOST_SEARCHES)
    with database.read() as connection:
        return [Saved(*row) for row in connection.execute(query)]


def told_of(database: Database, name: str) -> set[str]:
    """Sessions that were told for this search. Raises StateDown."""
    with database.read() as connection:
        query = select(SAVED_HITS.c.session_id).where(SAVED_HITS.c.search_id == name)
        return set(connection.execute(query).scalars())


def stopped_searches(database: Database) -> list[Saved]:
    """Everybody's that run no more, the last first. Raises StateDown."""
    query = select(*_SAVED).where(SAVED_SEARCHES.c.stopped_at.is_not(None))
    with database.read() as connection:
        newest = query.order_by(SAVED_SEARCHES.c.stopped_at.desc(), SAVED_SEARCHES.c.id)
        return [Saved(*row) for row in connection.execute(newest.limit(MOST_SEARCHES))]


def stop(database: Database, name: str, why: str, now: float, tell: Callable[[], None]) -> None:
    """It runs no more from now on, and nobody is told of it. `tell` as in `reviewing.Tell`. Raises StateDown."""
    with database.write() as connection:
        here = (SAVED_SEARCHES.c.id == name) & SAVED_SEARCHES.c.stopped_at.is_(None)
        values = {"stopped_at": now, "stopped": why}
        if connection.execute(update(SAVED_SEARCHES).where(here).values(values)).rowcount:
            tell()


def note_run(
    database: Database, name: str, hits: Sequence[Hit], now: float, ways: Collection[Way] = ()
) -> None:
    """It has run, and these are to be told in these ways; what is too old to come again is forgotten. A search that was
    dropped meanwhile keeps none. Raises StateDown."""
    here = SAVED_SEARCHES.c.id == name
    owed = {way.value: int(way in ways) for way in Way}
    with database.write() as connection:
        if connection.execute(update(SAVED_SEARCHES).where(here).values(ran_at=now)).rowcount < 1:
            return
        apply(connection, [Change(ADD, SAVED_HITS.name, asdict(hit) | owed) for hit in hits])
        old = (SAVED_HITS.c.search_id == name) & (SAVED_HITS.c.started_at < now - KEPT)
        connection.execute(delete(SAVED_HITS).where(old))


def owed(database: Database, name: str, way: Way, most: int) -> tuple[list[Hit], bool]:
    """Up to `most` sessions of which somebody is still to be told in that way, the newest first, and whether there are
    more. Raises StateDown."""
    query = select(*_HIT).where(SAVED_HITS.c.search_id == name, SAVED_HITS.c[way.value] == 1)
    newest = query.order_by(SAVED_HITS.c.started_at.desc(), SAVED_HITS.c.session_id).limit(most + 1)
    with database.read() as connection:
        found = [Hit(*row) for row in connection.execute(newest)]
    return found[:most], len(found) > most


def settle(database: Database, name: str, way: Way, hits: Sequence[Hit]) -> None:
    """Somebody was told of these in that way. Raises StateDown."""
    told = SAVED_HITS.c.session_id.in_([hit.session_id for hit in hits])
    with database.write() as connection:
        here = (SAVED_HITS.c.search_id == name) & told
        connection.execute(update(SAVED_HITS).where(here).values({way.value: 0}))

"""Searches that people saved, and the sessions in which they found something (L2). Blocks.

Invariants: a search is its owner's, whom the immutable id of the account names; how many there are, of one person and
in all, is bounded; a session is told once for each search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
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
    """One search. `query` are its filters as of a URL; times in seconds since the epoch, `ran_at` None: not yet."""

    id: str
    uid: str
    name: str
    title: str
    words: str
    query: str
    made_at: float
    ran_at: float | None = None


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
    database: Database, by: Reviewer, title: str, words: str, query: str, now: float, tell: Tell
) -> Saved:
    """Have it looked for from now on. Raises NotTaken, StateDown."""
    named = " ".join(title.split())
    if not named or len(named) > TITLE_MAX:
        raise NotTaken(f"give it a name of up to {TITLE_MAX} characters")
    one = Saved(new_id(), by.uid, by.name, named, words, query, now)
    count = select(func.count()).select_from(SAVED_SEARCHES)
    with database.write() as connection:
        if connection.execute(count.where(SAVED_SEARCHES.c.uid == by.uid)).scalar_one() >= MOST_OF_ONE:
            raise NotTaken(f"you have {MOST_OF_ONE} saved searches already")
        if connection.execute(count).scalar_one() >= MOST_SEARCHES:
            raise NotTaken("there are as many saved searches as there may be")
        connection.execute(insert(SAVED_SEARCHES).values(asdict(one)))
        tell(one.id)
    return one


def drop(database: Database, name: str, by: Reviewer, tell: Tell) -> bool:
    """No more; False when there is none of that name that is theirs. Raises StateDown."""
    own = (SAVED_SEARCHES.c.id == name) & (SAVED_SEARCHES.c.uid == by.uid)
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


def note_run(database: Database, name: str, hits: Sequence[Hit], now: float) -> None:
    """It has run, and these were told; what is too old to come again is forgotten. A search that was dropped meanwhile
    keeps none. Raises StateDown."""
    here = SAVED_SEARCHES.c.id == name
    with database.write() as connection:
        if connection.execute(update(SAVED_SEARCHES).where(here).values(ran_at=now)).rowcount < 1:
            return
        apply(connection, [Change(ADD, SAVED_HITS.name, asdict(hit)) for hit in hits])
        old = (SAVED_HITS.c.search_id == name) & (SAVED_HITS.c.started_at < now - KEPT)
        connection.execute(delete(SAVED_HITS).where(old))

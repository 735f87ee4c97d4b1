"""Lines in the reading index: which pages have the words, which sessions come first (L2). Blocks.

Whoever looks has one state of the file to look at: all of a question is asked within one transaction (`store`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final

from bastion.indexing.ahead import Ahead
from bastion.indexing.pages import Page, text_of, unpack
from bastion.indexing.words import Question
from bastion.recording.listed import SESSION, Listed, Wanted

ALONE: Final = 64
"""Pages that a search opens before others are read ahead of it: most have found what they were asked for by then."""

FIRST_BATCH: Final = 32
LARGEST_BATCH: Final = 512
"""Sessions whose rows are read at once: a common word is found in the first ones, a rare one in few."""

AT_FIRST: Final = 128
FOR_A_HIT: Final = 16
"""Pages that are read before it is asked which have the words; and as many more for each line that was found."""

SESSION_PAGES: Final = 1 << 24
"""Pages of one session at most: 64 GiB of text; more are left out and said."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A line that was looked for: when it changed last (seconds from the session's start), and lines around it."""

    session: Listed
    channel: int
    time: float
    text: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


class Search:
    """Over one connection to the index at `uri`. What the file or the disk is to blame for is raised as it comes."""

    def __init__(self, database: sqlite3.Connection, uri: str) -> None:
        self._database, self._uri = database, uri

    def newest(self, question: Question, wanted: Wanted, context: int = 0) -> Generator[Hit, None, None]:
        """As `search` in the sessions that are `wanted`. The newest are read without asking where the words are, as
        long as that finds some: the places of a common word are those of half of all pages."""
        asked = question.match
        if not asked:
            return
        numbers = self._numbers(wanted)
        rest = yield from self._read_newest(question, numbers, wanted, context)
        pages: dict[int, list[int]] = {}
        if rest:
            for (page,) in self._database.execute("SELECT rowid FROM words WHERE words MATCH ?", (asked,)):
                pages.setdefault(page // SESSION_PAGES, []).append(page)
        if pages:
            left = (number for number in chain(rest, numbers) if number in pages)
            for some in self._batches(left):
                yield from self._hits_in(question, self._chosen(some, wanted), pages, context)

    def _numbers(self, wanted: Wanted) -> Iterator[int]:
        """Sessions of which some are `wanted`, and all that are, the newest first."""
        conditions, values = "", list[object]()
        for name, value in (("identity", wanted.user), ("login", wanted.login)):
            if value:
                conditions, values = f"{conditions} AND {name} = ?", [*values, value]
        if wanted.target:  # or with a port behind it
            conditions += " AND (target = ? OR target > ? AND target < ?)"
            values += [wanted.target, f"{wanted.target}:", f"{wanted.target};"]
        if wanted.until is not None:
            conditions, values = f"{conditions} AND started_at < ?", [*values, wanted.until]
        if wanted.since is not None:
            conditions += " AND (started_at + duration >= ? OR started_at = 0)"
            values.append(wanted.since)
        question = f"SELECT number FROM sessions WHERE whole{conditions} ORDER BY started_at DESC, number"
        return (row[0] for row in self._database.execute(question, values))

    def _batches(self, numbers: Iterator[int]) -> Iterator[list[int]]:
        """Of as many as are read at once, which grow."""
        size = FIRST_BATCH
        while some := list(islice(numbers, size)):
            yield some
            size = min(2 * size, LARGEST_BATCH)

    def _chosen(self, numbers: list[int], wanted: Wanted) -> dict[int, Listed]:
        """Those of these that are wanted, in their order."""
        places = ", ".join("?" * len(numbers))
        found = listed(self._database.execute(f"{SESSIONS} AND number IN ({places})", numbers))
        return {number: found[number] for number in numbers if wanted.takes(found[number])}

    def _read_newest(
        self, question: Question, numbers: Iterator[int], wanted: Wanted, context: int
    ) -> Generator[Hit, None, list[int]]:
        """Lines of the first of these sessions; those which were taken from `numbers` and not read, none at the end."""
        room = AT_FIRST
        for some in self._batches(numbers):
            chosen = self._chosen(some, wanted)
            for at, number in enumerate(some):
                pages = self._pages_of(number, room) if number in chosen else []
                room -= max(1, len(pages))
                if room < 0:
                    return some[at:]
                for hit in self._hits_in(
                    question, {number: chosen[number]} if pages else {}, {number: pages}, context
                ):
                    room += FOR_A_HIT
                    yield hit
        return []

    def _pages_of(self, session: int, most: int) -> list[int]:
        """Numbers of its pages, or of one more than `most`."""
        low, high = session * SESSION_PAGES, (session + 1) * SESSION_PAGES
        rows = self._database.execute(
            "SELECT number FROM pages WHERE number >= ? AND number < ? LIMIT ?", (low, high, max(0, most) + 1)
        )
        return [row[0] for row in rows]

    def search(
        self, question: Question, sessions: dict[int, Listed], context: int = 0
    ) -> Generator[Hit, None, None]:
        """Lines of these sessions that are asked for, the newest session first."""
        asked = question.match
        if not asked or not sessions:
            return
        low, high = min(sessions) * SESSION_PAGES, (max(sessions) + 1) * SESSION_PAGES
        pages: dict[int, list[int]] = {}
        for (page,) in self._database.execute(
            "SELECT rowid FROM words WHERE words MATCH ? AND rowid >= ? AND rowid < ?", (asked, low, high)
        ):
            pages.setdefault(page // SESSION_PAGES, []).append(page)
        chosen = sorted(pages.keys() & sessions.keys(), key=lambda one: (-sessions[one].started_at, one))
        yield from self._hits_in(question, {one: sessions[one] for one in chosen}, pages, context)

    def _hits_in(
        self, question: Question, sessions: Mapping[int, Listed], pages: Mapping[int, list[int]], context: int
    ) -> Iterator[Hit]:
        """The lines on these pages of these sessions, in their order."""
        for number, row in self._rows([number for one in sessions for number in pages[one]]):
            places = question.places(text_of(row[1]))
            if places:
                yield from _hits(sessions[number // SESSION_PAGES], unpack(*row), places, context)

    def _rows(self, numbers: list[int]) -> Iterator[tuple[int, tuple[int, bytes]]]:
        """These pages, as far as they are there. Whoever goes on behind the first ones has them read ahead."""
        ahead: Ahead | None = None
        try:
            for at, number in enumerate(numbers):
                if at == ALONE and len(numbers) >= 2 * ALONE:
                    ahead = Ahead(self._uri, numbers[at:])
                row = self._database.execute(
                    "SELECT channel, packed FROM pages WHERE number = ?", (number,)
                ).fetchone()
                if row is not None:
                    yield number, row
                if ahead is not None:
                    ahead.passed()
        finally:
            if ahead is not None:
                ahead.close()


SESSIONS: Final = (
    "SELECT number, id, state, started_at, identity, login, target, duration, bytes, path, ran, source, rules, opaque,"
    " uid, host FROM sessions WHERE whole"
)


def listed(rows: Iterable[tuple[Any, ...]]) -> dict[int, Listed]:
    return {
        row[0]: Listed._make((*row[1:10], SESSION, *row[10:14], {"uid": row[14], "host": row[15]}))
        for row in rows
    }


def _hits(session: Listed, page: Page, places: list[int], context: int) -> Iterator[Hit]:
    for place in places:
        before = tuple(page.lines[max(0, place - context) : place])
        after = tuple(page.lines[place + 1 : place + 1 + context])
        yield Hit(session, page.channel, page.times[place], page.lines[place], before, after)

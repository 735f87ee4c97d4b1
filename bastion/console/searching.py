"""Lines that were shown, found in the reading index (L4); each leads to the player at its moment.

Invariant: what was printed is masked and made safe here as it is for a terminal, however old the index is.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Final

from bastion.console.answers import Answer, document
from bastion.console.desk import Call
from bastion.console.filters import Filters, filters_of, unfit
from bastion.indexing.searching import Hit
from bastion.indexing.store import IndexFile
from bastion.indexing.words import Question
from bastion.recording.redacting import Redaction
from bastion.wire.printable import printable

WORDS_MAX: Final = 256
HITS: Final = 100
CONTEXT: Final = 1
LEAD: Final = 2.0
"""Seconds before a line's last change at which it is played."""

LONGEST: Final = 400
FILTERS: Final = ("user", "target", "login", "rule", "source", "since", "until")


@dataclass(frozen=True, slots=True)
class Line:
    """One hit, safe to show."""

    session: str
    who: str
    place: str
    at: float
    offset: float
    channel: int
    text: str
    before: tuple[str, ...]
    after: tuple[str, ...]


async def _found(call: Call, words: str, filters: Filters) -> tuple[list[Line], bool]:
    """The newest lines, and whether there may be more."""
    question, redaction = Question.of(words), call.desk.redaction
    if not question.terms:
        return [], False

    def search(file: IndexFile) -> list[Hit]:
        wanted, found = filters.wanted, list[Hit]()
        with closing(file.newest(question, wanted, CONTEXT)) as hits:
            for hit in hits:
                if wanted.spans(hit.session.started_at + hit.time):
                    found.append(hit)
                if len(found) > HITS:
                    break
        return found

    hits = await call.desk.reads.search(search, call.asker)
    return [_line(hit, redaction) for hit in hits[:HITS]], len(hits) > HITS


def _line(hit: Hit, redaction: Redaction) -> Line:
    def safe(text: str) -> str:
        return printable(redaction.mask(text), LONGEST)

    one = hit.session
    return Line(
        one.id,
        one.identity,
        f"{one.login}@{one.target}",
        one.started_at + hit.time,
        round(max(0.0, hit.time - LEAD), 1),
        hit.channel,
        safe(hit.text),
        tuple(map(safe, hit.before)),
        tuple(map(safe, hit.after)),
    )


def _asked(call: Call) -> tuple[str, Filters]:
    query = dict(call.asked.query)
    words = query.get("q", "").strip()
    filters = filters_of(query, call.desk.clock.time())
    faults: dict[str, str] = dict(filters.faults)
    if len(words) > WORDS_MAX:
        faults["q"] = f"is longer than {WORDS_MAX} characters"
    elif words and not Question.of(words).terms:
        faults["q"] = "there is no word in it to look for"
    return words, replace(filters, faults=faults)


async def search(call: Call) -> Answer:
    """The page."""
    words, filters = _asked(call)
    call.note_read("search", f"words={words} {filters.asked}".strip())
    lines, more = ([], False) if filters.faults else await _found(call, words, filters)
    return call.page(
        "search.html",
        400 if filters.faults else 200,
        words=words,
        filters=filters,
        lines=lines,
        more=more,
        domains=call.desk.mail.domains,
    )


async def api_search(call: Call) -> Answer:
    """The same for programs."""
    words, filters = _asked(call)
    if filters.faults:
        return unfit(filters)
    call.note_read("search", f"words={words} {filters.asked}".strip())
    lines, more = await _found(call, words, filters)
    return document({"lines": [_document(line) for line in lines], "more": more})


def _document(line: Line) -> dict[str, Any]:
    return {name: getattr(line, name) for name in Line.__slots__}

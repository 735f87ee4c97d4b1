"""Searches that people saved (L4): looked for every night by `bastion searches` (`nightly`)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final
from urllib.parse import urlencode

from bastion.console.answers import Answer, document, see
from bastion.console.desk import Call
from bastion.console.filters import filters_of, search_path
from bastion.console.reads import Trouble
from bastion.console.reviews import reviewer_of, taken
from bastion.console.routes import KEEPS
from bastion.console.searching import FILTERS, WORDS_MAX
from bastion.errors import ConsoleReason
from bastion.indexing.words import Question
from bastion.observe.events.reviewing import SearchSaved
from bastion.state import saved as store
from bastion.state.database import Database
from bastion.state.reviewing import Tell
from bastion.state.saved import Hit, Saved

QUERY_MAX: Final = 2000
"""Characters of filters as the query of a URL."""


Found = tuple[list[tuple[Saved, list[Hit]]], list[Saved]]
"""One's own with what they found; and for whoever keeps the console, everybody's that run no more."""


async def _found(call: Call) -> Found:
    call.note_read("searches", "")
    uid, keeps = call.somebody.uid, bool(call.somebody.roles & KEEPS)

    def look(database: Database) -> Found:
        return store.searches_of(database, uid), store.stopped_searches(database) if keeps else []

    return await call.desk.reads.ask(look, call.asker)


async def searches(call: Call) -> Answer:
    """Those of whoever has signed in, and what they found."""
    own, stopped = await _found(call)
    return call.page(
        "searches.html",
        searches=[(one, search_path(one.words, one.query), hits) for one, hits in own],
        stopped=stopped,
    )


async def api_searches(call: Call) -> Answer:
    """The same for programs."""
    own, stopped = await _found(call)
    found = [asdict(one) | {"hits": [asdict(hit) for hit in hits]} for one, hits in own]
    return document({"searches": found, "stopped": [asdict(one) | {"hits": []} for one in stopped]})


async def save(call: Call) -> Answer:
    """Have a search run every night."""
    await _save(call)
    return see("/searches")


async def api_save(call: Call) -> Answer:
    """The same for programs."""
    return document(asdict(await _save(call)) | {"hits": []})


async def _save(call: Call) -> Saved:
    form, now, by = call.asked.form, call.desk.clock.time(), reviewer_of(call)
    words = form.get("q", "").strip()
    given = {name: form[name].strip() for name in FILTERS if form.get(name, "").strip()}
    faults = filters_of(given, now).faults
    query = urlencode(given)
    if not words or len(words) > WORDS_MAX or not Question.of(words).terms:
        raise Trouble(ConsoleReason.BAD_REQUEST, "there is no word in it to look for, or too many")
    if faults or len(query) > QUERY_MAX:
        what = "; ".join(f"{name}: {text}" for name, text in faults.items()) or "its filters are too long"
        raise Trouble(ConsoleReason.BAD_REQUEST, what)
    mail = form.get("mail", "").strip()
    if mail and (fault := call.desk.mail.fault(mail)):
        raise Trouble(ConsoleReason.BAD_REQUEST, f"mail: {fault}")
    asked = " ".join([f"words={words}", *(f"{name}={value}" for name, value in sorted(given.items()))])

    def work(database: Database, told: Tell) -> Saved:
        return store.save(database, by, form.get("title", ""), words, query, now, told, mail)

    token = call.somebody.by_token
    return await taken(call, work, lambda name: call.emit(SearchSaved("saved", by.uid, name, asked, token)))


async def drop(call: Call) -> Answer:
    """Run it no more."""
    await _drop(call)
    return see("/searches")


async def api_drop(call: Call) -> Answer:
    """The same for programs."""
    await _drop(call)
    return document({"done": True})


async def _drop(call: Call) -> None:
    name, by, token = call.asked.form.get("search", ""), reviewer_of(call), call.somebody.by_token
    keeps = bool(call.somebody.roles & KEEPS)

    def tell(told: str) -> None:
        call.emit(SearchSaved("dropped", by.uid, told, token=token))

    if not await taken(call, lambda database, told: store.drop(database, name, by, told, keeps), tell):
        raise Trouble(ConsoleReason.NOT_FOUND, "you have no such search")

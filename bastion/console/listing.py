"""Sessions as a list, and one of them (L4): from the state store, and of one from its recording too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from bastion.console.answers import Answer, document
from bastion.console.charts import spans
from bastion.console.desk import Call
from bastion.console.filters import (
    ALERTS,
    KIND_CHOICES,
    LISTED,
    STATES,
    Filters,
    filters_of,
    unfit,
)
from bastion.console.reads import Trouble
from bastion.console.reviews import WORDS, reviewed_of
from bastion.errors import ConsoleReason
from bastion.indexing.ran import Ran
from bastion.indexing.store import IndexFile
from bastion.policy.locks import LockKind
from bastion.recording.listed import SESSION, Listed
from bastion.recording.listing import SCHEME
from bastion.recording.ran import asked_text, unpack
from bastion.state.database import Database
from bastion.state.paging import Known, PageOf, one_of, page_of
from bastion.state.review_queue import STATES as REVIEW_STATES
from bastion.state.reviewing import TEXT_MAX

HEADER_FIELDS: Final = (
    ("identity", "Who"),
    ("uid", "Account id"),
    ("auth_methods", "Proved with"),
    ("key_fingerprint", "Key"),
    ("certificate_key_id", "Certificate"),
    ("certificate_serial", "Serial"),
    ("certificate_ca", "CA"),
    ("source_address", "From"),
    ("door", "Door"),
    ("target", "Target"),
    ("login", "Login"),
    ("host", "Host"),
    ("port", "Port"),
    ("host_key_fingerprint", "Host key of the target"),
    ("via", "Through"),
    ("proxy_command", "Connected by"),
    ("rules", "Allowed by rule"),
    ("policy_digest", "Policy"),
    ("request_why", "Asked for, because"),
    ("approved_by", "Approved by"),
    ("approved_why", "Approved, because"),
    ("break_glass_why", "Emergency"),
    ("mode", "Recorded"),
    ("node", "Gateway"),
    ("gateway_version", "Version"),
    ("reason", "Ended"),
)
"""Of a header and its row what a page shows, in this order, where it is known."""


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the list."""

    one: Listed
    ran: str

    @property
    def place(self) -> str:
        """`deploy@web1`."""
        return f"{self.one.login}@{self.one.target}" if self.one.login else self.one.target


def _line(one: Listed) -> Line:
    return Line(one, asked_text(unpack(one.ran) or ()))


NOTHING: Final = (PageOf((), None, 0), None)


async def _found(call: Call, filters: Filters) -> tuple[PageOf, float | None]:
    """The rows; and where commands chose them, when the newest session began of which commands are known."""
    desk, now, question = call.desk, call.desk.clock.time(), filters.command

    def page(database: Database, ran: Ran | None = None) -> PageOf:
        among = filters.among(desk.review, now)
        known = None if ran is None else Known(ran.takes, None if ran.is_common else ran.newest)
        place, wanted = desk.recorded, filters.wanted
        return page_of(database, place, wanted, filters.kind, filters.after, filters.rows, now, among, known)

    def page_by(database: Database, file: IndexFile) -> tuple[PageOf, float | None]:
        assert question is not None
        return page(database, file.ran(question)), file.known_until()

    if question is not None:
        return await desk.reads.both(page_by, call.asker)
    return await desk.reads.ask(page, call.asker), None


async def sessions(call: Call) -> Answer:
    """The list."""
    filters = filters_of(call.asked.query, call.desk.clock.time(), LISTED)
    call.note_read("sessions", filters.asked)
    found, until = NOTHING if filters.faults else await _found(call, filters)
    return call.page(
        "sessions.html",
        400 if filters.faults else 200,
        lines=[_line(one) for one in found.rows],
        filters=filters,
        kinds=KIND_CHOICES,
        states=STATES,
        alerts=ALERTS,
        reviews=REVIEW_STATES,
        newer=filters.url("/sessions") if filters.after else "",
        older=filters.url("/sessions", found.after) if found.after else "",
        looked=found.looked,
        until=until,
        unknown=filters.since(until) if until else "",
    )


async def api_sessions(call: Call) -> Answer:
    """The same for programs."""
    filters = filters_of(call.asked.query, call.desk.clock.time(), LISTED)
    if filters.faults:
        return unfit(filters)
    call.note_read("sessions", filters.asked)
    found, until = await _found(call, filters)
    return document(
        {
            "sessions": [_document(one) for one in found.rows],
            "after": None if found.after is None else str(found.after),
            "looked": found.looked,
            "commands_until": until,
        }
    )


def _document(one: Listed) -> dict[str, Any]:
    values = one._asdict()
    for name in ("path", "more"):
        del values[name]
    values["rules"] = [rule for rule in one.rules.split(",") if rule]
    values["ran"] = [asked.document() for asked in unpack(one.ran) or ()]
    return values


async def one_session(call: Call, name: str) -> Listed | None:
    """The session of that name, as the store has it; None: it has none. Raises Trouble."""
    desk, now = call.desk, call.desk.clock.time()
    return await desk.reads.ask(lambda database: one_of(database, desk.recorded, name, now), call.asker)


async def _one(call: Call) -> Listed:
    name = call.found.parts["session"]
    one = await one_session(call, name)
    if one is None:
        raise Trouble(ConsoleReason.NOT_FOUND, f"there is no session {name}")
    return one


def lockable(one: Listed) -> list[tuple[str, str]]:
    """What of a session can be locked, as kind and value (`policy.locks`): who, where, from where, and with what."""
    known: dict[str, Any] = dict(one.more or {})
    shown = str(known.get("key_fingerprint") or "")
    if known.get("certificate_serial"):
        shown = f"{known['certificate_serial']}@{known.get('certificate_ca', '')}"
    found = (
        (LockKind.USER, one.identity),
        (LockKind.TARGET, one.target),
        (LockKind.SOURCE, one.source),
        (LockKind.CERTIFICATE, shown),
    )
    return [(str(kind), value) for kind, value in found if value]


def is_there(one: Listed) -> bool:
    """Is there a recording of it, in the folder or in the bucket?"""
    return one.kind == SESSION and bool(one.path)


async def _about(call: Call, one: Listed) -> tuple[dict[str, Any], str]:
    """What the recording tells, and why not all of it."""
    if not is_there(one):
        why = "a tunnel has no recording"
        if one.kind == SESSION:
            why = f"the recording is not here: it is {one.state}"
        call.note_read("session", "", one.id)
        return {}, why
    try:
        opened = await call.open("about", one.id, "session")
        return orjson.loads(await opened.all()), ""
    except Trouble as trouble:
        if trouble.reason is ConsoleReason.UNAUDITED:
            raise
        return {}, trouble.text


async def session(call: Call) -> Answer:
    """One session: who, how, from where, to what, why, and what happened in it."""
    one = await _one(call)
    about, why = await _about(call, one)
    left = await reviewed_of(call, one.id, one.state == "live")
    return call.page(
        "session.html",
        one=one,
        facts=facts_of(one),
        about=about,
        why=why,
        playable=is_there(one),
        away=one.path.startswith(SCHEME),
        line=_line(one),
        spans=spans(about["channels"], about["length"]) if about else [],
        review=left,
        words=WORDS,
        most=TEXT_MAX,
        now=call.desk.clock.time(),
        lockable=lockable(one),
    )


async def api_session(call: Call) -> Answer:
    """The same for programs."""
    one = await _one(call)
    about, why = await _about(call, one)
    left = await reviewed_of(call, one.id, one.state == "live")
    return document(
        {
            **_document(one),
            "header": dict(one.more or {}),
            "recording": about or None,
            "missing": why,
            "review": left.document(),
        }
    )


def facts_of(one: Listed) -> list[tuple[str, str]]:
    """What the row and the header say, in words."""
    known: dict[str, Any] = {**(one.more or {}), "target": one.target, "login": one.login}
    found = []
    for name, label in HEADER_FIELDS:
        value = known.get(name)
        if value in (None, "", 0, [], {}, ()):
            continue
        if isinstance(value, list | tuple):
            value = ", ".join(map(str, value))
        elif isinstance(value, dict):
            value = ", ".join(f"{key}: {each}" for key, each in value.items() if each not in (None, "", []))
        found.append((label, str(value)))
    return found

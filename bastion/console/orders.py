"""Who is here now, and what may be done about it: ending a session, locking (L4).

Invariants: an order names what it is about and why; the line about it stands in the audit log, with the person's name,
before the gateway is asked, whose own line has that name beside the console's account.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from bastion.console.answers import Answer, document, see
from bastion.console.desk import Call
from bastion.console.gateway import by
from bastion.console.reads import Trouble
from bastion.control.codec import to_json
from bastion.control.node import Ended, Kill, Live, LiveAsked, Selection
from bastion.control.orders import AddLock, LockMade, LocksAsked
from bastion.errors import ConsoleReason
from bastion.observe.events.console import ConsoleOrdered
from bastion.options.kinds import seconds_of
from bastion.policy.locks import MAX_REASON, LockKind, value_of

WALL: Final = 9
"""Sessions that are watched side by side on one page."""

SHOWN: Final = 1000
"""Rows of the page; the oldest."""

KINDS: Final = tuple(map(str, LockKind))
_ID: Final = re.compile(r"[a-z2-7]{16}(?:\.[0-9]{1,10})?")
LONGEST: Final = 30 * 86400.0


class Unfit(Trouble):
    """A field cannot be read. `text` is for whoever filled it in."""

    def __init__(self, text: str) -> None:
        super().__init__(ConsoleReason.BAD_REQUEST, text)


async def _live(call: Call) -> Live:
    call.note_read("live", "")
    return await call.desk.gateway.ask(LiveAsked())


async def live(call: Call) -> Answer:
    """Sessions and tunnels that are open, and what is locked."""
    found = await _live(call)
    locks = await call.desk.gateway.ask(LocksAsked())
    rows = [row for row in found.rows if row.kind in ("session", "tunnel")]
    return call.page(
        "live.html",
        rows=rows[:SHOWN],
        more=max(0, len(rows) - SHOWN),
        silent=found.silent,
        locks=locks.locks,
        now=call.desk.clock.time(),
        wall=WALL,
        done=next((one for one in ("ended", "locked") if one in call.asked.query), ""),
    )


async def api_live(call: Call) -> Answer:
    """The same for programs."""
    return document(to_json(await _live(call)))


async def end_form(call: Call) -> Answer:
    """Is it meant? With a reason that the engineer reads."""
    name = _name(call.asked.query.get("session", ""))
    return call.page("end.html", id=name, fault="", reason="", most=MAX_REASON)


async def end(call: Call) -> Answer:
    """End one session or tunnel."""
    try:
        ended = await _ended(call)
    except Unfit as unfit:
        name = _name(call.asked.form.get("session", ""))
        return call.page("end.html", 400, id=name, fault=unfit.text, reason="", most=MAX_REASON)
    return see(f"/live?ended={ended.sessions + ended.tunnels}")


async def api_end(call: Call) -> Answer:
    """The same for programs."""
    ended = await _ended(call)
    return document({"sessions": ended.sessions, "tunnels": ended.tunnels})


async def _ended(call: Call) -> Ended:
    """Raises Unfit."""
    form = call.asked.form
    name, reason = _name(form.get("session", "")), reason_of(form.get("reason", ""))
    if not reason:
        raise Unfit(f"give a reason of up to {MAX_REASON} characters: the engineer reads it")
    call.emit(ConsoleOrdered("kill", name, reason, call.somebody.by_token))
    return await call.desk.gateway.ask(Kill(Selection(id=name), reason, by(call.somebody.name)))


async def lock_form(call: Call) -> Answer:
    """What is to be locked, and why."""
    query = call.asked.query
    return _lock_page(call, query.get("kind", "user"), query.get("value", ""))


async def lock(call: Call) -> Answer:
    """Lock somebody or something out."""
    try:
        made = await _locked(call)
    except Unfit as unfit:
        form = call.asked.form
        return _lock_page(call, form.get("kind", ""), form.get("value", ""), unfit.text)
    return see(f"/live?locked={made.sessions + made.tunnels}")


async def api_lock(call: Call) -> Answer:
    """The same for programs."""
    made = await _locked(call)
    return document({"sessions": made.sessions, "tunnels": made.tunnels})


async def _locked(call: Call) -> LockMade:
    """Raises Unfit."""
    wanted = _lock_of(call.asked.form)
    ordered = f"{wanted.kind} {wanted.value}"
    call.emit(ConsoleOrdered("lock", ordered, wanted.reason, call.somebody.by_token))
    return await call.desk.gateway.ask(replace(wanted, by=by(call.somebody.name)))


def _lock_of(form: Mapping[str, str]) -> AddLock:
    """What is to be locked. Raises Unfit."""
    kind, value, given = form.get("kind", ""), form.get("value", "").strip(), form.get("for", "").strip()
    reason = reason_of(form.get("reason", ""))
    seconds = seconds_of(given) if given else None
    if kind not in KINDS:
        raise Unfit("choose what is to be locked")
    if not reason:
        raise Unfit(f"give a reason of up to {MAX_REASON} characters: whoever is locked reads it")
    if given and (seconds is None or not 60 <= seconds <= LONGEST):
        raise Unfit("give a time from 60s to 30d, such as 24h, or nothing: until it is unlocked")
    try:
        return AddLock(LockKind(kind), value_of(LockKind(kind), value), reason, seconds)
    except ValueError as error:
        raise Unfit(str(error)) from None


def _lock_page(call: Call, kind: str, value: str, fault: str = "") -> Answer:
    return call.page(
        "lock.html",
        400 if fault else 200,
        kinds=KINDS,
        kind=kind,
        value=value[:256],
        fault=fault,
        most=MAX_REASON,
    )


def _name(text: str) -> str:
    if not _ID.fullmatch(text):
        raise Trouble(ConsoleReason.BAD_REQUEST, "that is the id of no session or tunnel")
    return text


def reason_of(text: str) -> str:
    """What was typed, on one line; "" when it says nothing or is too long."""
    words = " ".join(text.split())
    return words if len(words) <= MAX_REASON and any(letter.isalnum() for letter in words) else ""

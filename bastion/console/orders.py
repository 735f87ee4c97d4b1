"""Who is here now, and what may be done about it: ending a session, locking (L4).

Invariants: an order names what it is about and why; the line about it stands in the audit log, with the person's name,
before the gateway is asked. The gateway's own line has the console's account.
"""

from __future__ import annotations

import re
from typing import Final

from bastion.console.answers import Answer, document, see
from bastion.console.desk import Call
from bastion.console.reads import Trouble
from bastion.control.codec import to_json
from bastion.control.node import Kill, Live, LiveAsked, Selection
from bastion.control.orders import AddLock, LocksAsked
from bastion.errors import ConsoleReason
from bastion.observe.events.console import ConsoleOrdered
from bastion.options.kinds import seconds_of
from bastion.policy.locks import MAX_REASON, LockKind, value_of

SHOWN: Final = 1000
"""Rows of the page; the oldest."""

KINDS: Final = tuple(str(kind) for kind in (LockKind.USER, LockKind.TARGET, LockKind.SOURCE))
_ID: Final = re.compile(r"[a-z2-7]{16}(?:\.[0-9]{1,10})?")
LONGEST: Final = 30 * 86400.0


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
    form = call.asked.form
    name, reason = _name(form.get("session", "")), _reason(form.get("reason", ""))
    if not reason:
        fault = f"give a reason of up to {MAX_REASON} characters: the engineer reads it"
        return call.page("end.html", 400, id=name, fault=fault, reason="", most=MAX_REASON)
    call.emit(ConsoleOrdered("kill", name, reason))
    ended = await call.desk.gateway.ask(Kill(Selection(id=name), reason))
    return see(f"/live?ended={ended.sessions + ended.tunnels}")


async def lock_form(call: Call) -> Answer:
    """What is to be locked, and why."""
    query = call.asked.query
    return _lock_page(call, query.get("kind", "user"), query.get("value", ""))


async def lock(call: Call) -> Answer:
    """Lock somebody or something out."""
    form = call.asked.form
    kind, value, given = form.get("kind", ""), form.get("value", "").strip(), form.get("for", "").strip()
    reason = _reason(form.get("reason", ""))
    seconds = seconds_of(given) if given else None
    fault = ""
    if kind not in KINDS:
        fault = "choose what is to be locked"
    elif not reason:
        fault = f"give a reason of up to {MAX_REASON} characters: whoever is locked reads it"
    elif given and (seconds is None or not 60 <= seconds <= LONGEST):
        fault = "give a time from 60s to 30d, such as 24h, or nothing: until it is unlocked"
    else:
        try:
            value = value_of(LockKind(kind), value)
        except ValueError as error:
            fault = str(error)
    if fault:
        return _lock_page(call, kind, value, fault)
    call.emit(ConsoleOrdered("lock", f"{kind} {value}", reason))
    made = await call.desk.gateway.ask(AddLock(LockKind(kind), value, reason, seconds))
    return see(f"/live?locked={made.sessions + made.tunnels}")


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


def _reason(text: str) -> str:
    """What was typed, on one line; "" when it says nothing or is too long."""
    words = " ".join(text.split())
    return words if len(words) <= MAX_REASON and any(letter.isalnum() for letter in words) else ""

"""What is locked, and what is unlocked again (L4).

Invariants: whoever meets a lock takes none away, and nobody the one on himself, by account id and by name; what is
unlocked is the lock that was shown, not one that has taken its place since; the line about it stands in the audit log
before the gateway is asked, whose own line has the person beside the console's account.
"""

from __future__ import annotations

from typing import Final

from bastion.console.answers import Answer, document, see
from bastion.console.desk import Call
from bastion.console.gateway import by
from bastion.console.orders import Unfit, reason_of
from bastion.console.reads import Trouble
from bastion.console.visits import Visit
from bastion.control.codec import to_json
from bastion.control.orders import Locks, LocksAsked, RemoveLock
from bastion.errors import ConsoleReason
from bastion.observe.events.console import ConsoleOrdered
from bastion.policy.locks import MAX_REASON, Lock, LockKind, LockSet, Party

SHOWN: Final = 1000
"""Rows of the page, the newest."""

MET: Final = "you meet a lock yourself: somebody else has to unlock"


async def _listed(call: Call) -> Locks:
    call.note_read("locks", "")
    return await call.desk.gateway.ask(LocksAsked())


async def locks(call: Call) -> Answer:
    """What is locked, at all gateways."""
    found = sorted((await _listed(call)).locks, key=lambda one: one.made_at, reverse=True)
    return call.page(
        "locks.html",
        locks=[(one, _since(one), is_on(call.somebody, one)) for one in found[:SHOWN]],
        more=max(0, len(found) - SHOWN),
        done=call.asked.query.get("done", "") == "unlocked",
    )


async def api_locks(call: Call) -> Answer:
    """The same for programs."""
    return document(to_json(await _listed(call)))


async def unlock_form(call: Call) -> Answer:
    """Is it meant? With a reason."""
    query = call.asked.query
    lock = await _meant(call, query.get("kind", ""), query.get("value", ""), query.get("since"))
    return _form(call, lock)


async def unlock(call: Call) -> Answer:
    """Take one lock away."""
    form = call.asked.form
    lock = await _meant(call, form.get("kind", ""), form.get("value", ""), form.get("since", ""))
    try:
        await _unlocked(call, lock)
    except Unfit as unfit:
        return _form(call, lock, unfit.text)
    return see("/locks?done=unlocked")


async def api_unlock(call: Call) -> Answer:
    """The same for programs, which may leave out since when it is locked."""
    form = call.asked.form
    lock = await _meant(call, form.get("kind", ""), form.get("value", ""), form.get("since"))
    return document(to_json(await _unlocked(call, lock)))


async def _unlocked(call: Call, lock: Lock) -> Locks:
    """Raises Unfit, Trouble."""
    reason = reason_of(call.asked.form.get("reason", ""))
    if not reason:
        raise Unfit(f"give a reason of up to {MAX_REASON} characters: it stands in the audit log")
    call.emit(ConsoleOrdered("unlock", f"{lock.kind} {lock.value}", reason, call.somebody.by_token))
    return await call.desk.gateway.ask(
        RemoveLock(lock.value, lock.kind, reason, by(call.somebody.name), lock.made_at)
    )


async def _meant(call: Call, kind: str, value: str, since: str | None) -> Lock:
    """The lock that is there now and was shown; whoever asks may take it away. Raises Trouble."""
    found = (await call.desk.gateway.ask(LocksAsked())).locks
    check_free(call.somebody, found, call.desk.clock.time())
    lock = next((one for one in found if (one.kind, one.value) == (kind, value)), None)
    if lock is None:
        raise Trouble(ConsoleReason.NOT_FOUND, "that is not locked")
    if since is not None and since != _since(lock):
        text = "that was locked anew, or since another time: look at the list again"
        raise Trouble(ConsoleReason.BAD_REQUEST, text)
    if is_on(call.somebody, lock):
        raise Trouble(ConsoleReason.OWN, MET)
    return lock


def check_free(visit: Visit, locks: tuple[Lock, ...], now: float) -> None:
    """Who was locked a moment ago may be signed in still: the directory and the store are asked each minute. Raises
    Trouble."""
    party = Party(visit.name, visit.uid, visit.source, visit.shown)
    if LockSet(locks).party(party, now) is not None:
        raise Trouble(ConsoleReason.OWN, MET)


def is_on(visit: Visit, lock: Lock) -> bool:
    """Is it on whoever asks, by the id of the account or by the name? Either is enough."""
    if lock.kind is not LockKind.USER:
        return lock.kind is LockKind.CERTIFICATE and lock.value in visit.shown
    return lock.value == visit.name or bool(lock.uid and lock.uid == visit.uid)


def _since(lock: Lock) -> str:
    """Which of several locks of the same, one after the other."""
    return f"{lock.made_at:.6f}"


def _form(call: Call, lock: Lock, fault: str = "") -> Answer:
    return call.page(
        "unlock.html", 400 if fault else 200, lock=lock, since=_since(lock), fault=fault, most=MAX_REASON
    )

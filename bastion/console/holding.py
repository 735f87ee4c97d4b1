"""Recordings that are held (L4): placed by one, lifted by two.

Invariants: whoever asked to lift a hold does not agree to it, and whoever was in the session does neither; each step
has its line in the audit log, in the same step.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from bastion.console.answers import Answer, document, see
from bastion.console.desk import Call
from bastion.console.reads import Trouble
from bastion.console.reviews import Told, reviewer_of, taken
from bastion.errors import ConsoleReason
from bastion.observe.events import About, AuditEvent
from bastion.observe.events.retention import HoldLiftAsked, HoldLiftRefused, HoldPlaced, HoldRemoved
from bastion.recording.format import REF_LENGTH
from bastion.state import deletions, hold_lifts, pruning
from bastion.state.database import Database
from bastion.state.hold_lifts import Lift
from bastion.state.pruning import Hold
from bastion.state.reviewing import NotTaken, Tell, words_of

SHOWN: Final = 500
"""Holds of the page, the newest."""

ANSWERS: Final = ("lift", "keep")


def _event(call: Call, session: str, event: AuditEvent) -> None:
    call.emit(event, About(session, session[:REF_LENGTH], source=call.asked.source))


async def _found(call: Call) -> tuple[list[Hold], list[Lift]]:
    call.note_read("holds", "")

    def look(database: Database) -> tuple[list[Hold], list[Lift]]:
        return list(pruning.holds(database).values()), hold_lifts.lifts(database)

    held, lifts = await call.desk.reads.ask(look, call.asker)
    held.sort(key=lambda one: one.made_at, reverse=True)
    return held, lifts


async def holds(call: Call) -> Answer:
    """What is held, and what waits for a second person."""
    held, lifts = await _found(call)
    now, me = call.desk.clock.time(), reviewer_of(call)
    waiting = [one for one in lifts if one.is_open(now)]
    return call.page(
        "holds.html",
        held=held[:SHOWN],
        more=max(0, len(held) - SHOWN),
        waiting=[(one, me.is_person(one.asked_uid, one.asked_by)) for one in waiting],
        over=[one for one in lifts if not one.is_open(now)][:50],
    )


async def api_holds(call: Call) -> Answer:
    """The same for programs."""
    held, lifts = await _found(call)
    return document({"holds": [asdict(one) for one in held], "lifts": [asdict(one) for one in lifts]})


async def hold(call: Call) -> Answer:
    """Hold a recording."""
    return see(f"/sessions/{(await _hold(call)).session}")


async def api_hold(call: Call) -> Answer:
    """The same for programs."""
    return document(asdict(await _hold(call)))


async def _hold(call: Call) -> Hold:
    session, now = call.found.parts["session"], call.desk.clock.time()
    reason, token, me = _reason(call), call.somebody.by_token, reviewer_of(call)
    one = Hold(session, reason, call.somebody.name, now)

    def place(database: Database, tell: Tell) -> bool:
        if not hold_lifts.has_recording(database, session):
            raise NotTaken("there is no such recording in the index")
        deletions.check_hold(database, session, me, now)
        return pruning.hold(database, one, lambda: tell(session))

    def tell(_: str) -> None:
        _event(call, session, HoldPlaced(one.made_by, reason, token))

    if not await taken(call, place, tell):
        raise Trouble(ConsoleReason.BAD_REQUEST, "its recording was deleted already")
    return one


async def ask(call: Call) -> Answer:
    """Ask that a hold be lifted."""
    await _ask(call)
    return see("/holds")


async def api_ask(call: Call) -> Answer:
    """The same as JSON, for whoever has signed in."""
    return document(asdict(await _ask(call)))


async def _ask(call: Call) -> Lift:
    session, now, by = call.found.parts["session"], call.desk.clock.time(), reviewer_of(call)
    reason = _reason(call)

    def work(database: Database, told: Tell) -> Lift:
        return hold_lifts.ask_lift(database, session, by, reason, now, told)

    def tell(name: str) -> None:
        _event(call, session, HoldLiftAsked(by.name, reason, name))

    return await taken(call, work, tell)


async def answer(call: Call) -> Answer:
    """Agree to lift a hold, or say no."""
    await _answer(call)
    return see("/holds")


async def api_answer(call: Call) -> Answer:
    """The same as JSON, for whoever has signed in: the question as it was asked."""
    return document(asdict(await _answer(call)))


async def _answer(call: Call) -> Lift:
    form, now, by = call.asked.form, call.desk.clock.time(), reviewer_of(call)
    name, yes = form.get("lift", ""), form.get("do") == "lift"
    if form.get("do") not in ANSWERS:
        raise Trouble(ConsoleReason.BAD_REQUEST, "say whether it is to be lifted")

    def work(database: Database, told: Told[Lift]) -> Lift:
        return hold_lifts.answer_lift(database, name, by, yes, now, told)

    def tell(one: Lift) -> None:
        event: Any = HoldLiftRefused(by.name, one.id, one.asked_by)
        if yes:
            event = HoldRemoved(by.name, one.reason, one.asked_by)
        _event(call, one.session_id, event)

    return await taken(call, work, tell)


def _reason(call: Call) -> str:
    """What was typed. Raises Trouble."""
    try:
        words = words_of(call.asked.form.get("reason", ""))
    except NotTaken as error:
        raise Trouble(ConsoleReason.BAD_REQUEST, error.text) from None
    if not words:
        raise Trouble(ConsoleReason.BAD_REQUEST, "say why: it stands in the audit log and in the list")
    return words

"""Recordings that two people want deleted (L4): asked for by one admin, agreed to by another.

Invariants: the console decides nothing here and removes nothing: each of the two proves himself to the gateway, which
writes the row, and `bastion prune` removes; the line about an order stands in the audit log before the gateway is
asked.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from bastion.console.admission import STATUS
from bastion.console.answers import Answer, document, see
from bastion.console.desk import Call
from bastion.console.gateway import by
from bastion.console.proofs import asking, given
from bastion.console.reads import Trouble
from bastion.console.reviews import reviewer_of
from bastion.control.asking import ControlError
from bastion.control.deletion import (
    AnswerDeletion,
    AskDeletion,
    DeletionRow,
    answering_words,
    asking_words,
)
from bastion.errors import ConsoleReason, ControlReason
from bastion.observe.events.console import ConsoleOrdered
from bastion.state import deletions as stored
from bastion.state.database import Database
from bastion.state.deletions import Deletion
from bastion.state.reviewing import TEXT_MAX, NotTaken, words_of

ANSWERS: Final = {"agree": True, "keep": False}

_REASONS: Final = {
    ControlReason.NO_ROLE: ConsoleReason.NO_ROLE,
    ControlReason.NOT_FOUND: ConsoleReason.NOT_FOUND,
    ControlReason.AMBIGUOUS: ConsoleReason.NOT_FOUND,
    ControlReason.ALREADY: ConsoleReason.BAD_REQUEST,
    ControlReason.MALFORMED: ConsoleReason.BAD_REQUEST,
}


class NotDone(Trouble):
    """What the gateway refuses, in its words."""


async def _listed(call: Call) -> list[Deletion]:
    call.note_read("deletions", "")
    return await call.desk.reads.ask(stored.deletions, call.asker)


async def deletions(call: Call) -> Answer:
    """What waits for a second person, what waits for `bastion prune`, and what came of the others."""
    found, now = await _listed(call), call.desk.clock.time()
    return call.page(
        "deletions.html",
        waiting=[one for one in found if one.is_open(now)],
        due=[one for one in found if one.is_due(now)],
        over=[(one, one.said(now)) for one in found if not (one.is_open(now) or one.is_due(now))][:50],
        done=call.asked.query.get("done", ""),
    )


async def api_deletions(call: Call) -> Answer:
    """The same for programs."""
    return document({"deletions": [asdict(one) for one in await _listed(call)]})


async def ask_form(call: Call) -> Answer:
    """Is it meant? With a reason and a proof."""
    return await _ask_page(call)


async def _ask_page(call: Call, status: int = 200, fault: str = "") -> Answer:
    session = call.found.parts["session"]
    proof = await asking(call, {"ask": asking_words(session)})
    reason = call.asked.form.get("reason", "")[:TEXT_MAX]
    return call.page(
        "delete.html", status, session=session, proof=proof, most=TEXT_MAX, fault=fault, reason=reason
    )


async def ask(call: Call) -> Answer:
    """Ask that a recording be deleted."""
    session = call.found.parts["session"]
    try:
        reason, proof = _reason(call), given(call)
        call.emit(ConsoleOrdered("deletion ask", session, reason))
        order = AskDeletion(session, reason, proof.code, proof.passkey, proof.moment, by(call.somebody.name))
        await _told(call, order)
    except NotDone as refused:
        return await _ask_page(call, STATUS[refused.reason], refused.text)
    return see("/deletions?done=asked")


async def deletion(call: Call) -> Answer:
    """One that somebody else asked for: agree, or keep the recording."""
    call.note_read("deletions", call.found.parts["deletion"])
    return await _answer_page(call)


async def _answer_page(call: Call, status: int = 200, fault: str = "") -> Answer:
    name, now = call.found.parts["deletion"], call.desk.clock.time()

    def look(database: Database) -> Deletion | None:
        return stored.find(database, name)

    one = await call.desk.reads.ask(look, call.asker)
    if one is None or not (one.is_open(now) or one.is_due(now)):
        said = "nobody has asked for that" if one is None else f"that question is {one.said(now)}"
        raise Trouble(ConsoleReason.NOT_FOUND, fault or said)
    own = reviewer_of(call).is_person(one.asked_uid, one.asked_by)
    choices = {said: yes for said, yes in ANSWERS.items() if not yes or (one.is_open(now) and not own)}
    proof = await asking(call, {said: answering_words(name, yes) for said, yes in choices.items()})
    return call.page(
        "deletion.html",
        status,
        one=one,
        own=own,
        choices=[*choices],
        proof=proof,
        fault=fault,
        said=one.said(now),
    )


async def answer(call: Call) -> Answer:
    """Agree to it, or keep the recording."""
    name, said = call.found.parts["deletion"], call.asked.form.get("do", "")
    if said not in ANSWERS:
        raise Trouble(ConsoleReason.BAD_REQUEST, "say whether it is to be deleted")
    try:
        proof = given(call)
        call.emit(ConsoleOrdered(f"deletion {said}", name, ""))
        order = AnswerDeletion(
            name, ANSWERS[said], proof.code, proof.passkey, proof.moment, by(call.somebody.name)
        )
        await _told(call, order)
    except NotDone as refused:
        return await _answer_page(call, STATUS[refused.reason], refused.text)
    return see(f"/deletions?done={said}")


async def _told(call: Call, order: AskDeletion | AnswerDeletion) -> DeletionRow:
    """Raises NotDone."""
    try:
        asked: Any = order
        done: DeletionRow = await call.desk.gateway.told(asked)
    except ControlError as error:
        raise NotDone(_REASONS.get(error.reason, ConsoleReason.UNAVAILABLE), error.text) from None
    return done


def _reason(call: Call) -> str:
    """What was typed. Raises NotDone."""
    try:
        words = words_of(call.asked.form.get("reason", ""))
    except NotTaken as error:
        raise NotDone(ConsoleReason.BAD_REQUEST, error.text) from None
    if not words:
        raise NotDone(ConsoleReason.BAD_REQUEST, "say why: it stands in the audit log and in the list")
    return words

"""Requests for approval (L4): listed, followed as they come and go, approved and denied.

Invariants: the rules are the gateway's, as for `bastion approve`: whoever answers is the person who is signed in, with
a one-time code or a passkey that the gateway checks, never about a request of her own, and as far as the rules name
her. The line about an answer stands in the audit log before the gateway is asked.
"""

from __future__ import annotations

from typing import Any, Final

from bastion.console.admission import STATUS
from bastion.console.answers import Answer, document, see
from bastion.console.desk import Call
from bastion.console.feed import row, rows_of
from bastion.console.gateway import by
from bastion.console.proofs import asking, given
from bastion.console.reads import Trouble
from bastion.console.routes import APPROVES
from bastion.console.streams import HEADERS, KIND
from bastion.control.approvals import AnswerRequest, ApprovalRow, ApprovalsAsked, answer_words
from bastion.control.asking import ControlError
from bastion.errors import ConsoleReason, ControlReason
from bastion.observe.events.console import ConsoleOrdered
from bastion.policy.locks import MAX_REASON

ANSWERS: Final = {"approve": True, "deny": False}

_REASONS: Final = {
    ControlReason.NO_ROLE: ConsoleReason.NO_ROLE,
    ControlReason.NOT_FOUND: ConsoleReason.NOT_FOUND,
    ControlReason.ALREADY: ConsoleReason.BAD_REQUEST,
    ControlReason.MALFORMED: ConsoleReason.BAD_REQUEST,
}


class NotAnswered(Trouble):
    """What the gateway refuses, in its words."""


async def requests(call: Call) -> Answer:
    """What waits, and what was approved and not used."""
    call.note_read("requests", "")
    return await _page(call, done=call.asked.query.get("done", ""))


async def _page(call: Call, status: int = 200, **values: Any) -> Answer:
    shown = {"fault": "", "done": "", "at": "", **values}
    rows = await rows_of(call.desk.gateway, call.desk.clock.time())
    may, passkeys = bool(call.somebody.roles & APPROVES), call.desk.passkeys
    keys, codes = passkeys is not None and passkeys.decide, call.desk.codes is not None
    return call.page(
        "requests.html", status, rows=rows, may=may, most=MAX_REASON, keys=keys, codes=codes, **shown
    )


async def request(call: Call) -> Answer:
    """One that is to be answered with a passkey, or a code."""
    call.note_read("requests", call.found.parts["request"])
    return await _one(call)


async def _one(call: Call, status: int = 200, fault: str = "") -> Answer:
    name = call.found.parts["request"]
    rows = await rows_of(call.desk.gateway, call.desk.clock.time())
    row = next((one for one in rows if one["id"] == name and one["state"] == "open"), None)
    if row is None:
        raise Trouble(ConsoleReason.NOT_FOUND, fault or "there is no such request that waits for an answer")
    if row["user"] == call.somebody.name:
        raise Trouble(ConsoleReason.OWN, "nobody answers a request of his own")
    proof = await asking(call, {said: answer_words(name, yes) for said, yes in ANSWERS.items()})
    return call.page("request.html", status, row=row, most=MAX_REASON, proof=proof, fault=fault)


async def api_requests(call: Call) -> Answer:
    """The same for programs."""
    call.note_read("requests", "")
    return document({"requests": await rows_of(call.desk.gateway, call.desk.clock.time())})


async def requests_stream(call: Call) -> Answer:
    """The same again and again, as it changes."""
    call.note_read("requests", "followed")
    await call.desk.gateway.ask(ApprovalsAsked())  # a gateway that is not there is told as such
    line = call.desk.streams.open(call.somebody, call.found.route, call.asker)
    call.desk.feed.join(line)
    return Answer(kind=KIND, headers=HEADERS, stream=line)


async def answer(call: Call) -> Answer:
    """Approve or deny one."""
    try:
        done = await _answered(call)
    except NotAnswered as refused:
        if call.asked.form.get("moment"):  # of the page of this one request
            return await _one(call, STATUS[refused.reason], refused.text)
        at = call.found.parts["request"]
        return await _page(call, STATUS[refused.reason], fault=refused.text, at=at)
    return see(f"/requests?done={done.state}")


async def api_answer(call: Call) -> Answer:
    """The same for programs."""
    done = await _answered(call)
    return document(row(done, call.desk.clock.time()))


async def _answered(call: Call) -> ApprovalRow:
    """Raises Trouble, also as NotAnswered."""
    form, request = call.asked.form, call.found.parts["request"]
    said, why, proof = form.get("answer", ""), form.get("reason", "").strip(), given(call)
    if said not in ANSWERS:
        raise Trouble(ConsoleReason.BAD_REQUEST, "the answer is approve or deny")
    if len(why) > MAX_REASON:
        raise Trouble(ConsoleReason.BAD_REQUEST, f"a reason has up to {MAX_REASON} characters")
    call.emit(ConsoleOrdered(said, request, why, call.somebody.by_token))
    order = AnswerRequest(
        request, ANSWERS[said], why, proof.code, by(call.somebody.name), proof.passkey, proof.moment
    )
    try:
        return await call.desk.gateway.told(order)
    except ControlError as error:
        reason = _REASONS.get(error.reason, ConsoleReason.UNAVAILABLE)
        raise NotAnswered(reason, error.text) from None

"""The lobby's commands about approvals: ask for one, list what may be answered, answer (L3).

Invariant: who may not answer a request reads the same as of one that does not exist, and is shown none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from bastion.auth.factors import CODE, OIDC
from bastion.auth.identity import Destination
from bastion.doors.asked import Answer, Call, Command
from bastion.doors.door import Outer
from bastion.doors.step_up import StepUp, context_of
from bastion.errors import ApprovalReason, Refused
from bastion.observe.events.refusals import AnswerRefused
from bastion.policy.approval import from_text, in_words, may_approve
from bastion.policy.grant import FactorsNeeded, Grant, authorise
from bastion.session.approving import approver, ask_for, count, why_of
from bastion.state.approvals import Request, State
from bastion.wire.printable import printable

REQUEST_USAGE: Final = "usage: request TARGET [LOGIN] for REASON\n"
ANSWER_USAGE: Final = "usage: {} REQUEST [for REASON]\n"
MOST_WORDS: Final = 3
MOST_TEXT: Final = 512
"""Characters that are looked at: a name, an account and a reason."""


class _Typed(NamedTuple):
    """What was typed: the words before `for`, and the reason behind it."""

    command: str
    words: tuple[str, ...]
    why: str


def _read(command: str, text: str) -> _Typed:
    words = text.split() if len(text) <= MOST_TEXT else []
    at = words.index("for") if "for" in words else len(words)
    return _Typed(command, tuple(words[: min(at, MOST_WORDS)]), why_of(" ".join(words[at + 1 :])))


def _command(name: str, work: Callable[[Call, _Typed], Coroutine[Any, Any, Answer]]) -> Command:
    """`work` as a command of the lobby: what it refuses is written down, counted and told."""

    async def run(call: Call) -> Answer:
        outer, typed = call.outer, _read(name, call.text)
        try:
            return await work(call, typed)
        except Refused as refusal:
            count(outer.gateway, refusal)
            request = printable(typed.words[0], 32) if typed.words and name in ("approve", "deny") else ""
            outer.note(AnswerRefused(command=name, request=request, reason=refusal.reason, text=refusal.text))
            return Answer("", 1, f"{refusal.text} (ref {outer.ref})\n")

    return run


async def _request(call: Call, typed: _Typed) -> Answer:
    outer = call.outer
    if not 1 <= len(typed.words) <= 2 or not typed.why:
        return Answer(REQUEST_USAGE, 2)
    target, login = typed.words[0], typed.words[1] if len(typed.words) == 2 else None
    grant = _authorise(outer, target, login)
    place = f"{grant.target.name} as {grant.login}"
    if not grant.approval:
        return Answer(f"{place} needs no approval\n")
    request = await ask_for(outer.gateway, outer.identity, grant, typed.why)
    who = in_words(grant.approval)
    lines = [
        f"request {request.id}: {place}, to be approved by {who}",
        f"until {_time(request.expires_at)}, for one session from {request.source}",
    ]
    return Answer("\n".join(lines) + "\n")


def _authorise(outer: Outer, target: str, login: str | None) -> Grant:
    services, identity, gateway = outer.services, outer.identity, outer.gateway
    source, now = identity.source_address, gateway.clock.time()
    grant = authorise(services.policy, services.inventory, identity, target, login, source, now)
    gateway.check_locks(identity, grant.target)
    return grant


async def _requests(call: Call, typed: _Typed) -> Answer:
    outer = call.outer
    if typed.words:
        return Answer("usage: requests\n", 2)
    identity = outer.identity
    found = [
        one
        for one in await outer.gateway.approvals.listed()
        if one.uid == identity.uid
        or (one.state == State.OPEN and may_approve(from_text(one.needed), identity.name, identity.groups))
    ]
    if not found:
        return Answer("no request waits for you, and none is yours\n")
    return Answer("".join(f"{line}\n" for one in found for line in described(one)))


def described(one: Request) -> list[str]:
    """A request in two lines."""
    who = printable(in_words(from_text(one.needed)), 200)
    state = f"approved by {one.answered_by}" if one.state == State.APPROVED else f"to be approved by {who}"
    asks = f"{one.identity} from {one.source}, {one.target} as {one.login}"
    return [
        f"{one.id}  {asks}: {one.why or 'waits at the door'}",
        f"{'':{len(one.id)}}  {state}, until {_time(one.expires_at)}; {one.verbs}",
    ]


async def _answer(call: Call, typed: _Typed) -> Answer:
    outer = call.outer
    yes = typed.command == "approve"
    if len(typed.words) != 1:
        return Answer(ANSWER_USAGE.format(typed.command), 2)
    by = await approver(outer.gateway, outer.identity)
    outer.check_fresh()
    request, approvals = typed.words[0].lower(), outer.gateway.approvals
    try:
        done = await approvals.answer(request, by, yes, typed.why)
    except Refused as refusal:
        if refusal.reason is not ApprovalReason.NO_FACTOR:
            raise
        by = replace(by, factor=await _factor(call, refusal))  # who may not answer was not asked for one
        done = await approvals.answer(request, by, yes, typed.why)
    place = f"{done.identity} on {done.target} as {done.login}"
    if not yes:
        return Answer(f"request {done.id} denied: {place}\n")
    return Answer(f"request {done.id} approved: {place}, for one session until {_time(done.expires_at)}\n")


async def _factor(call: Call, refusal: Refused) -> str:
    """Have a second factor given, which counts for the connection from now on. Raises `refusal` where nobody can be
    asked for one, and Refused(NO_FACTOR)."""
    outer = call.outer
    codes, others = outer.gateway.codes, outer.services.auth.outside
    factor = CODE if codes is not None else OIDC if OIDC in others else ""
    if not factor or call.ask is None:
        raise refusal
    context = context_of(outer, outer.id)
    step_up = StepUp(context, outer.gateway.reactor, call.ask, outer.services.front_settings.login_grace)
    needed = FactorsNeeded("an answer", (factor,))
    try:
        await step_up.prove(outer.identity, Destination(outer.identity.name), needed)
    except Refused as failed:
        raise Refused(ApprovalReason.NO_FACTOR, failed.text) from None
    outer.note_factors((factor,))
    return factor


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%SZ")


COMMANDS: Final = {
    "request": (_command("request", _request), "ask for an approval: request TARGET [LOGIN] for REASON"),
    "requests": (
        _command("requests", _requests),
        "what waits for an approval: yours, and what you may answer",
    ),
    "approve": (_command("approve", _answer), "approve a request: approve REQUEST [for REASON]"),
    "deny": (_command("deny", _answer), "deny a request: deny REQUEST [for REASON]"),
}

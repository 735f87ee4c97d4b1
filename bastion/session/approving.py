"""What an opening, the lobby and the control socket do about approvals, over the gateway (L3).

Invariants: an opening goes on in the turn in which everything was looked at again: the directory's answer, policy,
locks, what is revoked, and what the approval is bound to. Who answers is an identity of the directory as it is now,
with a second factor of the last minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from twisted.internet.defer import CancelledError

from bastion.auth.directory import Asker
from bastion.auth.embedded import has_own_id
from bastion.auth.factors import CODE, OUTSIDE
from bastion.auth.identity import Account, Identity
from bastion.errors import ApprovalReason, PolicyReason, Refused
from bastion.observe.meters import APPROVALS
from bastion.policy.approval import as_text, in_words
from bastion.policy.grant import Grant
from bastion.session.gateway import Gateway
from bastion.session.standing import GONE, GONE_TEXT
from bastion.session.watch import in_words as time_in_words
from bastion.state.approvals import Approver, Bound, Request, State
from bastion.wire.printable import printable

FACTOR_FRESH: Final = 600.0
"""Seconds for which a second factor counts for an answer: who answers has just shown it, not this morning."""

MAX_WHY: Final = 200
"""Characters of a reason: it stands in a list, on a terminal's line and in a recording's header."""

SECURITY_KEY: Final = "sk-publickey"


@dataclass(frozen=True, slots=True)
class Approval:
    """An opening's: the request that was claimed for it, and the identity as the directory says now."""

    request: Request
    identity: Identity


def bound_of(identity: Identity, grant: Grant) -> Bound:
    """What an approval of this grant has to be for."""
    verbs = ",".join(sorted(grant.granted_by))
    needed = as_text(grant.approval)
    target = grant.target
    place = target.name, grant.login, verbs, identity.source_address, needed
    return Bound(identity.uid, *place, target.machine)


def check_bound(approval: Approval, grant: Grant) -> None:
    """Is `grant`, made now, what was approved? Raises Refused(STALE)."""
    if bound_of(approval.identity, grant) != approval.request.bound:
        text = "what was approved is not what the rules say now: it has to be asked for again"
        raise Refused(ApprovalReason.STALE, text)


async def obtain(
    gateway: Gateway, identity: Identity, grant: Grant, session: str, tell: Callable[[str], None]
) -> Approval:
    """The approval that `grant` needs, used up for `session`; where a rule says so it is waited for, and `tell` says
    that. Raises Refused, also when the account is none any more."""
    _check_id(identity)
    bound = bound_of(identity, grant)
    approvals = gateway.approvals
    request = await approvals.claim(bound, session)
    if request is None:
        await _ask(gateway, identity, grant, bound, tell)
        request = await approvals.claim(bound, session)
    if request is None:
        raise Refused(ApprovalReason.STALE, "the approval was used by another session of yours")
    account = await confirmed(gateway, identity)
    return Approval(request, replace(identity, groups=account.groups))


async def confirmed(gateway: Gateway, identity: Identity) -> Account:
    """The account of `identity` as the directory has it now. Raises Refused: gone, another one, or no answer."""
    asker = Asker(gateway.budget.identity(identity.name))
    try:
        account = await gateway.services.auth.directory.lookup(identity.name, asker)
    except Refused as refusal:
        if refusal.reason in GONE:
            raise Refused(PolicyReason.ACCOUNT_GONE, GONE_TEXT) from None
        raise Refused(PolicyReason.ACCOUNT_UNCONFIRMED, refusal.text) from None
    if account.uid != identity.uid:
        raise Refused(PolicyReason.ACCOUNT_GONE, "the account is another one than at the login")
    return account


async def _ask(
    gateway: Gateway, identity: Identity, grant: Grant, bound: Bound, tell: Callable[[str], None]
) -> None:
    """Wait until it is approved, as far as the rules let one wait. Raises Refused."""
    approvals, wait = gateway.approvals, grant.wait
    state = State.DRAFT if wait is None else State.OPEN
    request, fresh = await approvals.file(bound, identity.name, "", state)
    place = f"{grant.target.name} as {grant.login}"
    who = printable(in_words(grant.approval), MAX_WHY)
    if wait is None:
        if request.state == State.OPEN:
            text = f"{place}: request {request.id} waits for an approval by {who}: try again when it has one"
        else:
            command = request_command(gateway, identity, grant)
            text = f"{place} needs an approval by {who}: ask with {command} (request {request.id})"
        raise Refused(ApprovalReason.NEEDED, text)
    tell(f"{place} needs an approval: {who} can approve request {request.id} within {time_in_words(wait)}")
    try:
        answered = await approvals.wait(request, wait)
    except CancelledError:
        if fresh:
            approvals.withdraw(request)
        raise
    if answered.state == State.DENIED:
        why = f": {answered.answer_why}" if answered.answer_why else ""
        text = f"{place}: request {request.id} was denied by {answered.answered_by}{why}"
        raise Refused(ApprovalReason.DENIED, text)


async def ask_for(gateway: Gateway, identity: Identity, grant: Grant, why: str) -> Request:
    """File a request for what `grant` would let one do. Raises Refused."""
    _check_id(identity)
    request, _ = await gateway.approvals.file(bound_of(identity, grant), identity.name, why, State.OPEN)
    return request


def count(gateway: Gateway, refusal: Refused) -> None:
    """A refusal that is about approvals. What was denied was counted when it was."""
    if isinstance(refusal.reason, ApprovalReason) and refusal.reason is not ApprovalReason.DENIED:
        gateway.meters.add(APPROVALS, refusal.reason)


async def approver(gateway: Gateway, identity: Identity) -> Approver:
    """Somebody at a door as one who answers: as the directory says now. Raises Refused."""
    _check_id(identity)
    if identity.is_break_glass:
        raise Refused(ApprovalReason.NOT_APPROVER, "a break-glass account approves nothing")
    gateway.check_locks(identity)
    account = await confirmed(gateway, identity)
    return Approver(account.name, account.uid, account.groups, fresh_factor(identity, gateway.clock.time()))


def fresh_factor(identity: Identity, now: float) -> str:
    """The second factor that this login has given within the last minutes, "" for none."""
    carried = identity.carried
    for factor in (CODE, SECURITY_KEY, *OUTSIDE):
        # What a certificate that was issued here carries is as old as the login that got it.
        of_before = carried is not None and factor in carried.factors
        given_at = carried.at if carried is not None and of_before else identity.authenticated_at
        if factor in identity.factors and _is_fresh(given_at, now):
            return factor
    verified = identity.user_verified and _is_fresh(identity.authenticated_at, now)
    return SECURITY_KEY if verified else ""


def _is_fresh(given_at: float, now: float) -> bool:
    """Of the last minutes; what lies far ahead was given before the clock was set back, nobody knows when."""
    return abs(now - given_at) <= FACTOR_FRESH


def why_of(text: str) -> str:
    """A reason as one line that shows as itself, cut at MAX_WHY characters."""
    return printable(" ".join(text.split()), MAX_WHY)


def request_command(gateway: Gateway, identity: Identity, grant: Grant) -> str:
    """What the engineer types to ask for it."""
    host, port = gateway.public
    option = f"-p {port} " if port != 22 else ""
    return f"ssh {option}{identity.name}@{host} request {grant.target.name} {grant.login} for REASON"


def _check_id(identity: Identity) -> None:
    if not has_own_id(identity):
        text = f"{identity.name} has no id of its own, which an approval hangs on: the directory has to give it one"
        raise Refused(ApprovalReason.NO_ID, text)

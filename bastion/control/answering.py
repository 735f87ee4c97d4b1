"""Requests for approval at the control socket: listed, approved and denied by a process that serves (L3).

Invariants: an account of this machine answers as the identity of the directory that has its name or, where it may speak
for others, as the one that it names. A one-time code of that identity proves it either way, and guesses are charged as
at the door. Root is nobody in the directory, and approves nothing.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred

from bastion.auth.directory import Asker
from bastion.auth.embedded import has_own_id
from bastion.auth.factors import CODE
from bastion.auth.identity import Account
from bastion.control.approvals import AnswerRequest, ApprovalRow, ApprovalRows, ApprovalsAsked
from bastion.control.asking import ControlError
from bastion.control.code_using import spend
from bastion.errors import ApprovalReason, AuthReason, ControlReason, PolicyReason, Refused
from bastion.observe.events.refusals import AnswerRefused
from bastion.policy.approval import from_text, in_words
from bastion.policy.locks import Party
from bastion.session.approving import count, why_of
from bastion.session.gateway import Gateway
from bastion.state.approvals import Approver, Request
from bastion.wire.printable import printable

HERE: Final = ""
"""The source that guesses of codes at the socket are charged to: it is no address."""

_REASONS: Final = {
    ApprovalReason.NOT_FOUND: ControlReason.NOT_FOUND,
    ApprovalReason.ANSWERED: ControlReason.ALREADY,
    ApprovalReason.EXPIRED: ControlReason.ALREADY,
    ApprovalReason.UNAVAILABLE: ControlReason.FAILED,
}


class Answering:
    """What one process answers about approvals, over its gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def listed(self, request: ApprovalsAsked, stream: Any) -> Deferred[ApprovalRows]:
        """What is open, and approved and not used. Fails with ControlError."""
        return Deferred.fromCoroutine(self._listed())

    def answer(self, request: AnswerRequest, stream: Any) -> Deferred[ApprovalRow]:
        """Approve or deny. Fails with ControlError."""
        return Deferred.fromCoroutine(self._told(request))

    async def _listed(self) -> ApprovalRows:
        try:
            return ApprovalRows(tuple(map(_row, await self._gateway.approvals.listed())))
        except Refused as refusal:
            raise ControlError(ControlReason.FAILED, refusal.text) from None

    async def _told(self, request: AnswerRequest) -> ApprovalRow:
        gateway = self._gateway
        try:
            by = await self._approver(request)
            why = why_of(request.why)
            return _row(await gateway.approvals.answer(request.id.strip().lower(), by, request.yes, why))
        except Refused as refusal:
            count(gateway, refusal)
            line = AnswerRefused(
                command="approve" if request.yes else "deny",
                request=printable(request.id, 32),
                by=str(request.by),
                reason=refusal.reason,
                text=refusal.text,
            )
            gateway.audit.note(line)
            reason = _REASONS.get(refusal.reason) if isinstance(refusal.reason, ApprovalReason) else None
            raise ControlError(reason or ControlReason.NO_ROLE, refusal.text) from None

    async def _approver(self, request: AnswerRequest) -> Approver:
        """Who that is in the directory, with the code that was typed. Raises Refused."""
        gateway, name = self._gateway, request.by.person or request.by.name
        asker = Asker(gateway.budget.identity(name))
        try:
            account = await gateway.services.auth.directory.lookup(name, asker)
        except Refused:
            text = f"{printable(name, 64)} is nobody in the directory: approve as somebody who is"
            raise Refused(ApprovalReason.NOT_APPROVER, text) from None
        if not has_own_id(account):
            raise Refused(ApprovalReason.NO_ID, f"{account.name} has no id of its own in the directory")
        if account.only_targets:
            raise Refused(ApprovalReason.NOT_APPROVER, "a break-glass account approves nothing")
        lock = gateway.locks.party(Party(account.name, account.uid, HERE), gateway.clock.time())
        if lock is not None:
            raise Refused(PolicyReason.LOCKED, lock.text)
        await self._check_code(account, request.code, asker)
        return Approver(account.name, account.uid, account.groups, CODE)

    async def _check_code(self, account: Account, code: str, asker: Asker) -> None:
        """Use the code up. Raises Refused(NO_FACTOR) for whatever is wrong with it."""
        gateway = self._gateway
        codes = gateway.codes
        if codes is None or not code:
            text = (
                "a one-time code is needed"
                if codes
                else "no [totp] key_file is configured: nobody can prove a code"
            )
            raise Refused(ApprovalReason.NO_FACTOR, text)
        reason, _ = await spend(gateway, HERE, account.name, account.uid, code, asker)
        if reason is not AuthReason.OK:
            raise Refused(ApprovalReason.NO_FACTOR, f"the code was not accepted: {reason}")


def _row(one: Request) -> ApprovalRow:
    return ApprovalRow(
        one.id,
        one.state,
        one.identity,
        one.target,
        one.login,
        one.verbs,
        one.source,
        in_words(from_text(one.needed)),
        one.why,
        one.made_at,
        one.expires_at,
        one.answered_by,
        one.answer_why,
    )

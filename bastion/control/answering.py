"""Requests for approval at the control socket: listed, approved and denied by a process that serves (L3).

Invariants: an account of this machine answers as the identity of the directory that has its name or, where it may speak
for others, as the one that it names, and proves it either way (`proofs`). Root is nobody in the directory, and approves
nothing.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred

from bastion.control.approvals import (
    AnswerRequest,
    ApprovalRow,
    ApprovalRows,
    ApprovalsAsked,
    answer_words,
)
from bastion.control.asking import ControlError
from bastion.control.proofs import Proof, proved
from bastion.errors import ApprovalReason, ControlReason, Refused
from bastion.observe.events.refusals import AnswerRefused
from bastion.policy.approval import from_text, in_words
from bastion.session.approving import count, why_of
from bastion.session.gateway import Gateway
from bastion.state.approvals import Request
from bastion.wire.printable import printable

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
            about = answer_words(request.id.strip().lower(), request.yes)
            proof = Proof(about, request.code, request.passkey, request.moment)
            by = await proved(gateway, request.by, proof)
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

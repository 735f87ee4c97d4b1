"""Requests for approval as they are asked about at the control socket, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from bastion.control.asking import NOBODY, By, Request


@dataclass(frozen=True, slots=True)
class ApprovalRow:
    """One request for approval. Times are seconds since the epoch, `verbs` joined by commas."""

    id: str
    state: str
    user: str
    target: str
    login: str
    verbs: str
    source: str
    approvers: str
    why: str
    made_at: float
    expires_at: float
    answered_by: str = ""
    answer_why: str = ""


@dataclass(frozen=True, slots=True)
class ApprovalRows:
    """Oldest first."""

    requests: tuple[ApprovalRow, ...]


@dataclass(frozen=True, slots=True)
class ApprovalsAsked(Request[ApprovalRows]):
    """What waits for an approval, and what was approved and not used?"""

    command: ClassVar[str] = "approvals"
    result: ClassVar[type[Any]] = ApprovalRows


@dataclass(frozen=True, slots=True)
class AnswerRequest(Request[ApprovalRow]):
    """Approve a request, or deny it, as the identity that has the account's name; `code` proves that, or `passkey`,
    asked at `moment` for `answer_words`."""

    id: str
    yes: bool
    why: str = ""
    code: str = field(default="", repr=False)
    by: By = NOBODY
    passkey: str = field(default="", repr=False, metadata={"left_out": True})
    moment: int = field(default=0, metadata={"left_out": True})

    command: ClassVar[str] = "approval_answer"
    result: ClassVar[type[Any]] = ApprovalRow
    deadline: ClassVar[float | None] = 20.0


def answer_words(request: str, yes: bool) -> tuple[str, ...]:
    """What a passkey signs for an answer."""
    return ("request", request, "approve" if yes else "deny")


APPROVAL_ORDERS: Final[tuple[type[Request[Any]], ...]] = (ApprovalsAsked, AnswerRequest)

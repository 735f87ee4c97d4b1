"""Events of approvals: what was asked for, and what somebody else has said to it (L0, pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from bastion.errors import ApprovalReason
from bastion.observe.events.base import AuditEvent, Line, of


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalFiled(AuditEvent):
    """somebody asked for an approval"""

    event: ClassVar[str] = "approval_filed"

    request: str
    user: str
    uid: str
    target: str
    login: str
    verbs: str
    source: str
    approvers: Annotated[str, "who may answer it"]
    why: str = ""

    @staticmethod
    def sentence(line: Line) -> str:
        where = f"{line.get('target', '?')}{of(line, 'login', ' as ')}"
        who = line.get("user", "?")
        return f"{who} asked for an approval of {where} ({line.get('request', '?')}){of(line, 'why', ': ')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalAnswered(AuditEvent):
    """somebody else approved or denied it"""

    event: ClassVar[str] = "approval_answered"

    request: str
    result: Annotated[ApprovalReason, "`approved`, `denied`"]
    by: str
    by_uid: Annotated[str, "the immutable id of whoever answered"]
    factor: Annotated[str, "the second factor that came with the answer"]
    user: Annotated[str, "who had asked"]
    uid: str
    target: str
    login: str
    source: str
    why: str = ""

    @staticmethod
    def sentence(line: Line) -> str:
        where = f"{line.get('user', '?')} on {line.get('target', '?')}{of(line, 'login', ' as ')}"
        answer, by = line.get("result", "?"), line.get("by", "?")
        return f"{by} has {answer} {where} ({line.get('request', '?')}){of(line, 'why', ': ')}"

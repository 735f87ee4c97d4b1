"""Who may ask and tell what (pure): every command has the roles that may, and the group of an account is its role."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from bastion.control.approvals import AnswerRequest, ApprovalsAsked
from bastion.control.deletion import AnswerDeletion, AskDeletion, DeletionsAsked
from bastion.control.glass import CloseGlass, GlassAsked, OpenGlass
from bastion.control.node import Kill, LiveAsked, SnapshotAsked, StatusAsked
from bastion.control.orders import (
    AddLock,
    CertificatesAsked,
    ClearPenalties,
    EnrolTotp,
    InviteTotp,
    KeysOfAsked,
    LocksAsked,
    PenaltiesAsked,
    RemoveLock,
    ResetTotp,
    SetLogLevel,
    TotpAsked,
    Upgrade,
    WatchSession,
)
from bastion.control.proving import UseCode
from bastion.control.reloads import ReloadOrder


class Role(StrEnum):
    """What somebody is for the gateway. Root and the gateway's own account are admin."""

    ADMIN = "admin"
    RESPONDER = "responder"
    APPROVER = "approver"
    AUDITOR = "auditor"


_EVERYBODY: Final = frozenset(Role)
_LOOKS: Final = frozenset((Role.ADMIN, Role.RESPONDER, Role.AUDITOR))
_ACTS: Final = frozenset((Role.ADMIN, Role.RESPONDER))
_RUNS: Final = frozenset((Role.ADMIN,))
_DECIDES: Final = frozenset((Role.ADMIN, Role.APPROVER))
"""For whoever proves himself to the gateway: what the person may, the rules say and the directory."""

MAY: Final[dict[str, frozenset[Role]]] = {
    StatusAsked.command: _EVERYBODY,
    LiveAsked.command: _EVERYBODY,
    LocksAsked.command: _EVERYBODY,
    SnapshotAsked.command: _LOOKS,
    PenaltiesAsked.command: _LOOKS,
    WatchSession.command: _LOOKS,
    Kill.command: _ACTS,
    AddLock.command: _ACTS,
    RemoveLock.command: _ACTS,
    ClearPenalties.command: _ACTS,
    SetLogLevel.command: _RUNS,
    Upgrade.command: _RUNS,
    ReloadOrder.command: _RUNS,
    TotpAsked.command: _LOOKS,
    CertificatesAsked.command: _LOOKS,
    UseCode.command: _LOOKS,  # at the door everybody may try codes
    KeysOfAsked.command: _LOOKS,
    EnrolTotp.command: _RUNS,
    InviteTotp.command: _RUNS,
    ResetTotp.command: _RUNS,
    ApprovalsAsked.command: _EVERYBODY,
    AnswerRequest.command: _DECIDES,
    DeletionsAsked.command: _EVERYBODY,
    AskDeletion.command: _DECIDES,
    AnswerDeletion.command: _DECIDES,
    GlassAsked.command: _LOOKS,
    OpenGlass.command: _RUNS,
    CloseGlass.command: _RUNS,
}
"""Command -> roles. What is not here is between processes, and nobody may ask it at the control socket."""


def may(command: str, roles: frozenset[Role]) -> bool:
    """Does one of the roles allow the command?"""
    return bool(MAY.get(command, frozenset()) & roles)

"""Whom an account speaks for (pure): the review console asks for the person who is signed in there.

Invariant: the claim is taken from accounts that may speak for others alone, for what people order and for nothing else;
it gives no right, which is the account's own; and wherever it is told it stands beside the account's name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bastion.auth.identity import LOGIN_NAME
from bastion.control.approvals import AnswerRequest
from bastion.control.asking import By, ControlError
from bastion.control.deletion import AnswerDeletion, AskDeletion
from bastion.control.node import Kill
from bastion.control.orders import AddLock, RemoveLock, WatchSession
from bastion.control.peer import Caller
from bastion.errors import ControlReason
from bastion.wire.printable import printable

FOR_OTHERS: Final = frozenset(
    kind.command
    for kind in (Kill, AddLock, RemoveLock, WatchSession, AnswerRequest, AskDeletion, AnswerDeletion)
)
"""Commands that may be asked for somebody else."""


def spoken(caller: Caller, command: str, claimed: By) -> By:
    """Who asks: the account, and whom it says that it asks for. Raises ControlError."""
    person = claimed.person
    if not person:
        return caller.by
    if not caller.speaks:
        text = f"{caller.by.name} may not ask for {printable(person, 64)}: it speaks for itself alone"
        raise ControlError(ControlReason.NO_ROLE, text)
    if command not in FOR_OTHERS:
        raise ControlError(ControlReason.NO_ROLE, f"nobody may {command} for somebody else")
    if not LOGIN_NAME.match(person):
        raise ControlError(ControlReason.MALFORMED, "whom it is asked for is no name of an account")
    return replace(caller.by, person=person)

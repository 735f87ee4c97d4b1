"""Recordings that two people want deleted, at the control socket (L3): asked for and agreed to by a process that
serves.

Invariants: each of the two proves himself here (`proofs`), whatever account of this machine speaks for him, and is in
one of `[console] admin_groups` as the directory has the groups at that moment; the line about it is written in the same
step as the row. Nothing is removed here: that does `bastion prune`, which looks at everything again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

from bastion.auth.factors import PASSKEY
from bastion.control.asking import By, ControlError
from bastion.control.deletion import (
    AnswerDeletion,
    AskDeletion,
    DeletionRow,
    DeletionRows,
    DeletionsAsked,
    answering_words,
    asking_words,
)
from bastion.control.proofs import Proof, proved
from bastion.control.proving import AHEAD
from bastion.errors import ControlReason, Refused
from bastion.observe.audit import AuditFailed
from bastion.observe.events import About, AuditEvent
from bastion.observe.events.retention import DeletionAgreed, DeletionAsked, DeletionStopped
from bastion.recording.format import REF_LENGTH
from bastion.session.gateway import Gateway
from bastion.state.database import Database, StateDown
from bastion.state.deletions import Deletion, Person, Tell, answer, ask, deletions
from bastion.state.index import sessions_beginning
from bastion.state.reviewing import TEXT_MAX, NotTaken

SHORTEST: Final = 4
"""Characters of the beginning of a session's id."""


class Deleting:
    """What one process answers about deletions, over its gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def listed(self, request: DeletionsAsked, stream: Any) -> Deferred[DeletionRows]:
        """Fails with ControlError."""
        return Deferred.fromCoroutine(self._listed())

    def ask(self, request: AskDeletion, stream: Any) -> Deferred[DeletionRow]:
        """Fails with ControlError."""
        return Deferred.fromCoroutine(self._ask(request))

    def answer(self, request: AnswerDeletion, stream: Any) -> Deferred[DeletionRow]:
        """Fails with ControlError."""
        return Deferred.fromCoroutine(self._answer(request))

    async def _listed(self) -> DeletionRows:
        now = self._gateway.clock.time()
        found = await _stored(self._gateway.state.ask(deletions))
        return DeletionRows(tuple(_row(one, now) for one in found))

    async def _ask(self, request: AskDeletion) -> DeletionRow:
        if len(request.why) > 4 * TEXT_MAX:
            raise ControlError(ControlReason.MALFORMED, f"a reason has up to {TEXT_MAX} characters")
        session = await self._session(request.session.strip().lower())
        proof = Proof(asking_words(session), request.code, request.passkey, request.moment)
        by = await self._person(request.by, proof)

        def event(one: Deletion) -> AuditEvent:
            return DeletionAsked(by.name, one.reason, one.id, by.factor, request.by.name)

        return await self._decided(partial(ask, session=session, by=by, reason=request.why), event)

    async def _answer(self, request: AnswerDeletion) -> DeletionRow:
        name, yes = request.id.strip().lower(), request.yes
        proof = Proof(answering_words(name, yes), request.code, request.passkey, request.moment)
        by = await self._person(request.by, proof)

        def event(one: Deletion) -> AuditEvent:
            said = by.name, one.asked_by, one.reason, one.id, by.factor, request.by.name
            return DeletionAgreed(*said) if yes else DeletionStopped(*said)

        return await self._decided(partial(answer, name=name, by=by, yes=yes), event)

    async def _session(self, prefix: str) -> str:
        """The one session whose id begins so. Raises ControlError."""
        if len(prefix) < SHORTEST or not prefix.isalnum():
            raise ControlError(ControlReason.MALFORMED, "a session's id has 16 letters and digits")
        found = await _stored(self._gateway.state.ask(partial(sessions_beginning, prefix=prefix)))
        if len(found) != 1:
            reason = ControlReason.AMBIGUOUS if found else ControlReason.NOT_FOUND
            text = f"{prefix} means {len(found)} sessions" if found else f"there is no session {prefix}"
            raise ControlError(reason, text)
        return str(found[0])

    async def _person(self, by: By, proof: Proof) -> Person:
        """Raises ControlError."""
        try:
            found = await proved(self._gateway, by, proof)
        except Refused as refusal:
            raise ControlError(ControlReason.NO_ROLE, refusal.text) from None
        if not self._gateway.services.deletions.groups & found.groups:
            text = (
                f"{found.name} is in none of [console] admin_groups: who deletes is an admin of the console"
            )
            raise ControlError(ControlReason.NO_ROLE, text)
        since = float(proof.moment - AHEAD) if found.factor == PASSKEY else None
        return Person(found.uid, found.name, found.factor, since)

    async def _decided(
        self, decision: Callable[..., Deletion], event: Callable[[Deletion], AuditEvent]
    ) -> DeletionRow:
        """The row as it is afterwards. Raises ControlError."""
        gateway, now = self._gateway, self._gateway.clock.time()

        def emit(one: Deletion) -> None:
            about = About(one.session_id, one.session_id[:REF_LENGTH])
            gateway.audit.emit(event(one), about)

        def tell(one: Deletion) -> None:
            blockingCallFromThread(gateway.reactor, emit, one)

        at_least = gateway.services.deletions.at_least

        def decide(database: Database) -> Deletion:
            told: Tell = tell
            return decision(database, now=now, at_least=at_least, tell=told)

        return _row(await _stored(gateway.state.decide(decide)), now)


async def _stored(asked: Deferred[Any]) -> Any:
    """What the store says. Raises ControlError."""
    try:
        return await asked
    except NotTaken as refused:
        raise ControlError(
            ControlReason.NO_ROLE if refused.own else ControlReason.ALREADY, refused.text
        ) from None
    except AuditFailed:
        raise ControlError(ControlReason.FAILED, "the audit log cannot be written") from None
    except StateDown as error:
        raise ControlError(ControlReason.FAILED, f"the state store does not answer: {error.text}") from None


def _row(one: Deletion, now: float) -> DeletionRow:
    return DeletionRow(
        one.id,
        one.session_id,
        one.said(now),
        one.reason,
        one.asked_by,
        one.asked_at,
        one.answered_by,
        one.answered_at,
        one.outcome,
    )

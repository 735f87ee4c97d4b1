"""Requests for approval in one process: filed, waited for, answered, used (L3).

The store decides (`state.approvals`); this asks it in its thread, says what came of it in the audit log and a counter,
and holds whoever waits. Invariants: what the store does not answer is refused, never let through; who waits holds no
target and no place of a session, and is one of a bounded number; an answer is looked for, wherever it was given, once a
second for all who wait.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from twisted.internet.defer import CancelledError, Deferred

from bastion.clock import Clock, DelayedCall
from bastion.errors import ApprovalReason, LimitReason, Refused
from bastion.observe.audit import AuditLog
from bastion.observe.events.approvals import ApprovalAnswered, ApprovalFiled
from bastion.observe.meters import APPROVALS, APPROVALS_WAITING, Meters
from bastion.policy.approval import from_text, in_words
from bastion.sharing.rows import ALONE, Cell, Elsewhere
from bastion.state import approvals as stored
from bastion.state.approvals import Approver, Bound, Request, State
from bastion.state.database import Database
from bastion.state.store import StateStore

T = TypeVar("T")

LOOK: Final = 1.0
"""Seconds between two looks for answers: one question of the store, while anybody waits."""

WAITING_OF_ONE: Final = 8
"""Connections of one identity that wait for an approval, over all workers of a gateway."""

WAITING: Final = 256
"""... of everybody. Each is a connection without a target, some 15 KiB."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Seconds that a request may be answered, and that an approval may be used. `origin`: of the console whose passkeys
    prove who answers, "" where none do."""

    pending: float = 3600.0
    valid: float = 900.0
    origin: str = ""


@dataclass(slots=True, eq=False)
class _Waiter:
    """Somebody at a door; `settled` fires with the request as it was answered, or fails with Refused."""

    request: Request
    settled: Deferred[Request]
    timer: DelayedCall


class Approvals:
    """One per process (`gateway.Gateway.approvals`)."""

    def __init__(
        self,
        state: StateStore,
        reactor: Any,
        clock: Clock,
        meters: Meters,
        audit: AuditLog,
        terms: Callable[[], Terms],
        draining: Callable[[], bool],
        others: Elsewhere = ALONE,
    ) -> None:
        """`others` are the other workers, who count what waits with this one."""
        self._state, self._reactor, self._clock = state, reactor, clock
        self._meters, self._audit = meters, audit
        self._terms, self._draining, self._others = terms, draining, others
        self._waiting: dict[str, _Waiter] = {}
        self._look_at: DelayedCall | None = None
        self.on_filed: Callable[[Request], object] = str  # somebody asks: whoever announces it hears of it

    # -- asking ------------------------------------------------------------------------------------------

    def file(self, bound: Bound, identity: str, why: str, state: State) -> Deferred[tuple[Request, bool]]:
        """The open request for `bound`, or a new one (True). Fails with Refused: LIMIT, UNAVAILABLE."""
        return _to_its_end(self._file(bound, identity, why, state))

    async def _file(self, bound: Bound, identity: str, why: str, state: State) -> tuple[Request, bool]:
        decision = partial(
            stored.file, bound=bound, identity=identity, why=why, state=state, now=self._clock.time(),
            lasts=self._terms().pending,
        )  # fmt: skip
        request, fresh = await self._decide(decision)
        if fresh and state is State.OPEN:
            self._meters.add(APPROVALS, ApprovalReason.FILED)
            self._audit.note(
                ApprovalFiled(
                    request=request.id,
                    user=request.identity,
                    uid=request.uid,
                    target=request.target,
                    login=request.login,
                    verbs=request.verbs,
                    source=request.source,
                    approvers=in_words(from_text(request.needed)),
                    why=request.why,
                )
            )
            self.on_filed(request)
        return request, fresh

    async def claim(self, bound: Bound, session: str) -> Request | None:
        """The approval for `bound`, used up for this session from now on. Raises Refused(UNAVAILABLE)."""
        request = await self._decide(
            partial(stored.claim, bound=bound, session=session, now=self._clock.time())
        )
        if request is not None:
            self._meters.add(APPROVALS, ApprovalReason.USED)
        return request

    def give_back(self, session: str) -> None:
        """What that session has claimed, or is just claiming, may be used again: it could not open."""

        def counted(count: int) -> None:
            self._meters.add(APPROVALS, ApprovalReason.GIVEN_BACK, by=count)

        given = self._state.decide(partial(stored.give_back, session=session))
        given.addCallbacks(counted, lambda _: None)  # then it stays used up

    def withdraw(self, request: Request) -> None:
        """Whoever waited for it has left."""

        def counted(done: bool) -> None:
            self._meters.add(APPROVALS, ApprovalReason.WITHDRAWN, by=int(done))

        gone = self._state.decide(partial(stored.withdraw, request=request.id))
        gone.addCallbacks(counted, lambda _: None)  # then it expires

    # -- answering ---------------------------------------------------------------------------------------

    def answer(self, request: str, by: Approver, yes: bool, why: str) -> Deferred[Request]:
        """Approve or deny. Fails with Refused and an ApprovalReason."""
        return _to_its_end(self._answer(request, by, yes, why))

    async def _answer(self, request: str, by: Approver, yes: bool, why: str) -> Request:
        valid = self._terms().valid
        decision = partial(
            stored.answer, request=request, by=by, yes=yes, why=why, now=self._clock.time(), valid=valid
        )
        done: Request = await self._decide(decision)
        result = ApprovalReason.APPROVED if yes else ApprovalReason.DENIED
        self._meters.add(APPROVALS, result)
        self._audit.note(
            ApprovalAnswered(
                request=done.id,
                result=result,
                by=by.name,
                by_uid=by.uid,
                factor=by.factor,
                user=done.identity,
                uid=done.uid,
                target=done.target,
                login=done.login,
                source=done.source,
                why=why,
            )
        )
        self._look_soon()
        return done

    async def listed(self) -> list[Request]:
        """What is open, or approved and not used. Raises Refused(UNAVAILABLE)."""
        now = self._clock.time()
        return await _answered(self._state.ask(partial(stored.listed, now=now)))

    async def _decide(self, decision: Callable[[Database], T]) -> T:
        return await _answered(self._state.decide(decision))

    # -- waiting -----------------------------------------------------------------------------------------

    def wait(self, request: Request, seconds: float) -> Deferred[Request]:
        """Fires with the request once it has been answered; fails with Refused after so many seconds, while the
        gateway drains, and at once where as many wait as may."""
        self._count(request, 1)  # before the others are read, so that they see this one
        if request.id in self._waiting or self._too_many(request):
            self._count(request, -1)
            who = "another connection waits" if request.id in self._waiting else "too many connections wait"
            raise Refused(ApprovalReason.LIMIT, f"{who} for an approval already: try again later")
        settled: Deferred[Request] = Deferred(lambda _: self._forget(request.id))
        timer = self._reactor.callLater(seconds, self._too_late, request)
        self._waiting[request.id] = _Waiter(request, settled, timer)
        self._meters.set(APPROVALS_WAITING, len(self._waiting))
        self._look_soon()
        return settled

    def _too_many(self, request: Request) -> bool:
        """Do as many wait as may, of that identity or of all, here and in the other workers?"""
        mine = sum(one.request.uid == request.uid for one in self._waiting.values())
        if mine + self._others.elsewhere_of(_name(request.uid)) >= WAITING_OF_ONE:
            return True
        return len(self._waiting) + self._others.elsewhere(Cell.APPROVALS_WAITING) >= WAITING

    def _count(self, request: Request, by: int) -> None:
        self._others.add(Cell.APPROVALS_WAITING, by)
        self._others.add_name(_name(request.uid), by)

    def _take(self, request: str) -> _Waiter | None:
        """Who waits for it waits no longer."""
        waiter = self._waiting.pop(request, None)
        if waiter is not None:
            self._count(waiter.request, -1)
            if waiter.timer.active():
                waiter.timer.cancel()
        self._meters.set(APPROVALS_WAITING, len(self._waiting))
        return waiter

    def _forget(self, request: str) -> None:
        self._take(request)

    def _too_late(self, request: Request) -> None:
        waiter = self._take(request.id)
        if waiter is not None:
            text = f"nobody has answered request {request.id} in time: it stays open, try again later"
            waiter.settled.errback(Refused(ApprovalReason.UNANSWERED, text))

    def _look_soon(self) -> None:
        if self._look_at is None and self._waiting:
            self._look_at = self._reactor.callLater(LOOK, self._look)

    def _look(self) -> None:
        if self._draining():
            for request in list(self._waiting):
                waiter = self._take(request)
                if waiter is not None:
                    refused = Refused(LimitReason.DRAINING, "the gateway is closing down, try again")
                    waiter.settled.errback(refused)
        if not self._waiting:
            self._look_at = None
            return
        asked = self._state.ask(partial(stored.found, requests=list(self._waiting)))
        asked.addCallbacks(self._seen, lambda _: None)  # a store that is away has no answer yet
        asked.addBoth(self._looked)

    def _looked(self, _: object) -> None:
        self._look_at = None
        self._look_soon()

    def _seen(self, requests: list[Request]) -> None:
        for request in requests:
            if request.state != State.OPEN and (waiter := self._take(request.id)) is not None:
                waiter.settled.callback(request)


def _name(uid: str) -> str:
    return f"approvals awaited by {uid}"


def _to_its_end(work: Coroutine[Any, Any, T]) -> Deferred[T]:
    """What is done by `work`, which goes on when whoever asked leaves: what the store keeps has its audit line."""
    told: Deferred[T] = Deferred(lambda _: None)
    done = Deferred.fromCoroutine(work)
    done.addCallbacks(
        lambda result: None if told.called else told.callback(result),
        lambda failure: None if told.called else told.errback(failure),
    )
    return told


async def _answered(asked: Deferred[T]) -> T:
    """What the store says. Raises Refused: its own, or UNAVAILABLE."""
    try:
        return await asked
    except (Refused, CancelledError):
        raise
    except Exception:
        text = "approvals cannot be asked for now: the gateway's store does not answer, try again in a moment"
        raise Refused(ApprovalReason.UNAVAILABLE, text) from None

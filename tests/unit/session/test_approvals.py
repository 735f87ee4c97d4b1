"""Who waits for an approval: how many, how long, and what they hear."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from bastion.clock import FixedClock
from bastion.errors import ApprovalReason, LimitReason, Refused
from bastion.observe.meters import APPROVALS_WAITING, Meters
from bastion.session import approvals as module
from bastion.session.approvals import LOOK, Approvals, Terms
from bastion.sharing.rows import ALONE, ROW_SIZE, Elsewhere, Row
from bastion.state.approvals import Request, State
from tests.support.state import closed_store

ROW = Request(
    "aaaaaaaaaa", State.OPEN, "u-1", "alice", "web1", "root", "exec", "192.0.2.1", "[]", "", 0.0, 600.0
)


class Bench:
    """A store whose rows are `rows`, or which is `down`."""

    def __init__(self, others: Elsewhere = ALONE) -> None:
        self.rows: dict[str, Request] = {ROW.id: ROW}
        self.down = self.draining = False
        self.asked = 0
        self.reactor, self.meters = Clock(), Meters()
        state: Any = SimpleNamespace(ask=self.ask, decide=self.ask)
        audit: Any = SimpleNamespace(note=lambda event: None)
        self.approvals = Approvals(
            state, self.reactor, FixedClock(0.0), self.meters, audit, Terms, lambda: self.draining, others
        )

    def ask(self, question: Any) -> Deferred[Any]:
        self.asked += 1
        return fail(OSError("away")) if self.down else succeed(list(self.rows.values()))

    def wait(self, row: Request = ROW, seconds: float = 60.0) -> list[Any]:
        """What whoever waits has heard: nothing yet, the request, or a reason."""
        heard: list[Any] = []
        self.waiter = self.approvals.wait(row, seconds)
        self.waiter.addCallbacks(
            heard.append, lambda failure: heard.append(getattr(failure.value, "reason", None))
        )
        return heard

    def answer(self, state: State) -> None:
        self.rows[ROW.id] = replace(ROW, state=state)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("state", [State.APPROVED, State.DENIED, State.WITHDRAWN])
def test_an_answer_is_heard_within_a_look(bench: Bench, state: State) -> None:
    heard = bench.wait()
    bench.reactor.pump([LOOK] * 3)
    assert heard == [] and bench.asked == 3 and bench.meters.value(APPROVALS_WAITING) == 1
    bench.answer(state)
    bench.reactor.advance(LOOK)
    assert [one.state for one in heard] == [state]
    assert bench.meters.value(APPROVALS_WAITING) == 0 and bench.reactor.getDelayedCalls() == []


def test_a_store_that_is_away_has_not_answered(bench: Bench) -> None:
    heard = bench.wait()
    bench.down = True
    bench.reactor.pump([LOOK] * 3)
    assert heard == []
    bench.down = False
    bench.answer(State.APPROVED)
    bench.reactor.advance(LOOK)
    assert len(heard) == 1


def test_nobody_waits_for_ever_nor_while_the_gateway_drains(bench: Bench) -> None:
    late = bench.wait(seconds=5.0)
    bench.reactor.pump([LOOK] * 6)
    assert late == [ApprovalReason.UNANSWERED]
    drained = bench.wait()
    bench.draining = True
    bench.reactor.advance(LOOK)
    assert drained == [LimitReason.DRAINING] and bench.reactor.getDelayedCalls() == []


def test_who_leaves_leaves_nothing(bench: Bench) -> None:
    bench.wait()
    bench.waiter.cancel()
    bench.reactor.advance(LOOK)
    assert bench.reactor.getDelayedCalls() == [] and bench.meters.value(APPROVALS_WAITING) == 0


def test_as_many_wait_as_may(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_OF_ONE", 2)
    monkeypatch.setattr(module, "WAITING", 3)
    bench.wait()
    for row in (ROW, replace(ROW, id="b"), replace(ROW, id="c"), replace(ROW, id="d", uid="u-2")):
        if row.id in ("b", "d"):
            bench.wait(row)
            continue
        with pytest.raises(Refused) as refused:
            bench.approvals.wait(row, 5.0)
        assert refused.value.reason is ApprovalReason.LIMIT
    with pytest.raises(Refused):
        bench.approvals.wait(replace(ROW, id="e", uid="u-3"), 5.0)


def test_as_many_wait_as_may_over_all_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = memoryview(bytearray(2 * ROW_SIZE))
    first, second = (Bench(Row(memory, 2, own, b"k" * 16)) for own in range(2))
    monkeypatch.setattr(module, "WAITING_OF_ONE", 2)
    monkeypatch.setattr(module, "WAITING", 3)

    def refused(bench: Bench, request: str, uid: str) -> bool:
        try:
            bench.wait(replace(ROW, id=request, uid=uid))
        except Refused as refusal:
            assert refusal.reason is ApprovalReason.LIMIT
            return True
        return False

    assert not refused(first, "a", "u-1") and not refused(second, "b", "u-1")
    assert refused(first, "c", "u-1") and refused(second, "c", "u-1"), "of one"
    assert not refused(second, "d", "u-2")
    assert refused(first, "e", "u-3") and refused(second, "e", "u-3"), "of all"
    second.waiter.cancel()  # d
    assert not refused(first, "e", "u-3")
    first.reactor.advance(60)  # nobody answers
    assert not refused(second, "f", "u-1") and not refused(second, "g", "u-3")


def test_without_the_store_it_is_refused_with_words() -> None:
    audit: Any = SimpleNamespace(note=lambda event: None)
    made = Approvals(closed_store(), Clock(), FixedClock(0.0), Meters(), audit, Terms, lambda: False)
    for asked in (made.claim(ROW.bound, "s"), made.listed()):
        heard: list[Any] = []
        Deferred.fromCoroutine(asked).addErrback(lambda failure, heard=heard: heard.append(failure.value))
        assert heard[0].reason is ApprovalReason.UNAVAILABLE and "store does not answer" in heard[0].text
    made.give_back("s")
    made.withdraw(ROW)

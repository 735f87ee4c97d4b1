"""The bounded threads: limits, deadlines, stuck threads. Time is a Clock; threads wait on events."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import pytest
from twisted.internet.defer import CancelledError

from bastion.auth.budget import LIMITS, Budget, Limit, Payer, Work
from bastion.auth.directory import OPERATOR, Asker
from bastion.auth.workers import DeadlinePassed, Job, QueueFull, Workers, WorkersClosed
from bastion.clock import FixedClock
from tests.unit.auth.threads import StillReactor, outcome


class Gate:
    """A job that waits until it is let go, or cut."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.leave = threading.Event()
        self.cuts = 0

    def __call__(self) -> str:
        self.entered.set()
        assert self.leave.wait(10)
        return "done"

    def cut(self) -> None:
        self.cuts += 1
        self.leave.set()


@pytest.fixture
def reactor() -> StillReactor:
    return StillReactor()


@pytest.fixture
def workers(reactor: StillReactor) -> Iterator[Workers]:
    made = Workers(reactor, "test", threads=2, queue_limit=1)
    yield made
    made.close()


def test_result_comes_back_in_the_reactor(reactor: StillReactor, workers: Workers) -> None:
    caller = threading.get_ident()
    answered = workers.run(threading.get_ident, 5.0)
    assert outcome(answered) is None
    reactor.drain()
    assert outcome(answered) not in (None, caller)
    assert (workers.in_use, workers.waiting, workers.stuck) == (0, 0, 0)
    assert not reactor.getDelayedCalls()


def test_exception_comes_back_without_its_frames(reactor: StillReactor, workers: Workers) -> None:
    def failing() -> None:
        password = "secret"
        raise QueueFull(f"not {len(password)}")

    answered = workers.run(failing, 5.0)
    reactor.drain()
    error = outcome(answered)
    assert isinstance(error, QueueFull)
    frame_names = []
    trace = error.__traceback__
    while trace is not None:
        frame_names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert "failing" not in frame_names
    assert error.__context__ is None


def test_one_more_than_threads_and_queue_is_refused_at_once(reactor: StillReactor, workers: Workers) -> None:
    gates = [Gate() for _ in range(3)]
    answers = [workers.run(gate, 5.0) for gate in gates]
    assert (workers.in_use, workers.waiting) == (2, 1)
    assert isinstance(outcome(workers.run(Gate(), 5.0)), QueueFull)
    for gate in gates:
        gate.leave.set()
    reactor.drain(3)
    assert [outcome(answer) for answer in answers] == ["done"] * 3
    assert (workers.in_use, workers.waiting) == (0, 0)


def test_deadline_cuts_a_running_call_and_counts_the_stuck_thread(
    reactor: StillReactor, workers: Workers
) -> None:
    gate = Gate()
    answered = workers.run(gate, 5.0, gate.cut)
    assert gate.entered.wait(10)
    reactor.advance(4.9)
    assert outcome(answered) is None and gate.cuts == 0
    reactor.advance(0.2)
    error = outcome(answered)
    assert isinstance(error, DeadlinePassed) and error.started
    assert (workers.in_use, workers.stuck, gate.cuts) == (1, 1, 1)
    reactor.drain()  # the thread, cut loose, has come back
    assert (workers.in_use, workers.stuck, workers.stuck_total) == (0, 0, 1)


def test_a_thread_that_was_stuck_serves_again(reactor: StillReactor) -> None:
    workers = Workers(reactor, "test", threads=1, queue_limit=1)
    gate = Gate()
    outcome(workers.run(gate, 1.0, gate.cut))
    reactor.advance(1.0)
    waiting = workers.run(lambda: "next", 5.0)
    assert workers.waiting == 1
    reactor.drain(2)
    assert outcome(waiting) == "next"
    workers.close()


def test_deadline_of_a_waiting_call_starts_nothing(reactor: StillReactor, workers: Workers) -> None:
    gates = [Gate(), Gate()]
    for gate in gates:
        workers.run(gate, 60.0, gate.cut)
    never = Gate()
    answered = workers.run(never, 1.0, never.cut)
    reactor.advance(1.0)
    error = outcome(answered)
    assert isinstance(error, DeadlinePassed) and not error.started
    assert (workers.waiting, workers.stuck, never.cuts) == (0, 0, 0)
    for gate in gates:
        gate.leave.set()
    reactor.drain(2)
    assert not never.entered.is_set()


def test_cancel_cuts_like_a_deadline(reactor: StillReactor, workers: Workers) -> None:
    gate = Gate()
    answered = workers.run(gate, 5.0, gate.cut)
    answered.cancel()
    assert isinstance(outcome(answered), CancelledError)
    assert (gate.cuts, workers.stuck) == (1, 1)
    reactor.drain()
    assert (workers.in_use, workers.stuck) == (0, 0)
    assert not reactor.getDelayedCalls()


def test_close_fails_everything_and_lets_the_threads_end(reactor: StillReactor) -> None:
    workers = Workers(reactor, "closing", threads=1, queue_limit=5)
    gate = Gate()
    running = workers.run(gate, 5.0, gate.cut)
    waiting = workers.run(lambda: "never", 5.0)
    assert gate.entered.wait(10)
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("closing-")]
    workers.close()
    assert isinstance(outcome(running), WorkersClosed)
    assert isinstance(outcome(waiting), WorkersClosed)
    assert isinstance(outcome(workers.run(lambda: "late", 5.0)), WorkersClosed)
    assert len(threads) == 1
    threads[0].join(10)
    assert not threads[0].is_alive()
    assert not reactor.getDelayedCalls()


def test_on_change_sees_every_number(reactor: StillReactor, workers: Workers) -> None:
    seen: list[tuple[int, int]] = []
    workers.on_change = lambda: seen.append((workers.in_use, workers.stuck))
    gate = Gate()
    outcome(workers.run(gate, 1.0, gate.cut))
    reactor.advance(1.0)
    reactor.drain()
    assert seen == [(1, 0), (1, 1), (0, 0)]


# -- whose turn it is ----------------------------------------------------------------------------------


@pytest.fixture
def one(reactor: StillReactor) -> Iterator[Workers]:
    """One thread that is busy until `gate` opens, and places for a hundred."""
    made = Workers(reactor, "one", threads=1, queue_limit=100)
    yield made
    made.close()


def holds(budget: Budget) -> int:
    return budget.held(Payer.SOURCE, Work.DIRECTORY)


def test_sources_take_turns_and_queries_come_last(reactor: StillReactor, one: Workers) -> None:
    budget = Budget(FixedClock())
    flood, office = budget.source("198.51.100.1"), budget.source("192.0.2.1")
    gate, order = Gate(), list[str]()
    one.run(gate, 60.0, gate.cut)

    def work(name: str, asker: Asker) -> None:
        one.run(lambda: order.append(name), 60.0, asker=asker)

    for number in range(3):
        work(f"query {number}", Asker(office, query=True))
    for number in range(50):
        work(f"flood {number}", Asker(flood))
    for number in range(3):
        work(f"office {number}", Asker(office))
    gate.leave.set()
    reactor.drain(1 + 3 + 50 + 3)
    assert order[:6] == ["flood 0", "office 0", "flood 1", "office 1", "flood 2", "office 2"]
    assert order[6:53] == [f"flood {number}" for number in range(3, 50)]
    assert order[53:] == ["query 0", "query 1", "query 2"]


def test_a_joined_call_comes_at_the_first_turn_of_any_who_want_it(
    reactor: StillReactor, one: Workers
) -> None:
    budget = Budget(FixedClock())
    flood, office = budget.source("198.51.100.1"), budget.source("192.0.2.1")
    gate, order = Gate(), list[str]()
    one.run(gate, 60.0, gate.cut)
    for number in range(5):
        one.run(partial(order.append, f"flood {number}"), 60.0, asker=Asker(flood))
    wanted = one.start(
        lambda: Job(lambda: order.append("wanted")),
        60.0,
        (Asker(flood, query=True), Asker(flood, query=True)),
    )
    assert holds(budget) == 6
    one.join(wanted, Asker(office))
    one.join(wanted, Asker(office))
    assert (one.waiting, holds(budget)) == (6, 7)
    gate.leave.set()
    reactor.drain(7)
    assert order[:2] == ["flood 0", "wanted"] and len(order) == 6
    assert holds(budget) == 0


def test_a_place_is_paid_until_the_thread_is_back(reactor: StillReactor, one: Workers) -> None:
    budget = Budget(FixedClock())
    asker = Asker(budget.source("192.0.2.1"))
    gate = Gate()
    running = one.run(gate, 1.0, asker=asker)
    waiting = one.run(lambda: None, 60.0, asker=asker)
    assert holds(budget) == 2
    waiting.cancel()
    reactor.advance(1.0)
    assert isinstance(outcome(waiting), CancelledError)
    assert isinstance(outcome(running), DeadlinePassed)
    assert holds(budget) == 1  # nobody waits, but the thread still works for that source
    gate.leave.set()
    reactor.drain()
    assert holds(budget) == 0


def test_a_payer_without_a_place_is_refused_alone(reactor: StillReactor, one: Workers) -> None:
    limits = {**LIMITS, (Payer.SOURCE, Work.DIRECTORY): Limit(2, 100)}
    budget = Budget(FixedClock(), limits)
    greedy, other = Asker(budget.source("198.51.100.1")), Asker(budget.source("192.0.2.1"))
    gate = Gate()
    for asker in (greedy, greedy):
        one.run(gate, 60.0, gate.cut, asker)
    assert isinstance(outcome(one.run(lambda: None, 60.0, asker=greedy)), QueueFull)
    answered = one.run(lambda: "in", 60.0, asker=other)
    gate.leave.set()
    reactor.drain(3)
    assert outcome(answered) == "in"


def test_what_begins_may_refuse_without_a_thread(reactor: StillReactor, one: Workers) -> None:
    budget = Budget(FixedClock())

    def begin() -> Job[str]:
        raise WorkersClosed("nothing to do")

    call = one.start(begin, 60.0, (Asker(budget.source("192.0.2.1")),))
    assert isinstance(outcome(call.deferred), WorkersClosed)
    assert (one.in_use, one.waiting, holds(budget)) == (0, 0, 0)
    assert not reactor.getDelayedCalls()


def test_the_time_of_a_job_runs_from_its_start_and_ends_with_the_deadline(
    reactor: StillReactor, one: Workers
) -> None:
    first, second = Gate(), Gate()
    calls = [one.start(partial(Job, gate, gate.cut, 5.0), 12.0, (OPERATOR,)) for gate in (first, second)]
    reactor.advance(4.9)
    first.leave.set()
    reactor.drain()
    reactor.advance(4.9)
    assert outcome(calls[1].deferred) is None and second.cuts == 0
    reactor.advance(0.1)
    assert isinstance(outcome(calls[1].deferred), DeadlinePassed)
    reactor.drain()

"""Penalties asked from several workers: the same results as in one process, and nobody's password without a judge."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bastion.auth import throttle
from bastion.auth.distant import DistantPenalties, Docket, Judge
from bastion.auth.throttle import Guess, Penalties, PenaltyLimits
from bastion.clock import FixedClock
from bastion.errors import AuthReason

HERE = "192.0.2.1"
SECRET = b"s" * 16


class Wire(Judge):
    """The link between one worker and the judge; what crosses is taken when the test says so."""

    def __init__(self, docket: Docket, penalties: Penalties) -> None:
        self.docket, self.penalties = docket, penalties
        self.crossing: list[Callable[[], None]] = []

    def begin(self, number: int, source: str, account: str, turn: Callable[[bool], None]) -> None:
        def answer(allowed: bool) -> None:
            self.crossing.append(lambda: turn(allowed))

        self.crossing.append(lambda: self.docket.begin(number, source, account, answer))

    def settle(self, number: int, reason: AuthReason) -> None:
        self.crossing.append(lambda: self.docket.settle(number, reason))

    def failed(self, source: str, account: str, reason: AuthReason, method: str) -> None:
        self.crossing.append(lambda: self.penalties.failed(source, account, reason, method))

    def succeeded(self, source: str, account: str) -> None:
        self.crossing.append(lambda: self.penalties.succeeded(source, account))


class Workers:
    """Some workers and the one that judges for them."""

    def __init__(self, count: int = 2, limits: PenaltyLimits | None = None) -> None:
        self.clock = FixedClock()
        self.penalties = Penalties(self.clock, limits, secret=SECRET)
        self.penalties.on_block = self._block
        self.workers = [DistantPenalties(self.clock, SECRET) for _ in range(count)]
        self.dockets = [Docket(self.penalties) for _ in range(count)]
        self.wires = [Wire(docket, self.penalties) for docket in self.dockets]
        for worker, wire in zip(self.workers, self.wires, strict=True):
            worker.judge = wire
        self.opened: list[Guess] = []
        self.throttled = 0

    def _block(self, key: bytes, until: float) -> None:
        for worker, wire in zip(self.workers, self.wires, strict=True):
            wire.crossing.append(lambda worker=worker: worker.take_blocks([(key, until)]))  # type: ignore[misc]

    def open(self, worker: int, account: str = "alice", source: str = HERE) -> Guess:
        def turn(allowed: bool) -> None:
            self.throttled += not allowed

        guess = self.workers[worker].open(source, account)
        self.opened.append(guess)
        guess.begin(turn)
        return guess

    def cross(self) -> None:
        """Until nothing is on its way: a turn of each worker after the other."""
        while any(wire.crossing for wire in self.wires):
            for wire in self.wires:
                taken, wire.crossing = wire.crossing, []
                for call in taken:
                    call()

    def judge_all(self, reason: AuthReason) -> int:
        count = 0
        self.cross()
        while under_way := [guess for guess in self.opened if guess.judged and not guess.settled]:
            under_way[0].settle(reason)
            count += 1
            self.cross()
        return count


@pytest.mark.parametrize("reason", [AuthReason.BAD_PASSWORD, AuthReason.ABANDONED])
def test_eighty_guesses_over_two_workers_are_judged_like_one_after_the_other(reason: AuthReason) -> None:
    gateway = Workers()
    for number in range(80):
        gateway.open(number % 2)
    assert gateway.judge_all(reason) == 6 and gateway.throttled == 74
    assert [worker.wait(HERE, "alice") for worker in gateway.workers] == [5.0, 5.0]
    assert not gateway.penalties._queues
    gateway.clock.advance(5.0)
    assert all(worker.allows(HERE, "alice") for worker in gateway.workers)
    for number in range(80):
        gateway.open(number % 2)
    assert gateway.judge_all(reason) == 1
    assert [worker.wait(HERE, "alice") for worker in gateway.workers] == [10.0, 10.0]


def test_right_passwords_at_once_all_get_their_turn() -> None:
    gateway = Workers()
    for number in range(50):
        gateway.open(number % 2)
    assert gateway.judge_all(AuthReason.OK) == 50 and gateway.throttled == 0


def test_spraying_over_two_workers_is_spraying() -> None:
    gateway = Workers()
    for number in range(40):
        gateway.open(number % 2, f"user{number}")
    judged = gateway.judge_all(AuthReason.UNKNOWN_USER)
    assert judged <= 21, "20 accounts, and one whose bit another one had"
    assert not any(worker.allows_source(HERE) for worker in gateway.workers)
    assert all(worker.allows_source("192.0.2.2") for worker in gateway.workers)


def test_what_is_no_password_is_booked_too() -> None:
    gateway = Workers()
    for number in range(6):
        gateway.workers[number % 2].failed(HERE, "alice", AuthReason.BAD_SIGNATURE, "publickey")
    gateway.cross()
    assert [worker.wait(HERE, "alice") for worker in gateway.workers] == [5.0, 5.0]
    gateway.workers[0].succeeded(HERE, "alice")
    gateway.cross()
    assert all(worker.allows(HERE, "alice") for worker in gateway.workers)
    assert [len(worker) for worker in gateway.workers] == [0, 0]


def test_without_a_judge_no_password_is_looked_at() -> None:
    gateway = Workers()
    waiting = gateway.open(0)
    gateway.workers[0].judge = Judge()
    later = gateway.open(0)
    assert gateway.throttled == 1 and later.settled and not waiting.judged
    waiting.settle(AuthReason.ABANDONED)
    gateway.workers[0].failed(HERE, "alice", AuthReason.BAD_PASSWORD)
    gateway.workers[0].succeeded(HERE, "alice")
    assert gateway.workers[0].allows(HERE, "alice")


def test_the_guesses_of_a_worker_that_died_stay_charged() -> None:
    gateway = Workers()
    for _ in range(6):
        gateway.open(0)
    waiting = gateway.open(1)
    gateway.cross()
    assert not waiting.judged
    gateway.dockets[0].lost()
    gateway.cross()
    assert gateway.throttled == 1 and gateway.workers[1].wait(HERE, "alice") == 5.0


def test_who_leaves_before_the_turn_has_not_guessed_and_nothing_stays_behind() -> None:
    gateway = Workers()
    for _ in range(6):
        gateway.open(0)
    leaver = gateway.open(1)
    gateway.cross()
    leaver.settle(AuthReason.ABANDONED)
    gateway.cross()
    assert len(gateway.dockets[1]._guesses) == 0
    gateway.judge_all(AuthReason.OK)
    assert not gateway.penalties._queues and gateway.throttled == 0


def test_a_number_that_is_in_use_is_refused() -> None:
    penalties = Penalties(FixedClock())
    docket, turns = Docket(penalties), []
    docket.begin(1, HERE, "alice", turns.append)
    docket.begin(1, HERE, "alice", turns.append)
    assert turns == [True, False]
    docket.settle(7, AuthReason.OK)


def test_a_worker_that_starts_is_told_the_blocks_that_run() -> None:
    gateway = Workers()
    for _ in range(6):
        gateway.penalties.failed(HERE, "alice", AuthReason.BAD_PASSWORD)
    fresh = DistantPenalties(gateway.clock, SECRET)
    fresh.take_blocks(gateway.penalties.blocks())
    assert fresh.wait(HERE, "alice") == 5.0 and fresh.allows(HERE, "bob")
    gateway.clock.advance(5.0)
    assert list(gateway.penalties.blocks()) == []


def test_blocks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from bastion.auth import distant

    monkeypatch.setattr(distant, "MAX_ENTRIES", 10)
    clock = FixedClock()
    worker = DistantPenalties(clock, SECRET)
    now = clock.monotonic()
    worker.take_blocks([(b"%012d" % number, now + 1) for number in range(10)])
    clock.advance(2)
    worker.take_blocks([(b"x" * 12, now + 60)])
    assert len(worker) == 1


def test_limits_are_the_judges() -> None:
    worker = DistantPenalties(FixedClock(), SECRET)
    worker.set_limits(PenaltyLimits(free=1))
    assert worker._limits.free == throttle.PenaltyLimits().free

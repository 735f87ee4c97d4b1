"""What a worker says to whoever judges passwords."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock as TurnedClock

from bastion.auth.distant import DistantPenalties
from bastion.auth.throttle import Penalties
from bastion.clock import FixedClock, Timers
from bastion.control.node import ControlError, Request
from bastion.errors import AuthReason, ControlReason
from bastion.supervisor import questions as ask
from bastion.supervisor.worker import GATHER, PROVED_MAX, LinkJudge

HERE = "192.0.2.1"


class Line:
    """A link on which the test answers."""

    def __init__(self) -> None:
        self.asked: list[Request[Any]] = []
        self.answers: list[Deferred[Any]] = []
        self.lost = False

    def ask(self, request: Request[Any]) -> Deferred[Any]:
        if self.lost:
            return fail(ControlError(ControlReason.LINK_LOST, "the supervisor is gone"))
        self.asked.append(request)
        self.answers.append(Deferred())
        return self.answers[-1]


def judged_over(line: Line, timers: Timers | None = None) -> DistantPenalties:
    link: Any = line
    penalties = DistantPenalties(FixedClock(), b"s" * 16)
    penalties.judge = LinkJudge(link, timers or TurnedClock())
    return penalties


def test_a_guess_waits_for_its_turn_and_is_settled_by_its_number() -> None:
    line, turns = Line(), []
    guess = judged_over(line).open(HERE, "alice")
    guess.begin(turns.append)
    assert line.asked == [ask.GuessBegun(1, HERE, "alice")] and turns == []
    line.answers[0].callback(ask.Turn(True))
    assert turns == [True]
    guess.settle(AuthReason.BAD_PASSWORD)
    assert line.asked[1:] == [ask.GuessSettled(1, AuthReason.BAD_PASSWORD)]


def test_logins_of_a_second_are_one_message() -> None:
    line, clock = Line(), TurnedClock()
    penalties = judged_over(line, clock)
    for account in ("alice", "bob", "alice"):
        penalties.succeeded(HERE, account)
    clock.advance(GATHER - 0.1)
    assert line.asked == []
    clock.advance(0.1)
    both = ask.AttemptsSucceeded((ask.Proved(HERE, "alice"), ask.Proved(HERE, "bob")))
    assert line.asked == [both]
    for number in range(PROVED_MAX):
        penalties.succeeded(HERE, f"u{number}")
    assert [type(one) for one in line.asked] == [ask.AttemptsSucceeded] * 2
    assert clock.getDelayedCalls() == []


def test_what_happens_after_a_login_is_told_after_it() -> None:
    line, clock = Line(), TurnedClock()
    penalties = judged_over(line, clock)
    alice = ask.AttemptsSucceeded((ask.Proved(HERE, "alice"),))
    penalties.succeeded(HERE, "alice")
    penalties.failed(HERE, "alice", AuthReason.BAD_SIGNATURE, "publickey")
    penalties.succeeded(HERE, "alice")
    penalties.open(HERE, "alice").begin(lambda allowed: None)
    failed = ask.AttemptFailed(HERE, "alice", AuthReason.BAD_SIGNATURE, "publickey")
    assert line.asked == [alice, failed, alice, ask.GuessBegun(1, HERE, "alice")]
    assert clock.getDelayedCalls() == []


def test_without_a_link_no_password_is_judged_and_nothing_is_raised() -> None:
    line, turns = Line(), []
    penalties = judged_over(line)
    waiting = penalties.open(HERE, "alice")
    waiting.begin(turns.append)
    line.answers[0].errback(ControlError(ControlReason.LINK_LOST, "the supervisor is gone"))
    line.lost = True
    penalties.open(HERE, "alice").begin(turns.append)
    penalties.failed(HERE, "alice", AuthReason.BAD_SIGNATURE, "publickey")
    penalties.succeeded(HERE, "alice")
    assert turns == [False, False]


def test_names_that_are_no_text_are_the_same_to_both_ends() -> None:
    line = Line()
    judged_over(line).failed(HERE, "\ud800", AuthReason.BAD_PASSWORD)
    (failed,) = line.asked
    assert isinstance(failed, ask.AttemptFailed)
    kept = Penalties(FixedClock(), secret=b"s" * 16)
    assert kept._digest(HERE, failed.account) == kept._digest(HERE, "\ud800")

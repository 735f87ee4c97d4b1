"""Factors that are asked for later: each answer an attempt, what is noted and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock

from bastion.auth.identity import Destination, Identity
from bastion.doors.step_up import ANSWER_TIME, TRIES, NotedFactors, StepUp, without_asking
from bastion.errors import AuthReason, PolicyReason, Refused
from bastion.observe.meters import AUTH_ATTEMPTS
from bastion.policy.grant import FactorsNeeded
from bastion.userauth.keyboard_interactive import Answers
from bastion.wire.forwards import TcpipOpen
from bastion.wire.userauth import Prompt

from .test_inner_authentication import OUTER, Inner

WEB1 = Destination("alice", "deploy", "web1")
BY_KEY = replace(OUTER, factors=("publickey",))


class Asked:
    """Alice, logged in by a key, on a connection that waits; the directory knows the password `right`."""

    def __init__(self, folder: Path) -> None:
        self.inner, self.timers = Inner(folder), Clock()
        self.questions: list[tuple[str, str, float]] = []
        self.shown: list[str] = []
        self.waiting: Deferred[Answers] = Deferred()
        self.step_up = StepUp(self.inner.proof.context, self.timers, self.ask, 0)
        self.ended: list[Any] = []

    def ask(self, prompts: tuple[Prompt, ...], instruction: str, timeout: float) -> Deferred[Answers]:
        if not prompts:
            self.shown.append(instruction)
            return succeed(())
        (prompt,) = prompts
        assert not prompt.echo
        self.questions.append((prompt.text, instruction, timeout))
        self.waiting = Deferred()
        return self.waiting

    def begin(self, *factors: str, identity: Identity = BY_KEY) -> Deferred[Identity]:
        needed = FactorsNeeded("deploy on web1", factors)
        running = Deferred.fromCoroutine(self.step_up.prove(identity, WEB1, needed))
        running.addBoth(self.ended.append)
        return running

    def lines(self) -> list[tuple[str, str]]:
        return [(line["user"], line["reason"]) for line in self.inner.lines()]

    @property
    def refusal(self) -> Refused:
        (failure,) = self.ended
        assert isinstance(failure.value, Refused)
        return failure.value


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    made = Asked(tmp_path)
    yield made
    made.inner.audit.close()


def test_a_password_is_asked_for_and_added_to_what_was_proved(asked: Asked) -> None:
    asked.begin("password")
    prompt, instruction, timeout = asked.questions[0]
    assert prompt == "Directory password of alice (not of deploy): " and timeout == ANSWER_TIME
    assert instruction == "deploy on web1 needs the directory's password, which this login has not given"
    asked.waiting.callback((b"right",))
    (identity,) = asked.ended
    assert identity == replace(BY_KEY, factors=("publickey", "password"))
    assert asked.lines() == [("alice+deploy+web1", "ok")]


def test_wrong_answers_are_counted_over_all_and_leave_nothing(asked: Asked) -> None:
    asked.begin("password")
    for answer in (b"wrong", b"", b"\xff"):
        asked.waiting.callback((answer,))
    assert asked.refusal.reason is PolicyReason.FACTOR_NEEDED and "was not right" in asked.refusal.text
    assert [reason for _, reason in asked.lines()] == ["bad_password", "empty_password", "bad_password"]
    assert len(asked.questions) == TRIES and asked.questions[2][1] == "nothing was typed"


def test_wrong_answers_count_for_the_account_under_whatever_name(asked: Asked) -> None:
    needed, place = FactorsNeeded("web1", ("password",)), Destination("alice@corp.example", "deploy", "web1")
    while asked.inner.penalties.allows("192.0.2.1", "alice"):
        Deferred.fromCoroutine(asked.step_up.prove(BY_KEY, place, needed)).addErrback(lambda _: None)
        assert len(asked.inner.lines()) < 50
        for _ in range(TRIES):
            asked.waiting.called or asked.waiting.callback((b"wrong",))


def test_what_is_no_mistake_of_the_engineer_is_not_asked_again(asked: Asked) -> None:
    asked.begin("totp")  # there is no key for codes
    assert asked.questions[0][0] == "One-time code of alice: "
    asked.waiting.callback((b"123456",))
    assert asked.refusal.text.endswith("second factors cannot be checked now, please try again in a moment")


@pytest.mark.parametrize("factors", [("certificate",), ("sk-publickey", "totp"), ("publickey",)])
def test_a_key_cannot_be_asked_for(asked: Asked, factors: tuple[str, ...]) -> None:
    asked.begin(*factors)
    assert asked.questions == [] and asked.refusal.reason is PolicyReason.FACTOR_NEEDED


def test_an_account_that_has_become_another_one_is_not_taken(asked: Asked) -> None:
    asked.inner.account = replace(asked.inner.account, uid="u-2")
    asked.begin("password")
    asked.waiting.callback((b"right",))
    assert asked.refusal.reason is PolicyReason.FACTOR_NEEDED
    assert asked.lines() == [("alice+deploy+web1", "unknown_user")]


def test_all_answers_together_have_one_deadline(asked: Asked) -> None:
    asked.begin("password")
    asked.timers.advance(ANSWER_TIME - 10)
    asked.waiting.callback((b"wrong",))
    assert asked.questions[1][2] == 10
    asked.timers.advance(10)
    asked.waiting.callback((b"wrong",))
    assert len(asked.questions) == 2 and asked.refusal.text.endswith("not answered in time")


def test_who_leaves_while_an_answer_is_judged_is_booked_as_abandoned(asked: Asked) -> None:
    asked.inner.proof.context.services.directory.check_password = lambda *_: Deferred()  # type: ignore[method-assign]
    running = asked.begin("password")
    asked.waiting.callback((b"right",))
    running.cancel()
    (failure,) = asked.ended
    assert failure.check(CancelledError) and asked.lines() == [("alice+deploy+web1", "abandoned")]
    assert AuthReason.ABANDONED == "abandoned"


# -- what others judge ---------------------------------------------------------------------------------------


class Judge:
    """Somebody else, who says yes, or no, when the test says so."""

    def __init__(self, prompt: str = "", wait: float = 90.0) -> None:
        self.prompt, self.wait = prompt, wait
        self.asked: list[tuple[str, str, str]] = []
        self.verdict: Deferred[None] = Deferred()

    async def prove(self, who: Identity, source: str, answer: str, ask: Any) -> None:
        self.asked.append((who.uid, source, answer))
        await ask((), "open this", 5.0)
        self.verdict = Deferred()
        await self.verdict

    def close(self) -> None:
        pass


def judged(asked: Asked, **judges: Judge) -> None:
    context = asked.inner.proof.context
    services = replace(context.services, outside=judges)
    asked.step_up = replace(asked.step_up, context=replace(context, services=services))


def test_somebody_elses_yes_is_a_factor(asked: Asked) -> None:
    judge = Judge()
    judged(asked, oidc=judge)
    asked.begin("oidc")
    assert judge.asked == [("u-1", "192.0.2.1", "")] and asked.questions == []
    assert asked.shown == [
        "deploy on web1 needs a sign-in at the identity provider, which this login has not given\nopen this"
    ]
    judge.verdict.callback(None)
    (identity,) = asked.ended
    assert identity == replace(BY_KEY, factors=("publickey", "oidc"))
    assert asked.lines() == [("alice+deploy+web1", "ok")]
    assert asked.inner.meters.value(AUTH_ATTEMPTS, "oidc", "ok") == 1


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (AuthReason.FACTOR_DENIED, "the sign-in was refused there"),
        (AuthReason.FACTOR_TIMEOUT, "nobody signed in in time"),
        (AuthReason.FACTOR_MISMATCH, "the sign-in was somebody else's"),
        (AuthReason.FACTOR_INVALID, "proves nothing"),
        (AuthReason.FACTOR_UNAVAILABLE, "nobody there answers"),
        (AuthReason.FACTOR_BUSY, "as many are being asked"),
    ],
)
def test_a_no_of_somebody_else_is_told_and_written_down(asked: Asked, reason: AuthReason, said: str) -> None:
    judge = Judge()
    judged(asked, oidc=judge)
    asked.begin("oidc")
    judge.verdict.errback(Refused(reason, "no"))
    assert asked.refusal.reason is PolicyReason.FACTOR_NEEDED and said in asked.refusal.text
    assert asked.lines() == [("alice+deploy+web1", reason)]


def test_what_is_typed_for_somebody_else_is_a_guess(asked: Asked) -> None:
    judge = Judge("Token code")
    judged(asked, radius=judge)
    asked.begin("radius")
    for answer in (b"111111", b"222222", b"333333"):
        assert asked.questions[-1][0] == "Token code of alice: "
        asked.waiting.callback((answer,))
        judge.verdict.errback(Refused(AuthReason.BAD_CODE, "no"))
    assert asked.questions[1][1] == "that code was not right" and "was not right" in asked.refusal.text
    assert [answer for _, _, answer in judge.asked] == ["111111", "222222", "333333"]
    while asked.inner.penalties.allows("192.0.2.1", "alice"):
        asked.inner.penalties.failed("192.0.2.1", "alice", AuthReason.BAD_CODE)
    asked.ended.clear()
    asked.begin("radius")
    asked.waiting.callback((b"444444",))
    assert len(judge.asked) == 3 and asked.lines()[-1][1] == "throttled"


def test_nobody_else_is_asked_about_an_account_that_is_another_one(asked: Asked) -> None:
    judge = Judge()
    judged(asked, oidc=judge)
    asked.inner.account = replace(asked.inner.account, uid="u-2")
    asked.begin("oidc")
    assert judge.asked == [] and asked.lines() == [("alice+deploy+web1", "unknown_user")]


def test_what_the_directory_says_after_somebody_elses_yes_counts(asked: Asked) -> None:
    judge = Judge()
    judged(asked, oidc=judge)
    asked.begin("oidc")
    asked.inner.account = replace(asked.inner.account, groups=frozenset({"left"}))
    judge.verdict.callback(None)
    assert asked.ended[0].groups == {"left"}
    asked.ended.clear()
    asked.begin("oidc")
    asked.inner.account = replace(asked.inner.account, uid="u-2")
    judge.verdict.callback(None)
    assert asked.refusal.reason is PolicyReason.FACTOR_NEEDED
    assert asked.lines()[-1] == ("alice+deploy+web1", "unknown_user")


def test_the_own_factors_come_first_and_the_time_is_that_of_all(asked: Asked) -> None:
    judge = Judge(wait=90.0)
    judged(asked, oidc=judge)
    asked.begin("password", "oidc")
    assert judge.asked == [] and asked.questions[0][2] == ANSWER_TIME + 90
    asked.waiting.callback((b"right",))
    assert len(judge.asked) == 1 and asked.lines() == [("alice+deploy+web1", "partial")]
    judge.verdict.callback(None)
    assert asked.ended[0].factors == ("publickey", "password", "oidc")


def test_who_leaves_while_somebody_else_is_asked_is_booked_as_abandoned(asked: Asked) -> None:
    judge = Judge()
    judged(asked, oidc=judge)
    running = asked.begin("oidc")
    running.cancel()
    assert asked.ended[0].check(CancelledError) and asked.lines() == [("alice+deploy+web1", "abandoned")]
    assert judge.verdict.called


def test_a_factor_that_nobody_judges_is_not_given(asked: Asked) -> None:
    asked.begin("oidc")
    assert asked.shown == asked.questions == [] and "nobody there answers" in asked.refusal.text


def test_noted_factors_count_for_their_time_and_no_longer() -> None:
    clock = Clock()
    noted = NotedFactors(clock)
    assert noted.added_to(BY_KEY) is BY_KEY
    noted.note(("totp",), 3600)
    clock.advance(1800)
    noted.note(("password",), 3600)
    assert noted.added_to(BY_KEY).factors == ("publickey", "totp", "password")
    clock.advance(1800)
    assert noted.added_to(BY_KEY).factors == ("publickey", "password")
    noted.note(("totp",), 0)
    assert "totp" not in noted.added_to(BY_KEY).factors, "0: it is asked for each time"


@pytest.mark.parametrize(("port", "way"), [(22, ""), (2222, "-p 2222 ")])
def test_a_tunnel_is_told_the_command_that_gets_the_factor(port: int, way: str) -> None:
    outer: Any = SimpleNamespace(gateway=SimpleNamespace(public=("bastion", port)), identity=BY_KEY)
    place = TcpipOpen("db9", 5432, "127.0.0.1", 1)
    needed = FactorsNeeded("db9:5432", ("totp",))
    told = without_asking(outer, place, needed)
    assert told.text.endswith(f"ask: ssh -t {way}-L 5432:db9:5432 alice@bastion factor totp wait")
    other = Refused(PolicyReason.NO_RULE, "no")
    certificate = FactorsNeeded("db9:5432", ("certificate",))
    assert without_asking(outer, place, other) is other
    assert without_asking(outer, place, certificate) is certificate
    assert without_asking(outer, TcpipOpen("a;b", 1, "", 1), needed) is needed, (
        "nothing of a client's to paste"
    )

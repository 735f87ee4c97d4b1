"""Factors that are asked for later: each answer an attempt, what is noted and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from bastion.auth.identity import Destination, Identity
from bastion.doors.step_up import ANSWER_TIME, TRIES, NotedFactors, StepUp, without_asking
from bastion.errors import AuthReason, PolicyReason, Refused
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
        self.waiting: Deferred[Answers] = Deferred()
        self.step_up = StepUp(self.inner.proof.context, self.timers, self.ask, 0)
        self.ended: list[Any] = []

    def ask(self, prompts: tuple[Prompt, ...], instruction: str, timeout: float) -> Deferred[Answers]:
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

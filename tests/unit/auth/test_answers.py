"""Answers of a moment ago: for how long, which, and how many."""

from __future__ import annotations

import pytest

from bastion.auth.answers import MAX_ANSWERS, MAX_BYTES, Answers
from bastion.auth.identity import Account
from bastion.clock import FixedClock
from bastion.errors import AuthReason, LimitReason, Refused
from bastion.wire.keys import parse_authorized_key
from tests.unit.auth.test_ldap_entry import key_line

ALICE = Account("alice", "u-1", frozenset({"ops"}), (), "ldap")


def test_an_answer_counts_for_its_seconds_and_no_longer() -> None:
    clock = FixedClock()
    answers = Answers(clock, 5.0)
    answers.keep("alice", ALICE)
    clock.advance(4.9)
    assert answers.get("alice") is ALICE
    clock.advance(0.1)
    assert answers.get("alice") is None
    assert (len(answers), answers.size) == (0, 0)


def test_using_an_answer_does_not_make_it_younger() -> None:
    clock = FixedClock()
    answers = Answers(clock, 5.0)
    answers.keep("alice", ALICE)
    for _ in range(4):
        clock.advance(1.0)
        assert answers.get("alice") is ALICE
    clock.advance(1.0)
    assert answers.get("alice") is None


@pytest.mark.parametrize("reason", [AuthReason.UNKNOWN_USER, AuthReason.ACCOUNT_LOCKED])
def test_a_no_is_remembered_and_is_a_new_exception_each_time(reason: AuthReason) -> None:
    answers = Answers(FixedClock(), 5.0)
    said = Refused(reason, "no")
    answers.keep("alice", said)
    first, second = answers.get("alice"), answers.get("alice")
    assert isinstance(first, Refused) and isinstance(second, Refused)
    assert first is not second and first is not said
    assert (first.reason, first.text) == (reason, "no")


@pytest.mark.parametrize(
    "reason", [AuthReason.DIRECTORY_UNAVAILABLE, AuthReason.DIRECTORY_TIMEOUT, LimitReason.BUDGET_DIRECTORY]
)
def test_that_nobody_could_be_asked_is_no_answer(reason: AuthReason | LimitReason) -> None:
    answers = Answers(FixedClock(), 5.0)
    answers.keep("alice", ALICE)
    answers.keep("alice", Refused(reason, "down"))
    assert answers.get("alice") is None


def test_none_is_kept_for_no_time() -> None:
    answers = Answers(FixedClock(), 0.0)
    answers.keep("alice", ALICE)
    assert answers.get("alice") is None and len(answers) == 0


def test_memory_is_bounded_by_count() -> None:
    answers = Answers(FixedClock(), 5.0)
    for number in range(MAX_ANSWERS + 10):
        answers.keep(f"guess{number}", Refused(AuthReason.UNKNOWN_USER, "no"))
    assert len(answers) == MAX_ANSWERS
    assert answers.get("guess9") is None and answers.get("guess10") is not None


def test_memory_is_bounded_by_bytes() -> None:
    key = parse_authorized_key(key_line())
    big = Account("big", "u-2", frozenset("x" * 200 + str(n) for n in range(1024)), (key,) * 64, "ldap")
    answers = Answers(FixedClock(), 5.0)
    for number in range(100):
        answers.keep(f"big{number}", big)
        answers.keep(f"big{number}", big)
        assert answers.size <= MAX_BYTES
    assert 0 < len(answers) < 100
    answers.clear()
    assert (len(answers), answers.size) == (0, 0)

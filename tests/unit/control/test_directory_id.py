"""Whose a name is, as the directory knows it at that moment."""

from __future__ import annotations

import pytest
from twisted.internet.defer import fail, succeed

from bastion.auth.identity import Account
from bastion.control.account_id import NO_ANSWER, AccountId
from bastion.control.directory_id import id_of
from bastion.errors import AuthReason, Refused


class Directory:
    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def lookup(self, name):
        self.asked.append(name)
        return self.answer


def asked(answer):
    got, directory = [], Directory(answer)
    id_of(directory, "alice").addBoth(got.append)
    assert directory.asked == ["alice"]
    return got[0]


def test_an_account_has_an_id():
    assert asked(succeed(Account("alice", "u-1", frozenset()))) == AccountId("u-1")


def test_one_that_is_made_of_the_name_is_none():
    found = asked(succeed(Account("alice", "embedded:alice", frozenset())))
    assert found.uid == "" and "no id of its own" in found.why


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        (AuthReason.UNKNOWN_USER, "nobody of that name"),
        (AuthReason.DIRECTORY_UNAVAILABLE, NO_ANSWER),
        (AuthReason.DIRECTORY_TIMEOUT, NO_ANSWER),
    ],
)
def test_why_there_is_none(reason, why):
    found = asked(fail(Refused(reason, "no")))
    assert found.uid == "" and why in found.why


def test_a_fault_is_no_answer():
    assert isinstance(asked(fail(ZeroDivisionError())).value, ZeroDivisionError)

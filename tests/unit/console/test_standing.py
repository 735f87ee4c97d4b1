"""Somebody who signed in a while ago: asked about again, with the roles of now."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from bastion.auth.directory import OPERATOR
from bastion.auth.identity import Account
from bastion.clock import FixedClock
from bastion.console.reads import Trouble
from bastion.console.standing import FRESH, UNANSWERED, Standing
from bastion.console.visits import Visit, Visits
from bastion.control.roles import Role
from bastion.errors import AuthReason, ConsoleReason, Refused
from bastion.policy.locks import Lock, LockKind, LockSet

ALICE = Account("alice", "u-alice", frozenset(("security",)))
GROUPS = {"auditor": frozenset(("security",)), "admin": frozenset(("chiefs",))}


class Asked:
    """A directory and a store that say what a test says."""

    def __init__(self) -> None:
        self.clock = FixedClock()
        self.account: Account | Refused = ALICE
        self.locks_now: LockSet | Trouble = LockSet()
        self.times = 0
        directory: Any = self
        self.standing = Standing(directory, directory, self.clock, GROUPS)
        visits = Visits(self.clock, 1e9, 1e9, lambda visit, why: None)
        self.visit: Visit = visits.begin("alice", "u-alice", frozenset((Role.AUDITOR,)), "192.0.2.1")[1]

    def lookup(self, name: str, asker: object) -> Deferred[Account]:
        self.times += 1
        return fail(self.account) if isinstance(self.account, Refused) else succeed(self.account)

    def locks(self, asker: object) -> Deferred[LockSet]:
        return fail(self.locks_now) if isinstance(self.locks_now, Trouble) else succeed(self.locks_now)

    def now(self, after: float = FRESH) -> ConsoleReason | None:
        self.clock.advance(after)
        found: list[ConsoleReason | None] = []
        Deferred.fromCoroutine(self.standing.ask(self.visit, OPERATOR)).addCallback(found.append)
        return found[0]


def test_an_answer_is_good_for_a_minute() -> None:
    asked = Asked()
    assert asked.now(FRESH - 1) is None and asked.times == 0
    assert asked.now(1) is None and asked.now(1) is None and asked.times == 1


def test_roles_are_those_of_now() -> None:
    asked = Asked()
    asked.account = replace(ALICE, groups=frozenset(("security", "chiefs")))
    assert asked.now() is None and asked.visit.roles == {Role.AUDITOR, Role.ADMIN}
    asked.account = replace(ALICE, groups=frozenset(("others",)))
    assert asked.now() is ConsoleReason.ACCOUNT_GONE


@pytest.mark.parametrize(
    "account",
    [
        Refused(AuthReason.UNKNOWN_USER, "no"),
        Refused(AuthReason.ACCOUNT_LOCKED, "no"),
        replace(ALICE, uid="u-other"),
        replace(ALICE, only_targets=("*",)),
    ],
    ids=["gone", "locked there", "another", "for emergencies"],
)
def test_who_is_none_any_more_is_signed_out(account: Account | Refused) -> None:
    asked = Asked()
    asked.account = account
    assert asked.now() is ConsoleReason.ACCOUNT_GONE


def test_a_lock_ends_it() -> None:
    asked = Asked()
    asked.locks_now = LockSet([Lock(LockKind.USER, "alice", "why", "root", 1.0, None, "u-alice")])
    assert asked.now() is ConsoleReason.LOCKED
    asked.locks_now = LockSet([Lock(LockKind.SOURCE, "192.0.2.0/24", "why", "root", 1.0)])
    assert asked.now() is ConsoleReason.LOCKED
    asked.locks_now = LockSet([Lock(LockKind.CERTIFICATE, "SHA256:key", "why", "root", 1.0)])
    assert asked.now() is None
    asked.visit.shown = ("SHA256:key",)
    assert asked.now() is ConsoleReason.LOCKED, "with what it began"


@pytest.mark.parametrize("which", ["directory", "store"])
def test_while_nobody_answers_it_goes_on_for_so_long(which: str) -> None:
    asked = Asked()
    if which == "directory":
        asked.account = Refused(AuthReason.DIRECTORY_TIMEOUT, "late")
    else:
        asked.locks_now = Trouble(ConsoleReason.UNAVAILABLE, "late")
    assert asked.now(UNANSWERED - 1) is None
    assert asked.now(1) is ConsoleReason.UNAVAILABLE

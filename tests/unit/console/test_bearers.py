"""Whom a token stands for: its owner as he is now, and nobody once the token, or he, is gone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from bastion.auth.directory import OPERATOR
from bastion.auth.identity import Account
from bastion.clock import FixedClock
from bastion.console.bearers import WRONG_AT_ONCE, Bearers
from bastion.console.reads import Trouble
from bastion.console.standing import FRESH, UNANSWERED, Standing
from bastion.console.tokens import make
from bastion.console.visits import Visit
from bastion.control.roles import Role
from bastion.errors import AuthReason, ConsoleReason, Refused
from bastion.policy.locks import Lock, LockKind, LockSet
from bastion.state.console_tokens import KeptToken, keep, revoke
from bastion.state.database import Database, Place
from bastion.state.schema_version import check_schema

ALICE = Account("alice", "u-alice", frozenset(("security",)))
GROUPS = {"auditor": frozenset(("security",)), "admin": frozenset(("chiefs",))}
HERE = "192.0.2.1"


class Programs:
    """A store with one token in it, a directory that says what a test says."""

    def __init__(self, database: Database, longest: float | None = 90 * 86400.0) -> None:
        self.clock, self.database = FixedClock(), database
        self.account: Account | Refused = ALICE
        self.locked = LockSet()
        self.asked = self.looked = 0
        stub: Any = self
        self.bearers = Bearers(stub, Standing(stub, stub, self.clock, GROUPS), self.clock, longest)
        self.text, presented = make()
        now = self.clock.time()
        self.id = presented.id
        token = KeptToken(self.id, "siem", "u-alice", "alice", ("sessions",), now, "alice", now + 86400)
        keep(database, token, presented.digest, now)

    def lookup(self, name: str, asker: object) -> Deferred[Account]:
        self.asked += 1
        return fail(self.account) if isinstance(self.account, Refused) else succeed(self.account)

    def locks(self, asker: object) -> Deferred[LockSet]:
        return succeed(self.locked)

    def ask(self, work: Any, asker: object) -> Deferred[Any]:
        self.looked += 1
        return succeed(work(self.database))

    def visit(self, text: str = "", source: str = HERE) -> Visit | ConsoleReason:
        found: list[Any] = []
        asking = Deferred.fromCoroutine(self.bearers.visit(text or self.text, source, OPERATOR))
        asking.addCallbacks(found.append, lambda failure: found.append(failure.value))
        (one,) = found
        if isinstance(one, Trouble):
            return one.reason
        assert isinstance(one, Visit)
        return one


@pytest.fixture
def programs(tmp_path: Any) -> Any:
    database = Database(Place(tmp_path / "state"))
    check_schema(database)
    yield Programs(database)
    database.close()


def test_a_token_stands_for_its_owner_with_his_roles_of_now(programs: Programs) -> None:
    visit = programs.visit()
    assert isinstance(visit, Visit) and visit.roles == {Role.AUDITOR} and visit.by_token == programs.id
    assert visit.scope == {"sessions"} and visit.uid == "u-alice" and programs.asked == 1
    programs.visit()
    assert programs.asked == 1, "for a minute"
    programs.account = replace(ALICE, groups=frozenset(("chiefs",)))
    programs.clock.advance(FRESH)
    found = programs.visit()
    assert isinstance(found, Visit) and found.roles == {Role.ADMIN}


@pytest.mark.parametrize(
    "account",
    [
        Refused(AuthReason.UNKNOWN_USER, "no"),
        Refused(AuthReason.ACCOUNT_LOCKED, "no"),
        replace(ALICE, uid="u-other"),
        replace(ALICE, groups=frozenset(("others",))),
        replace(ALICE, only_targets=("*",)),
    ],
    ids=["gone", "locked there", "another of the name", "without a role", "for emergencies"],
)
def test_a_token_is_dead_with_its_owner(programs: Programs, account: Account | Refused) -> None:
    assert isinstance(programs.visit(), Visit)
    programs.account = account
    programs.clock.advance(FRESH)
    assert programs.visit() is ConsoleReason.ACCOUNT_GONE and programs.visit() is ConsoleReason.ACCOUNT_GONE


def test_a_lock_of_its_owner_or_of_where_it_comes_from_holds(programs: Programs) -> None:
    programs.locked = LockSet([Lock(LockKind.SOURCE, "192.0.2.9", "why", "root", 1.0)])
    assert isinstance(programs.visit(), Visit)
    assert programs.visit(source="192.0.2.9") is ConsoleReason.LOCKED
    programs.locked = LockSet([Lock(LockKind.USER, "alice", "why", "root", 1.0, None, "u-alice")])
    programs.clock.advance(FRESH)
    assert programs.visit() is ConsoleReason.LOCKED


def test_it_counts_no_longer_once_it_was_taken_away_or_has_ended(programs: Programs) -> None:
    assert isinstance(programs.visit(), Visit)
    revoke(programs.database, programs.id)
    assert programs.visit() is ConsoleReason.BAD_API_TOKEN


def test_no_token_lives_longer_than_is_configured_now(programs: Programs) -> None:
    for longest, counts in ((3600.0, True), (1800.0, False), (None, False)):
        stub: Any = programs
        standing = Standing(stub, stub, programs.clock, GROUPS)
        programs.bearers = Bearers(stub, standing, programs.clock, longest)
        if longest == 3600.0:
            programs.clock.advance(1801.0)
        assert isinstance(programs.visit(), Visit) is counts


def test_a_directory_that_never_answered_lets_nobody_in(programs: Programs) -> None:
    programs.account = Refused(AuthReason.DIRECTORY_TIMEOUT, "late")
    assert programs.visit() is ConsoleReason.UNAVAILABLE
    programs.account = ALICE
    assert isinstance(programs.visit(), Visit)
    programs.account = Refused(AuthReason.DIRECTORY_TIMEOUT, "late")
    programs.clock.advance(UNANSWERED - 1)
    assert isinstance(programs.visit(), Visit)
    programs.clock.advance(1)
    assert programs.visit() is ConsoleReason.UNAVAILABLE


def test_who_shows_what_is_no_token_waits_and_the_store_is_asked_no_longer(programs: Programs) -> None:
    other, before = make()[0], programs.looked
    said = [programs.visit(other) for _ in range(WRONG_AT_ONCE + 5)]
    assert said[: WRONG_AT_ONCE - 1] == [ConsoleReason.BAD_API_TOKEN] * (WRONG_AT_ONCE - 1)
    assert said[-1] is ConsoleReason.THROTTLED and programs.looked - before <= WRONG_AT_ONCE + 1
    assert programs.visit() is ConsoleReason.THROTTLED, "with a right one from there, too"
    assert isinstance(programs.visit(source="198.51.100.1"), Visit)

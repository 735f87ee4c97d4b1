"""The chain of embedded accounts and LDAP: whose name it is, and what a stranger does not learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock

from bastion.auth.chain import COVER_WAIT, REFUSAL_STEP, ChainDirectory
from bastion.auth.directory import NOT_ADMITTED, OPERATOR, Asker, Covered, Verdict
from bastion.auth.identity import Account
from bastion.errors import AuthReason, Refused
from tests.unit.auth.threads import outcome


class Names:
    """A directory that knows some names and notes what it was asked. `hangs`: until `answer`."""

    def __init__(
        self, source: str, *names: str, down: bool = False, hangs: bool = False, password: str = "x"
    ) -> None:
        self._source, self._names, self._down, self._hangs = source, names, down, hangs
        self._password = password
        self._open: list[Deferred[Account]] = []
        self.asked: list[str] = []
        self.closed = self.cancelled = 0

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def answer(self, refused: Refused) -> None:
        """End what was asked first."""
        self._open.pop(0).errback(refused)

    def lookup(self, name: str, asker: Asker = OPERATOR) -> Deferred[Account]:
        self.asked.append(name)
        if self._hangs:
            self._open.append(Deferred(self._cancel))
            return self._open[-1]
        if self._down:
            return fail(Refused(AuthReason.DIRECTORY_UNAVAILABLE, "down"))
        if name not in self._names:
            return fail(Refused(AuthReason.UNKNOWN_USER, NOT_ADMITTED))
        return succeed(Account(name, f"{self._source}:{name}", frozenset(), (), self._source))

    def _cancel(self, _: object) -> None:
        self.cancelled += 1

    def check_key(
        self, name: str, judge: Callable[[Account], Verdict], asker: Asker = OPERATOR
    ) -> Deferred[Verdict]:
        return self.lookup(name, asker).addCallback(judge)

    def check_password(self, name: str, password: str, asker: Asker = OPERATOR) -> Deferred[Account]:
        if password != self._password:
            return fail(Refused(AuthReason.BAD_PASSWORD, NOT_ADMITTED))
        return self.lookup(name)

    def close(self) -> None:
        self.closed += 1


def asked(chain: ChainDirectory, name: str) -> Any:
    """The source of the account, or the reason."""
    found = outcome(chain.lookup(name))
    assert outcome(chain.check_password(name, "x")) == found or isinstance(found, Refused)
    return found.source if isinstance(found, Account) else found.reason


def test_the_proofs_of_embedded_names_never_ask_the_other() -> None:
    """A password, a signature: break-glass accounts log in while LDAP is down or hangs."""
    for ldap in (Names("ldap", "root1", "bob", down=True), Names("ldap", "root1", "bob", hangs=True)):
        chain = ChainDirectory(Names("embedded", "root1"), ldap, Clock())
        assert asked(chain, "root1") == "embedded"
        assert outcome(chain.check_key("root1", lambda account: account.source, OPERATOR)) == "embedded"
        assert ldap.asked == []
    assert (
        asked(ChainDirectory(Names("embedded"), Names("ldap", down=True)), "bob")
        is AuthReason.DIRECTORY_UNAVAILABLE
    )


QUERY = Asker(None, query=True)


def no_key(account: Account) -> str:
    raise Refused(AuthReason.KEY_NOT_AUTHORISED, NOT_ADMITTED)


@pytest.mark.parametrize("what", ["good query", "bad query", "bad signature", "bad password"])
def test_what_proves_nothing_waits_for_the_other_directorys_answer(what: str) -> None:
    ldap = Names("ldap", "bob", hangs=True)
    embedded, clock = Names("embedded", "root1", password="right"), Clock()
    chain = ChainDirectory(embedded, ldap, clock)
    asked = {
        "good query": lambda: chain.check_key("root1", lambda account: account.source, QUERY),
        "bad query": lambda: chain.check_key("root1", no_key, QUERY),
        "bad signature": lambda: chain.check_key("root1", no_key, OPERATOR),
        "bad password": lambda: chain.check_password("root1", "wrong", OPERATOR),
    }[what]()
    assert outcome(asked) is None
    assert ldap.asked == ["root1"]
    ldap.answer(Refused(AuthReason.UNKNOWN_USER, NOT_ADMITTED))
    clock.advance(REFUSAL_STEP)
    found = outcome(asked)
    if what == "good query":
        assert found == "embedded"
    else:
        assert isinstance(found, Refused) and not isinstance(found, Covered)
        assert found.reason in (AuthReason.KEY_NOT_AUTHORISED, AuthReason.BAD_PASSWORD)


def test_the_answer_about_a_good_key_waits_a_second_at_most() -> None:
    clock = Clock()
    ldap = Names("ldap", hangs=True)
    asked = ChainDirectory(Names("embedded", "root1"), ldap, clock).check_key(
        "root1", lambda _: "good", QUERY
    )
    clock.advance(COVER_WAIT - 0.01)
    assert outcome(asked) is None
    clock.advance(0.02)
    assert outcome(asked) == "good"
    assert ldap.cancelled == 1 and not clock.getDelayedCalls()


@pytest.mark.parametrize("reason", [AuthReason.DIRECTORY_UNAVAILABLE, AuthReason.DIRECTORY_TIMEOUT])
def test_while_the_other_is_down_a_refusal_is_booked_as_it_is_and_told_as_the_others(
    reason: AuthReason,
) -> None:
    ldap, clock = Names("ldap", hangs=True), Clock()
    chain = ChainDirectory(Names("embedded", "root1", password="right"), ldap, clock)
    for asked, booked in (
        (chain.check_password("root1", "wrong", OPERATOR), AuthReason.BAD_PASSWORD),
        (chain.check_key("root1", no_key, QUERY), AuthReason.KEY_NOT_AUTHORISED),
    ):
        ldap.answer(Refused(reason, "down"))
        clock.advance(REFUSAL_STEP)
        found = outcome(asked)
        assert isinstance(found, Covered)
        assert (found.reason, found.shown) == (booked, reason)


def test_who_leaves_does_not_keep_the_other_directory_busy() -> None:
    ldap = Names("ldap", hangs=True)
    asked = ChainDirectory(Names("embedded", "root1"), ldap, Clock()).check_key("root1", no_key, QUERY)
    asked.cancel()
    assert isinstance(outcome(asked), CancelledError) and ldap.cancelled == 1


@pytest.mark.parametrize("name", ["root1", "bob", "nobody"])
@pytest.mark.parametrize("took, at", [(0.0, 1), (0.4, 1), (0.9, 1), (1.2, 2), (3.5, 4)])
def test_a_key_is_refused_in_steps_whoever_knows_the_name(name: str, took: float, at: int) -> None:
    clock, ldap = Clock(), Names("ldap", "bob", hangs=True)
    asked = ChainDirectory(Names("embedded", "root1"), ldap, clock).check_key(name, no_key, QUERY)
    clock.advance(took * REFUSAL_STEP)
    ldap.answer(Refused(AuthReason.UNKNOWN_USER, NOT_ADMITTED))
    clock.advance((at - took) * REFUSAL_STEP - 0.001)
    assert outcome(asked) is None
    clock.advance(0.002)
    assert isinstance(outcome(asked), Refused) and not clock.getDelayedCalls()


def test_who_leaves_before_a_refusal_leaves_no_timer() -> None:
    clock = Clock()
    asked = ChainDirectory(Names("embedded"), Names("ldap"), clock).check_key("bob", no_key, QUERY)
    asked.cancel()
    assert isinstance(outcome(asked), CancelledError) and not clock.getDelayedCalls()


def test_other_names_are_the_others() -> None:
    embedded = Names("embedded", "root1")
    chain = ChainDirectory(embedded, Names("ldap", "root1", "bob"))
    assert asked(chain, "bob") == "ldap"
    assert asked(chain, "carol") is AuthReason.UNKNOWN_USER
    assert embedded.asked == []


def test_the_case_of_a_name_does_not_lead_past_the_embedded_account() -> None:
    ldap = Names("ldap", "root1", "Root1")
    embedded = Names("embedded", "root1")
    ChainDirectory(embedded, ldap).lookup("Root1").addErrback(lambda _: None)
    assert ldap.asked == [] and embedded.asked == ["Root1"]


def test_alone_the_embedded_directory_refuses_unknown_names() -> None:
    embedded = Names("embedded", "root1")
    chain = ChainDirectory(embedded)
    assert asked(chain, "bob") is AuthReason.UNKNOWN_USER
    chain.close()
    assert embedded.closed == 1


def test_bad_names_ask_nobody() -> None:
    embedded, ldap = Names("embedded"), Names("ldap")
    chain = ChainDirectory(embedded, ldap)
    assert asked(chain, "*") is AuthReason.BAD_USER_NAME
    assert embedded.asked == ldap.asked == []
    chain.close()
    assert (embedded.closed, ldap.closed) == (1, 1)


def test_an_alias_leads_to_no_name_that_is_embedded() -> None:
    class Aliases(Names):
        def lookup(self, name: str, asker: Asker = OPERATOR) -> Deferred[Account]:
            return super().lookup(name.partition("@")[0], asker)

    clock = Clock()
    chain = ChainDirectory(Names("embedded", "root"), Aliases("ldap", "root", "alice"), clock)  # type: ignore[arg-type]
    for name, expected in (("root@corp", AuthReason.UNKNOWN_USER), ("alice@corp", "ldap:alice")):
        for question in (
            lambda name=name: chain.lookup(name),
            lambda name=name: chain.check_password(name, "x"),
            lambda name=name: chain.check_key(name, lambda account: account),
        ):
            asked = question()
            clock.advance(REFUSAL_STEP)
            found = outcome(asked)
            assert (found.uid if isinstance(found, Account) else found.reason) == expected

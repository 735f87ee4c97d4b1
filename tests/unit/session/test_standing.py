"""An account that is gone opens nothing new and, where a rule says so, its sessions end; silence ends nothing."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from bastion.auth.budget import Budget
from bastion.auth.identity import Account, Identity
from bastion.auth.restrictions import Restrictions
from bastion.clock import FixedClock
from bastion.errors import AuthReason, EndReason, LimitReason, PolicyReason, Refused
from bastion.options import Source
from bastion.policy.locks import party_of
from bastion.policy.rules import parse_policy
from bastion.policy.targets import parse_targets
from bastion.policy.tunnel import authorise_tunnel
from bastion.session.live import LiveSessions, Right
from bastion.session.present import Kind, Presence, Present
from bastion.session.standing import FRESH, GAP, UNANSWERED, Rechecks, Standing

RULES = '[[rule]]\nname = "ops"\ngroups = ["ops"]\ntargets = ["web1"]\nlogins = ["root"]\nverbs = ["shell"]\n'
TARGETS = '[targets.web1]\nhost = "10.0.0.1"\n'
DOWN = Refused(AuthReason.DIRECTORY_UNAVAILABLE, "the directory is down")
REMOVED = Refused(AuthReason.UNKNOWN_USER, "no")


def identity(name: str = "alice") -> Identity:
    return Identity(
        name, f"u-{name}", frozenset({"ops"}), "t", ("publickey",), None, "192.0.2.1", Restrictions()
    )


class Asked:
    """A directory that answers with what it is told to, or later, and a gateway around it."""

    def __init__(self) -> None:
        self.reactor = Clock()
        self.clock = FixedClock()
        self.reloads = 0
        self.broken_by = ""
        self.names: list[str] = []
        self.askers: list[Any] = []
        self.answers: dict[str, Any] = {}
        self.live = LiveSessions()
        self.present = Presence()
        self.budget = Budget(FixedClock())
        self.services = SimpleNamespace(
            auth=SimpleNamespace(directory=self),
            policy=parse_policy(tomllib.loads(RULES), Source("p")),
            inventory=parse_targets(tomllib.loads(TARGETS), Source("t")),
            limits=SimpleNamespace(recheck=300.0),
        )
        self.gateway: Any = self

    def lookup(self, name: str, asker: Any) -> Deferred[Account]:
        self.names.append(name)
        self.askers.append(asker)
        answer = self.answers.get(name, Account(name, f"u-{name}", frozenset({"ops"})))
        if isinstance(answer, Deferred):
            return answer
        return fail(answer) if isinstance(answer, Refused) else succeed(answer)

    def begin(self, name: str = "alice", session: str = "", login: str = "root", target: str = "web1") -> Any:
        made: Any = SimpleNamespace(session_id=session or f"session-{name}", ends=[])
        made.end = lambda end: (made.ends.append(end), self.live.remove(made))
        self.live.add(made, Right(identity(name), target, login))
        return made


@pytest.fixture
def asked() -> Asked:
    return Asked()


# -- new channels on an old connection -----------------------------------------------------------------------


def opened(standing: Standing) -> list[Any]:
    found: list[Any] = []
    standing.ask(found.append)
    return found


def test_a_fresh_answer_counts_and_an_old_one_is_asked_for_again(asked: Asked) -> None:
    standing = Standing(asked.gateway, identity())
    assert opened(standing) == [None] and asked.names == []
    asked.reactor.advance(FRESH)
    assert opened(standing) == [None] and asked.names == ["alice"]
    asked.reactor.advance(FRESH - 1)
    assert opened(standing) == [None] and asked.names == ["alice"]


@pytest.mark.parametrize(
    "reason",
    [
        AuthReason.UNKNOWN_USER,
        AuthReason.ACCOUNT_LOCKED,
        AuthReason.ACCOUNT_EXPIRED,
        AuthReason.AMBIGUOUS_USER,
    ],
)
def test_an_account_that_is_gone_opens_nothing(asked: Asked, reason: AuthReason) -> None:
    standing = Standing(asked.gateway, identity())
    asked.reactor.advance(FRESH)
    asked.answers["alice"] = Refused(reason, "no")
    (refusal,) = opened(standing)
    assert refusal.reason is PolicyReason.ACCOUNT_GONE
    asked.answers.clear()
    assert opened(standing) == [None], "asked again each time, until it is well"


def test_another_account_of_the_same_name_is_not_the_one_that_logged_in(asked: Asked) -> None:
    standing = Standing(asked.gateway, identity())
    asked.reactor.advance(FRESH)
    asked.answers["alice"] = Account("alice", "u-other", frozenset({"ops"}))
    (refusal,) = opened(standing)
    assert refusal.reason is PolicyReason.ACCOUNT_GONE


def test_the_groups_are_those_of_the_last_answer(asked: Asked) -> None:
    standing = Standing(asked.gateway, identity())
    asked.reactor.advance(FRESH)
    asked.answers["alice"] = Account("alice", "u-alice", frozenset({"guests"}))
    opened(standing)
    assert standing.identity.groups == {"guests"}


@pytest.mark.parametrize(
    "reason", [AuthReason.DIRECTORY_UNAVAILABLE, AuthReason.DIRECTORY_TIMEOUT, LimitReason.BUDGET_DIRECTORY]
)
def test_the_last_answer_counts_for_a_while_when_the_directory_is_silent(asked: Asked, reason: Any) -> None:
    standing = Standing(asked.gateway, identity())
    asked.answers["alice"] = Refused(reason, "silent")
    asked.reactor.advance(UNANSWERED - 1)
    assert opened(standing) == [None]
    asked.reactor.advance(1)
    (refusal,) = opened(standing)
    assert refusal.reason is PolicyReason.ACCOUNT_UNCONFIRMED


def test_channels_that_open_meanwhile_wait_for_the_same_answer_in_their_order(asked: Asked) -> None:
    standing = Standing(asked.gateway, identity())
    asked.reactor.advance(FRESH)
    later: Deferred[Account] = Deferred()
    asked.answers["alice"] = later
    order: list[int] = []
    for number in range(3):
        standing.ask(lambda refusal, number=number: order.append(number))
    assert order == [] and asked.names == ["alice"]
    later.callback(Account("alice", "u-alice", frozenset()))
    assert order == [0, 1, 2]


def test_a_connection_that_ends_gives_its_question_up(asked: Asked) -> None:
    standing = Standing(asked.gateway, identity())
    asked.reactor.advance(FRESH)
    cancelled: list[Any] = []
    asked.answers["alice"] = Deferred(cancelled.append)
    found = opened(standing)
    standing.stop()
    assert found == [] and len(cancelled) == 1


# -- sessions that run ---------------------------------------------------------------------------------------


def test_every_interval_one_question_for_each_identity_behind_all_others(asked: Asked) -> None:
    asked.begin("bob", "b1")
    asked.begin("alice", "a1")
    asked.begin("alice", "a2")
    rechecks = Rechecks(asked.gateway)
    rechecks.start()
    asked.reactor.advance(299)
    assert asked.names == []
    asked.reactor.advance(1)
    assert asked.names == ["alice"], "one at a time"
    asked.reactor.advance(GAP)
    asked.reactor.advance(GAP)
    assert asked.names == ["alice", "bob"] and all(asker.query for asker in asked.askers)
    asked.reactor.advance(300)
    assert asked.names == ["alice", "bob", "alice"]
    rechecks.stop()
    assert asked.reactor.getDelayedCalls() == []


@pytest.mark.parametrize(
    "reason", [AuthReason.UNKNOWN_USER, AuthReason.ACCOUNT_LOCKED, AuthReason.ACCOUNT_EXPIRED]
)
def test_sessions_of_an_account_that_is_gone_end(asked: Asked, reason: AuthReason) -> None:
    gone, other = asked.begin("alice"), asked.begin("bob")
    asked.answers["alice"] = Refused(reason, "no")
    Rechecks(asked.gateway).now()
    asked.reactor.pump([GAP] * 3)
    (end,) = gone.ends
    assert end.reason is EndReason.RIGHTS_WITHDRAWN and other.ends == []
    assert end.line == "bastion: your account has been locked or removed (ref sessio)"


@pytest.mark.parametrize(
    "change",
    [
        lambda asked: asked.answers.update(alice=Account("alice", "u-alice", frozenset({"guests"}))),
        lambda asked: setattr(asked.services, "policy", parse_policy({}, Source("p"))),
        lambda asked: setattr(asked.services, "inventory", parse_targets({}, Source("t"))),
    ],
    ids=["groups", "rules", "target"],
)
def test_sessions_that_no_rule_allows_any_more_end(asked: Asked, change: Any) -> None:
    session = asked.begin()
    change(asked)
    Rechecks(asked.gateway).now()
    (end,) = session.ends
    assert end.reason is EndReason.RIGHTS_WITHDRAWN and "no rule lets you do this any more" in end.line


def test_a_session_ends_with_the_hours_of_its_rule(asked: Asked) -> None:
    asked.services.policy = parse_policy(tomllib.loads(RULES + 'hours = ["00:00-12:00"]'), Source("p"))
    session = asked.begin()
    asked.clock.advance(4 * 3600 - 1)  # from eight o'clock
    Rechecks(asked.gateway).now()
    assert session.ends == []
    asked.clock.advance(1)
    Rechecks(asked.gateway).now()
    (end,) = session.ends
    assert end.reason is EndReason.RIGHTS_WITHDRAWN


def test_another_login_than_the_session_has_is_no_right(asked: Asked) -> None:
    deploy, root = asked.begin(session="one", login="deploy"), asked.begin(session="two")
    Rechecks(asked.gateway).now()
    assert len(deploy.ends) == 1 and root.ends == []


@pytest.mark.parametrize(
    "answer",
    [DOWN, Refused(AuthReason.DIRECTORY_TIMEOUT, "slow"), Refused(AuthReason.AMBIGUOUS_USER, "two of them")],
)
def test_a_directory_that_does_not_say_gone_ends_nothing(asked: Asked, answer: Refused) -> None:
    session = asked.begin()
    asked.answers["alice"] = answer
    Rechecks(asked.gateway).now()
    assert session.ends == []


def test_a_round_that_begins_while_an_answer_is_awaited_asks_nobody_twice_at_once(asked: Asked) -> None:
    later: Deferred[Account] = Deferred()
    asked.answers["alice"] = later
    session = asked.begin()
    rechecks = Rechecks(asked.gateway)
    rechecks.now()
    rechecks.now()
    assert asked.names == ["alice"]
    later.errback(REMOVED)
    assert len(session.ends) == 1
    rechecks.stop()


def test_a_session_that_no_rule_wants_to_end_is_not_asked_about(asked: Asked) -> None:
    made: Any = SimpleNamespace(session_id="one")
    asked.live.add(made)
    Rechecks(asked.gateway).now()
    assert asked.names == [] and asked.live.rights() == []


# -- tunnels and connections ---------------------------------------------------------------------------------------

TUNNELS = (
    '[[rule]]\nname = "db"\ngroups = ["ops"]\nverbs = ["tunnel"]\n'
    'tunnel = ["10.0.0.9:5432"]\nend_withdrawn = {}\n'
)


class Opened:
    """alice's outer connection, and a tunnel through it under TUNNELS."""

    def __init__(self, asked: Asked, end_withdrawn: str = "true") -> None:
        self.ended: list[str] = []
        self.asked = asked
        asked.services.dialler = SimpleNamespace(
            own=SimpleNamespace(has=lambda _: False, listens_on=lambda *_: False)
        )
        self.rules(TUNNELS.format(end_withdrawn))
        alice = identity()
        services = asked.services
        grant = authorise_tunnel(
            services.policy, services.inventory, alice, "10.0.0.9", 5432, "192.0.2.1", 0.0
        )
        for one in (
            Present("c" * 16, Kind.CONNECTION, party_of(alice), "outer", 0.0, self.end("connection")),
            Present(
                "c" * 16 + ".1", Kind.TUNNEL, party_of(alice), "tunnel", 0.0, self.end("tunnel"),
                connection="c" * 16, address="10.0.0.9", tunnel=grant,
            ),
        ):  # fmt: skip
            asked.present.add(one)

    def end(self, what: str) -> Any:
        return lambda end: self.ended.append(f"{what} {end.reason}")

    def rules(self, text: str) -> None:
        self.asked.services.policy = parse_policy(tomllib.loads(text), Source("p"))


def test_a_tunnel_and_the_connection_of_a_gone_account_end() -> None:
    asked = Asked()
    opened = Opened(asked)
    Rechecks(asked.gateway).now()
    assert opened.ended == [] and asked.names == ["alice"]
    asked.answers["alice"] = REMOVED
    Rechecks(asked.gateway).now()
    assert opened.ended == ["tunnel rights_withdrawn", "connection rights_withdrawn"]


def test_another_account_of_that_name_is_none() -> None:
    asked = Asked()
    opened = Opened(asked)
    asked.answers["alice"] = Account("alice", "u-2", frozenset({"ops"}))
    Rechecks(asked.gateway).now()
    assert opened.ended == ["tunnel rights_withdrawn", "connection rights_withdrawn"]


def test_what_no_rule_wants_to_end_goes_on_and_so_does_its_connection() -> None:
    asked = Asked()
    opened = Opened(asked, "false")
    asked.answers["alice"] = REMOVED
    Rechecks(asked.gateway).now()
    assert opened.ended == []
    asked.present.remove("c" * 16 + ".1")
    Rechecks(asked.gateway).now()
    assert opened.ended == ["connection rights_withdrawn"]


@pytest.mark.parametrize(
    ("change", "ended"),
    [
        (lambda opened: opened.rules(TUNNELS.format("true").replace("5432", "5433")), True),
        (lambda opened: opened.rules(TUNNELS.format("true").replace("ops", "others")), True),
        (lambda opened: opened.rules(TUNNELS.format("true").replace("10.0.0.9:", "10.0.0.0/24:")), False),
    ],
)
def test_a_tunnel_that_no_rule_gives_any_more_ends(change: Any, ended: bool) -> None:
    asked = Asked()
    opened = Opened(asked)
    change(opened)
    Rechecks(asked.gateway).now()
    assert opened.ended == (["tunnel rights_withdrawn"] if ended else [])


def test_a_break_glass_account_opens_nothing_new_when_they_are_closed(asked: Asked) -> None:
    asked.broken_by = "command"
    standing = Standing(asked.gateway, replace(identity(), only_targets=("db1",)))
    told: list[Any] = []
    standing.ask(told.append)
    asked.broken_by = ""
    standing.ask(told.append)
    assert told[0] is None and told[1].reason is PolicyReason.ACCOUNT_GONE

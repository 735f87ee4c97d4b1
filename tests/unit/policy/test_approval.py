"""Who may approve: what rules say, put together, kept as text and read back."""

from __future__ import annotations

import tomllib

import pytest

from bastion.auth.identity import Identity
from bastion.errors import ConfigError, PolicyReason, Refused
from bastion.options import Source
from bastion.policy.approval import as_text, from_text, in_words, may_approve, needed_by
from bastion.policy.explain import explain
from bastion.policy.grant import authorise
from bastion.policy.route import ToGateway, route
from bastion.policy.rules import parse_policy
from bastion.policy.targets import parse_targets
from bastion.policy.tunnel import authorise_tunnel

HEAD = '[[rule]]\nname = "{}"\nusers = ["alice"]\ntargets = ["*"]\nlogins = ["root"]\nverbs = ["{}"]\n{}\n'
ALICE = Identity("alice", "u-1", frozenset({"ops"}), "t", ("publickey",), None, "192.0.2.1")
TARGETS = '[targets.web1]\nhost = "10.0.0.1"\n[targets.far]\nhost = "10.0.0.2"\nkind = "gateway"\n'
INVENTORY = parse_targets(tomllib.loads(TARGETS), Source("t"))


def policy(*rules: tuple[str, str, str]):
    return parse_policy(tomllib.loads("".join(HEAD.format(*rule) for rule in rules)), Source("p"))


def grant(*rules: tuple[str, str, str]):
    return authorise(policy(*rules), INVENTORY, ALICE, "web1", None, "192.0.2.1", 0.0)


def test_one_rule_that_asks_is_enough_and_each_asks_for_itself() -> None:
    assert grant(("a", "exec", "")).approval == ()
    made = grant(("a", "exec", ""), ("b", "shell", 'approval = "group: Leads "\nwait = "5m"'))
    assert made.approval == (("group:leads",),) and made.wait == 300.0
    more = ("c", "sftp", 'approval = ["user:bob", "group:sec"]')
    made = grant(("b", "shell", 'approval = "group:leads"\nwait = "5m"'), more)
    assert made.approval == (("group:leads",), ("group:sec", "user:bob")) and made.wait is None
    assert not may_approve(made.approval, "bob", ["ops"])
    assert not may_approve(made.approval, "carol", ["leads"])
    assert may_approve(made.approval, "bob", ["leads"]) and may_approve(
        made.approval, "carol", ["leads", "sec"]
    )
    assert in_words(made.approval) == "(group leads) who is also (group sec or bob)"


def test_the_order_of_rules_changes_nothing() -> None:
    assert needed_by([("b", "a"), ("c",), ("a", "b"), ()]) == (("a", "b"), ("c",))


@pytest.mark.parametrize("text", ["", "[]", "{}", "[[]]", "[[1]]", '["a"]', "null", "not json"])
def test_what_is_no_need_is_met_by_nobody(text: str) -> None:
    assert not may_approve(from_text(text), "alice", ["leads"])


def test_a_need_is_read_back_as_it_was() -> None:
    needed = (('group:leute mit ä, "b"',), ("user:bob",))
    assert from_text(as_text(needed)) == needed and as_text(needed).isascii()


@pytest.mark.parametrize(
    ("verb", "lines", "key"),
    [
        ("exec", 'approval = "leads"', "approval"),
        ("exec", 'approval = "group:"', "approval"),
        ("exec", 'approval = "user:No One"', "approval"),
        ("exec", "approval = []", "approval"),
        ("exec", 'wait = "5m"', "wait"),
        ("exec", 'approval = "group:leads"\nwait = "2h"', "wait"),
        ("tunnel", 'approval = "group:leads"\ntunnel = ["db1:5432"]', "approval"),
    ],
)
def test_what_cannot_be_is_named(verb: str, lines: str, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        policy(("a", verb, lines))
    assert key in error.value.key


def test_a_gateway_behind_a_tunnel_cannot_ask() -> None:
    rules = policy(("a", "exec", ""), ("b", "shell", 'approval = "group:leads"'))
    way = route(rules, INVENTORY, ALICE, "far", 22, "192.0.2.1", 0.0)
    assert isinstance(way, ToGateway)
    with pytest.raises(Refused) as refused:
        authorise_tunnel(rules, INVENTORY, ALICE, "far", 22, "192.0.2.1", 0.0, way)
    assert refused.value.reason is PolicyReason.DESTINATION_NOT_ALLOWED and "approval" in refused.value.text


def test_an_explanation_says_who_has_to() -> None:
    told = explain(
        policy(("b", "shell", 'approval = "group:leads"')), INVENTORY, ALICE, "web1", None, "", 0.0
    )
    assert told.text == "alice may log in to web1 as root, when group leads has approved it"

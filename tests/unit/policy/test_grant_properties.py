"""A model of the policy, written the other way round, and random policies judged by both."""

from hypothesis import given
from hypothesis import strategies as st

from bastion.auth.restrictions import Restrictions
from bastion.errors import Refused
from bastion.options import Source
from bastion.policy.explain import explain
from bastion.policy.grant import PERMIT_VERBS, authorise, reachable
from bastion.policy.rules import VERBS, parse_policy
from bastion.policy.targets import parse_targets
from bastion.wire.key_options import ALL_PERMITS
from tests.support.examples import examples

from .world import NOW, person

NAMES = ("web1", "web2", "db1", "db10")
LOGINS = ("deploy", "root", "alice", "{identity}")
GROUPS = ("a", "b", "c")
SOURCES = ("10.0.0.1", "192.0.2.1", "2001:db8::1")
PLAIN_VERBS = tuple(verb for verb in VERBS if verb not in ("forward", "subsystem", "tunnel"))


def some(values, least=1):
    return st.lists(st.sampled_from(values), min_size=least, max_size=4, unique=True)


RULE = st.fixed_dictionaries(
    {"logins": some(LOGINS), "verbs": some(PLAIN_VERBS), "targets": some((*NAMES, "web*", "*", "db?"))},
    optional={
        "groups": some(GROUPS),
        "users": some(("alice", "bob")),
        "labels": st.fixed_dictionaries({"env": st.sampled_from(("prod", "stage"))}),
        "sources": some(("10.0.0.0/8", "2001:db8::/32", "192.0.2.1")),
        "max_duration": st.integers(1, 100),
        "idle": st.integers(1, 100),
    },
).filter(lambda rule: "groups" in rule or "users" in rule)
TARGET = st.fixed_dictionaries(
    {
        "host": st.just("h.example.com"),
        "labels": st.fixed_dictionaries({"env": st.sampled_from(("prod", "stage"))}),
    },
    optional={"logins": some(("deploy", "root", "alice"))},
)
SITUATION = st.fixed_dictionaries(
    {
        "rules": st.lists(RULE, min_size=1, max_size=5),
        "targets": st.fixed_dictionaries(dict.fromkeys(NAMES[:3], TARGET)),
        "name": st.sampled_from(("alice", "bob")),
        "groups": some(GROUPS),
        "target": st.sampled_from(NAMES),
        "login": st.sampled_from((None, None, "deploy", "root", "alice", "bob")),
        "source": st.sampled_from(SOURCES),
        "permits": st.sets(st.sampled_from(sorted(ALL_PERMITS))),
    }
)


def build(situation):
    for number, table in enumerate(situation["rules"]):
        table["name"] = f"r{number}"
    policy = parse_policy({"rule": situation["rules"]}, Source("p"))
    inventory = parse_targets({"targets": situation["targets"]}, Source("t"))
    who = person(
        situation["name"],
        *situation["groups"],
        source=situation["source"],
        restrictions=Restrictions(extensions=frozenset(situation["permits"])),
    )
    return policy, inventory, who


def simple_match(pattern, name):
    """Patterns of this file only: exact, one trailing star, or one question mark at the end."""
    if pattern.endswith("*"):
        return name.startswith(pattern[:-1])
    return (
        len(name) == len(pattern) and name.startswith(pattern[:-1])
        if pattern.endswith("?")
        else pattern == name
    )


def in_network(network, address):
    return {"10.0.0.0/8": "10.0.0.1", "2001:db8::/32": "2001:db8::1", "192.0.2.1": "192.0.2.1"}[
        network
    ] == address


def model(situation, login):
    """verbs that the rules give for (target, login), computed from the raw tables."""
    target = situation["targets"].get(situation["target"])
    given_verbs, matched = set(), []
    if target is None or (target.get("logins") and login not in target["logins"]):
        return given_verbs, matched
    for rule in situation["rules"]:
        member = set(rule.get("groups", ())) & set(situation["groups"]) or situation["name"] in rule.get(
            "users", ()
        )
        logins = {situation["name"] if name == "{identity}" else name for name in rule["logins"]}
        if (
            member
            and login in logins
            and any(simple_match(pattern, situation["target"]) for pattern in rule["targets"])
            and rule.get("labels", target["labels"]).items() <= target["labels"].items()
            and any(in_network(n, situation["source"]) for n in rule.get("sources", ()))
            >= ("sources" in rule)
        ):
            given_verbs |= set(rule["verbs"])
            matched.append(rule)
    return given_verbs, matched


@examples(300)
@given(SITUATION)
def test_a_grant_is_never_more_than_the_union_of_the_matching_rules(situation):
    policy, inventory, who = build(situation)
    try:
        grant = authorise(
            policy, inventory, who, situation["target"], situation["login"], situation["source"], NOW
        )
    except Refused:
        logins = [situation["login"]] if situation["login"] else ["deploy", "root", "alice", "bob"]
        assert all(model(situation, login)[1] == [] for login in logins)
        return
    assert situation["login"] in (None, grant.login)
    verbs, matched = model(situation, grant.login)
    withheld = {
        verb for permit, lost in PERMIT_VERBS.items() if permit not in situation["permits"] for verb in lost
    }
    assert matched and grant.rules == tuple(rule["name"] for rule in matched)
    assert grant.granted_by.keys() == verbs - withheld
    assert grant.permits <= frozenset(situation["permits"])
    durations = [rule["max_duration"] for rule in matched if "max_duration" in rule]
    assert grant.ends_at == NOW + min(durations, default=12 * 3600)
    assert grant.idle == min((rule["idle"] for rule in matched if "idle" in rule), default=None)


@examples(150)
@given(SITUATION)
def test_explain_agrees_with_authorise(situation):
    policy, inventory, who = build(situation)
    question = (situation["target"], situation["login"], situation["source"], NOW)
    answer = explain(policy, inventory, who, *question)
    try:
        grant = authorise(policy, inventory, who, *question)
    except Refused as refused:
        assert (answer.allowed, answer.reason, answer.text) == (False, refused.reason, refused.text)
        if situation["login"] is not None:
            assert not any(trace.matched for trace in answer.traces)
        return
    assert answer.allowed
    matched = [trace.rule for trace in answer.traces if trace.matched]
    assert set(grant.rules) <= set(matched)


@examples(100)
@given(SITUATION)
def test_what_is_kept_of_the_selections_is_what_the_rules_say(situation):
    policy, inventory, _ = build(situation)
    for rule, bits in zip(policy.rules, policy.selections(inventory), strict=True):
        chosen = [target for n, target in enumerate(inventory.targets) if bits >> n & 1]
        assert chosen == [target for target in inventory if rule.matches_target(target)]
    other = parse_targets({"targets": {}}, Source("t"))
    assert set(policy.selections(other)) <= {0}
    assert policy.selections(inventory) is policy.selections(inventory)


@examples(100)
@given(SITUATION)
def test_what_is_reachable_is_what_authorise_lets_through(situation):
    policy, inventory, who = build(situation)
    found = {
        entry.target.name: entry.logins for entry in reachable(policy, inventory, who, situation["source"])
    }
    for name in NAMES:
        try:
            grant = authorise(policy, inventory, who, name, None, situation["source"], NOW)
        except Refused:
            assert name not in found
        else:
            assert found[name][0] == grant.login


@examples(100)
@given(SITUATION, st.text(max_size=20))
def test_a_refusal_never_tells_of_targets_that_may_not_be_reached(situation, name):
    policy, inventory, who = build(situation)
    may = {entry.target.name for entry in reachable(policy, inventory, who, situation["source"])}
    try:
        authorise(policy, inventory, who, name, None, situation["source"], NOW)
    except Refused as refused:
        told = refused.text.partition("reach: ")[2].split(", ")
        assert {entry for entry in told if entry} <= may
        assert refused.text.isprintable()

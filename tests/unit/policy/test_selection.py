"""The bits of a selection are the targets that its rule matches, whatever rules and targets there are."""

from hypothesis import given
from hypothesis import strategies as st

from bastion.policy.rules import Policy, Rule
from bastion.policy.selection import Selecting, selections
from bastion.policy.targets import Inventory, Target

NAMES = ["web1", "web2", "db1", "a", "web1.example.com"]
PATTERNS = [*NAMES, "*", "web?", "*1", "w*b*", "none", "?"]
VALUES = ["prod", "stage", "p"]
LABELS = st.dictionaries(st.sampled_from(["env", "role"]), st.sampled_from(VALUES))
SELECTORS = st.dictionaries(
    st.sampled_from(["env", "role", "site"]),
    st.lists(st.sampled_from([*VALUES, "p*", "*"]), min_size=1, max_size=2).map(tuple),
    max_size=2,
)


def rule(targets, labels):
    return Rule(
        "policy.toml:1", name="one", users=("*",), targets=tuple(targets), labels=labels, verbs=("shell",)
    )


def selected(rules, inventory):
    return selections([Selecting(one.targets, one.labels) for one in rules], inventory)


def chosen(bits, inventory):
    return [target.name for index, target in enumerate(inventory) if bits >> index & 1]


@given(
    st.dictionaries(st.sampled_from(NAMES), LABELS),
    st.lists(st.builds(rule, st.lists(st.sampled_from(PATTERNS), max_size=2), SELECTORS), max_size=5),
)
def test_a_bit_is_set_for_what_the_rule_matches_and_for_nothing_else(targets, rules):
    inventory = Inventory(
        Target(name, host=f"{name}.example.net", labels=labels) for name, labels in targets.items()
    )
    for one, bits in zip(rules, selected(rules, inventory), strict=True):
        assert chosen(bits, inventory) == [target.name for target in inventory if one.matches_target(target)]
        assert bits >> len(inventory) == 0


def test_aliases_do_not_count():
    inventory = Inventory([Target("web1", host="10.0.0.1", aliases=("www",))])
    assert selected([rule(["www"], {}), rule(["w*1"], {})], inventory) == (0, 1)


def test_a_policy_selects_once_for_the_targets_of_an_inventory():
    inventory = Inventory([Target("web1", host="10.0.0.1")])
    policy = Policy((rule(["*"], {}),))
    first = policy.selections(inventory)
    assert policy.selections(inventory) is first
    assert policy.selections(inventory.with_resolved(inventory.resolved)) is first, "the same targets"
    other = Inventory([Target("db1", host="10.0.0.2"), Target("web1", host="10.0.0.1")])
    assert policy.selections(other) == (3,)
    assert policy.selections(inventory) == (1,)

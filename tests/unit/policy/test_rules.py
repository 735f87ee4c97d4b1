import tomllib

import pytest

from bastion.errors import ConfigError
from bastion.options import ConfigErrors, Source
from bastion.options.positions import key_lines
from bastion.policy.rules import VERBS, parse_policy
from bastion.policy.targets import Inventory, Target, parse_targets

GOOD = {"name": "r", "groups": ["g"], "targets": ["*"], "logins": ["deploy"], "verbs": ["shell"]}


def fault(changes, drop=()):
    rule = {**{key: value for key, value in GOOD.items() if key not in drop}, **changes}
    with pytest.raises(ConfigErrors) as caught:
        parse_policy({"rule": [rule]}, Source("policy.toml"))
    assert len(caught.value.errors) == 1
    return caught.value.errors[0]


def test_the_good_rule_is_good():
    (rule,) = parse_policy({"rule": [GOOD]}, Source("policy.toml")).rules
    assert (rule.name, rule.verbs, rule.max_duration) == ("r", ("shell",), None)


@pytest.mark.parametrize(
    ("changes", "key", "problem"),
    [
        ({"verbs": ["shel"]}, "rule[1].verbs[1]", "'shel' is not a verb, did you mean \"shell\"?"),
        ({"verbs": []}, "rule[1].verbs", "must not be empty"),
        ({"verbs": "shell"}, "rule[1].verbs", "must be a list"),
        ({"logins": ["dep*"]}, "rule[1].logins[1]", "is not a login"),
        ({"logins": ["a+b"]}, "rule[1].logins[1]", "is not a login"),
        ({"logins": ["{user}"]}, "rule[1].logins[1]", "is not a login"),
        ({"logins": ["{identity}{identity}"]}, "rule[1].logins[1]", "is not a login"),
        ({"logins": ["-{identity}"]}, "rule[1].logins[1]", "is not a login"),
        ({"logins": ["deploy\n"]}, "rule[1].logins[1]", "is not a login"),
        ({"users": ["Alice"]}, "rule[1].users[1]", "is not a user name"),
        ({"groups": []}, "rule[1].groups", "must not be empty"),
        ({"sources": []}, "rule[1].sources", "must not be empty"),
        ({"sources": ["10.0.0.1/8"]}, "rule[1].sources[1]", "is not a network"),
        ({"sources": ["everywhere"]}, "rule[1].sources[1]", "is not a network"),
        ({"targets": ["web 1"]}, "rule[1].targets[1]", "is not a name or pattern"),
        ({"labels": {}}, "rule[1].labels", "must not be empty"),
        ({"labels": {"env": []}}, "rule[1].labels.env", "must not be empty"),
        ({"labels": {"Env": "x"}}, "rule[1].labels.Env", "is not a valid key"),
        ({"forward": ["db1"], "verbs": ["forward"]}, "rule[1].forward[1]", "is not a destination"),
        ({"forward": ["db1:1"]}, "rule[1].forward", "has no effect"),
        ({"verbs": ["forward"]}, "rule[1].verbs", "needs the list `forward`"),
        ({"verbs": ["subsystem"]}, "rule[1].verbs", "needs the list `subsystems`"),
        ({"env": ["FOO"]}, "rule[1].env", "has no effect"),
        ({"sftp": {"list": ["/a"]}}, "rule[1].sftp", "has no effect"),
        ({"sftp": {}, "verbs": ["sftp"]}, "rule[1].sftp", "must not be empty"),
        ({"sftp": {"read": ["/a"]}, "verbs": ["sftp"]}, "rule[1].sftp.read", "is not a valid key"),
        ({"sftp": {"list": []}, "verbs": ["sftp"]}, "rule[1].sftp.list", "must not be empty"),
        ({"sftp": {"list": ["a"]}, "verbs": ["sftp"]}, "rule[1].sftp.list[1]", "begins with / or ~/"),
        ({"sftp": {"list": ["/a/../b"]}, "verbs": ["sftp"]}, "rule[1].sftp.list[1]", "normal form"),
        ({"sftp": ["/a"], "verbs": ["sftp"]}, "rule[1].sftp", "must be a table"),
        ({"sftp_content": True}, "rule[1].sftp_content", "has no effect"),
        ({"idle": "0s"}, "rule[1].idle", "is not a duration"),
        ({"idle": True}, "rule[1].idle", "is not a duration"),
        ({"name": "A rule"}, "rule[1].name", "is not a valid rule name"),
        ({"group": ["g"]}, "rule[1].group", 'unknown key "group", did you mean "groups"?'),
    ],
)
def test_each_fault_names_its_key(changes, key, problem):
    error = fault(changes)
    assert error.key == key
    assert problem in error.problem


def test_a_rule_needs_people_machines_accounts_and_verbs():
    assert "nobody would match" in fault({}, drop=("groups",)).problem
    assert "no target would match" in fault({}, drop=("targets",)).problem
    assert fault({}, drop=("logins",)).problem.startswith("needs logins")
    for key in ("name", "verbs"):
        assert fault({}, drop=(key,)).problem == "is required"


def test_every_fault_of_a_file_is_told_with_its_line():
    text = """
[[rule]]
name = "a"
groups = ["g"]
targets = ["*"]
logins = [
  "deploy",
  "ro ot",
]
verbs = ["shell", "sftpp"]
[[rule]]
name = "b"
"""
    with pytest.raises(ConfigError) as caught:
        parse_policy(tomllib.loads(text), Source("policy.toml", lines=key_lines(text)))
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("policy.toml:8: rule[1].logins[2]: ")
    assert lines[1].startswith("policy.toml:10: rule[1].verbs[2]: 'sftpp' is not a verb")
    assert lines[1].endswith(f"(allowed: {', '.join(VERBS)})")
    assert lines[2].startswith("policy.toml:11: rule[2].verbs: is required")


def test_two_rules_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="is already a rule"):
        parse_policy({"rule": [GOOD, GOOD]}, Source("p"))


def test_what_is_no_rule_table_is_refused():
    for document in ({"rules": []}, {"rule": {}}, {"rule": [1]}, {"rule": "x"}):
        with pytest.raises(ConfigError):
            parse_policy(document, Source("p"))


def targets_fault(document):
    with pytest.raises(ConfigErrors) as caught:
        parse_targets({"targets": document}, Source("targets.toml"))
    return caught.value.errors[0]


@pytest.mark.parametrize(
    ("table", "key", "problem"),
    [
        ({"Web1": {"host": "h"}}, "targets.Web1", "is not a valid name"),
        ({"a+b": {"host": "h"}}, "targets.a+b", "is not a valid name"),
        ({"a": {}}, "targets.a.host", "is required"),
        ({"a": {"host": "h h"}}, "targets.a.host", "is not a host name"),
        ({"a": {"host": "h", "port": 0}}, "targets.a.port", "whole number"),
        ({"a": {"host": "h", "port": True}}, "targets.a.port", "whole number"),
        ({"a": {"host": "h", "kind": "sh"}}, "targets.a.kind", 'did you mean "ssh"'),
        ({"a": {"host": "h", "kind": "gateway", "logins": ["x"]}}, "targets.a.kind", "never logged in to"),
        ({"a": {"host": "h", "labels": {"env": 1}}}, "targets.a.labels.env", "must be a string"),
        (
            {"a": {"host": "h"}, "b": {"host": "i", "aliases": ["a"]}},
            "targets.b.aliases[1]",
            "already a name",
        ),
        ({"a": {"host": "h", "aliases": ["b"]}, "b": {"host": "i"}}, "targets.b", "already a name"),
        ({"a": 1}, "targets.a", "must be a table"),
    ],
)
def test_each_fault_of_the_inventory_names_its_key(table, key, problem):
    error = targets_fault(table)
    assert error.key == key
    assert problem in error.problem


def test_an_inventory_finds_by_every_name_and_knows_its_ssh_servers():
    inventory = parse_targets(
        {
            "targets": {
                "a": {"host": "A.Example.com.", "aliases": ["b"]},
                "c": {"host": "::FFFF:10.0.0.1", "port": 2},
            }
        },
        Source("t"),
    )
    assert [target.name for target in inventory] == ["a", "c"]
    assert inventory.find("B.") is inventory.find("a")
    assert inventory.find("d") is None
    assert inventory.find("ａ") is None
    assert inventory.find("c").host == "10.0.0.1"
    assert inventory.is_ssh_place("a.example.com", 22)
    assert inventory.is_ssh_place("10.1", 2) and not inventory.is_ssh_place("10.1", 22)
    assert not inventory.is_ssh_place("", 22)


def test_an_inventory_is_never_ambiguous():
    with pytest.raises(ValueError, match="two targets"):
        Inventory([Target("a", host="h"), Target("b", host="i", aliases=("a",))])

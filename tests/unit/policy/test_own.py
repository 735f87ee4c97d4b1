"""`why` in the lobby: one's own rules by name, and nobody else's."""

from dataclasses import replace

import pytest

from bastion.policy.own import tell

from .world import NOW, inventory_of, person, policy_of, rule

OTHERS = """
[[rule]]
name = "secret-rule"
groups = ["board"]
targets = ["*"]
logins = ["deploy", "root"]
verbs = ["shell"]
"""


def told(policy, target="web1", login=None, who=None):
    return tell(
        policy_of(policy + OTHERS), inventory_of(), who or person("alice", "staff"), target, login, NOW
    )


def test_yes_names_the_rule_what_it_gives_and_its_limits():
    allowed, text = told(rule('["shell", "pty"]', 'max_sessions = 2\nfactors = ["totp"]'), login="deploy")
    assert allowed and text == (
        "yes: alice may log in to web1 as deploy, with a one-time code\n"
        "  needs a one-time code: asked for when you open it\n"
        "  by rule one: shell, pty\n"
        "  ends after 12h\n"
        "  at most 2 at a time\n"
    )
    allowed, text = told(rule('["shell"]', 'factors = ["certificate"]'))
    assert allowed and "needs a certificate: log in with it" in text


def test_no_says_what_of_ones_own_rules_is_missing():
    extra = 'sources = ["10.0.0.0/8"]\nhours = ["00:00-01:00"]'
    allowed, text = told(rule('["shell"]', extra))
    assert not allowed and text.splitlines()[1] == (
        "  rule one is yours, but: source: 192.0.2.1 in 10.0.0.0/8; time: Fri 08:00 in UTC, wants 00:00-01:00"
    )


@pytest.mark.parametrize(
    ("target", "login"), [("web1", "root"), ("web1", None), ("db1", None), ("web9", None), ("db9:5432", None)]
)
def test_no_word_of_others_rules(target, login):
    text = told(rule('["shell"]').replace('"*"', '"web1"'), target, login)[1]
    assert "secret" not in text and "board" not in text


def test_a_target_of_others_reads_like_one_that_does_not_exist():
    mine = rule('["shell"]').replace('"*"', '"web1"')
    known, unknown = told(mine, "db1")[1], told(mine, "db7")[1]
    assert known.replace("db1", "db7") == unknown


def test_a_tunnel_is_told_too():
    text = '[[rule]]\nname = "db"\ngroups = ["staff"]\nverbs = ["tunnel"]\ntunnel = ["db9:5432"]\n'
    assert told(text, "db9:5432") == (True, "yes: alice may tunnel to db9:5432\n  by rule db\n")
    assert told(text, "db9:5433")[0] is False
    with pytest.raises(ValueError, match="port"):
        told(text, "db9:x")


def test_what_a_certificate_takes_away_is_told():
    who = person("alice", "staff")
    narrow = replace(who, restrictions=replace(who.restrictions, extensions=frozenset()))
    assert "takes away: pty" in told(rule('["shell", "pty"]'), who=narrow)[1]

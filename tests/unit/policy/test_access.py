"""The list for a review: complete, beside the decision itself."""

from bastion.auth.identity import Account
from bastion.policy.access import conditions_of, of_target, of_user
from bastion.policy.grant import reachable

from .world import FULL, inventory_of, person, policy_of, rule

ALICE = Account("alice", "u-1", frozenset({"staff"}))
BOB = Account("bob", "u-2", frozenset({"guests"}))
TUNNEL = '[[rule]]\nname = "db"\nusers = ["alice"]\nverbs = ["tunnel"]\ntunnel = ["db9:5432"]\n'
NARROW = """
sources = ["10.0.0.0/8"]
hours = ["08:00-09:00"]
days = ["mon-fri"]
factors = ["totp"]
require_verify = true
"""


def test_a_users_list_has_all_that_may_be_reached_at_some_time():
    policy, inventory = (
        policy_of(FULL + rule('["shell"]', NARROW, "root", '["root"]') + TUNNEL),
        inventory_of(),
    )
    rows = list(of_user(policy, inventory, ALICE))
    listed = {(row.target, row.login) for row in rows if row.login}
    wide = policy_of(FULL + rule('["shell"]', "", "root", '["root"]'))
    found = reachable(wide, inventory, person("alice", "staff"))
    expected = {(one.target.name, login) for one in found for login in one.logins}
    assert listed == expected
    (tunnel,) = [row for row in rows if not row.login]
    assert (tunnel.target, tunnel.rule, tunnel.verbs) == ("db9:5432", "db", ("tunnel",))
    assert list(of_user(policy, inventory, BOB)) == []


def test_conditions_are_told_in_words():
    (one,) = policy_of(rule('["shell"]', NARROW)).rules
    assert conditions_of(one) == (
        "factors totp",
        "security key that verifies its owner",
        "from 10.0.0.0/8",
        "at mon-fri 08:00-09:00 UTC",
    )


def test_a_targets_list_names_known_people_and_calls_others_as_the_rules_do():
    everybody = rule('["exec"]', name="all", logins='["guest"]').replace('["staff"]', '["*"]')
    named = rule('["sftp"]', name="named", logins='["{identity}"]').replace(
        'groups = ["staff"]', 'users = ["alice", "carol"]'
    )
    policy, inventory = (
        policy_of(FULL.replace('name = "all"', 'name = "full"') + everybody + named),
        inventory_of(),
    )
    web1 = inventory.find("web1")
    rows = {(row.who, row.login, row.rule) for row in of_target(policy, web1, [ALICE, BOB])}
    assert {
        ("alice", "deploy", "full"),
        ("alice", "alice", "full"),
        ("group staff", "{identity}", "full"),
    } <= rows
    assert {("bob", "guest", "all"), ("everybody", "guest", "all"), ("alice", "alice", "named")} <= rows
    assert ("carol", "{identity}", "named") in rows and ("alice", "{identity}", "named") not in rows
    assert not any(who == "bob" and login == "deploy" for who, login, _ in rows)


def test_accounts_that_the_target_does_not_have_are_left_out():
    db1 = inventory_of().find("db1")
    logins = {row.login for row in of_target(policy_of(), db1, [ALICE])}
    assert logins == {"postgres", "{identity}"}, "whoever is called so could be; nobody known is"

import copy
import dataclasses
import pickle

import pytest

from bastion.auth.embedded import parse_users
from bastion.auth.ldap_groups import group_names
from bastion.auth.restrictions import AddressList, Restrictions
from bastion.errors import PolicyReason, Refused
from bastion.policy.grant import LISTED_MAX, Grant, LoginRefused, authorise, reachable, tunnel_rules
from bastion.policy.rules import Defaults, Policy
from bastion.policy.tunnel import authorise_tunnel
from bastion.wire.key_options import PERMIT_PTY

from .world import FULL, NOW, grant_of, inventory_of, person, policy_of, rule


def refusal(policy, who, target, login=None, source="192.0.2.1", now=NOW, inventory=None):
    with pytest.raises(Refused) as caught:
        authorise(policy, inventory or inventory_of(), who, target, login, source, now)
    return caught.value


def test_a_rule_that_matches_gives_what_it_says():
    grant = grant_of(login="deploy")
    assert (grant.id, grant.identity_name, grant.target.name, grant.login) == (
        "sess",
        "alice",
        "web1",
        "deploy",
    )
    assert grant.granted_by.keys() == {"shell", "exec", "sftp", "pty", "env", "forward-local"}
    assert grant.env == ("LANG", "LC_*", "COLORTERM", "GIT_PROTOCOL")
    assert grant.rules == ("all",)


def test_no_rules_give_nothing():
    assert refusal(Policy(), person("alice", "staff"), "web1").reason is PolicyReason.NO_RULE


def test_without_a_login_the_first_of_the_policy_is_taken():
    assert grant_of().login == "deploy"
    assert grant_of(rule('["shell"]', logins='["{identity}", "deploy"]')).login == "alice"


def test_the_own_name_may_be_part_of_a_login():
    assert grant_of(rule('["shell"]', logins='["adm-{identity}"]')).login == "adm-alice"


def test_an_own_name_that_makes_no_account_name_is_left_out():
    policy = policy_of(rule('["shell"]', logins='["a-very-long-prefix-{identity}", "deploy"]'))
    who = person("quite-a-long-name", "staff")
    (found, *_) = reachable(policy, inventory_of(), who)
    assert found.logins == ("deploy",)


def test_a_target_is_found_by_alias_in_any_case_and_with_a_trailing_dot():
    for name in ("www", "WEB1", "web1."):
        assert grant_of(target=name).target.name == "web1"


def test_an_unknown_login_lists_the_allowed_ones():
    refused = refusal(policy_of(), person("alice", "staff"), "web1", "root")
    assert refused.reason is PolicyReason.LOGIN_NOT_ALLOWED
    assert refused.text == 'login "root" is not yours on web1; yours: deploy, alice, postgres'
    assert isinstance(refused, LoginRefused) and refused.logins == ("deploy", "alice", "postgres")


def test_a_login_that_is_no_account_name_is_not_repeated():
    refused = refusal(policy_of(), person("alice", "staff"), "web1", "ro\x1b[2Jot")
    assert refused.reason is PolicyReason.LOGIN_NOT_ALLOWED
    assert "\x1b" not in refused.text


def test_the_logins_of_the_target_narrow_those_of_the_rules():
    assert grant_of(target="db1").login == "postgres"
    assert refusal(policy_of(), person("alice", "staff"), "db1", "deploy").text.endswith("yours: postgres")


def test_what_may_not_be_reached_reads_like_what_does_not_exist():
    policy = policy_of(FULL.replace('targets = ["*"]', 'targets = ["web1"]'))
    who = person("alice", "staff")
    secret = refusal(policy, who, "db1")
    missing = refusal(policy, who, "db2")
    assert secret.text.replace("db1", "X") == missing.text.replace("db2", "X")
    assert secret.text == 'no target "db1" for you; you may reach: web1'
    assert (secret.reason, missing.reason) == (PolicyReason.NO_RULE, PolicyReason.UNKNOWN_TARGET)


def test_a_source_that_does_not_match_reads_like_no_target_either():
    policy = policy_of(FULL + 'sources = ["10.0.0.0/8"]')
    who = person("alice", "staff")
    assert refusal(policy, who, "web1").text == refusal(policy, who, "web9").text.replace("web9", "web1")
    assert authorise(policy, inventory_of(), who, "web1", None, "10.2.3.4", NOW).login == "deploy"
    assert authorise(policy, inventory_of(), who, "web1", None, "::ffff:10.2.3.4", NOW).login == "deploy"
    assert refusal(policy, who, "web1", source="").reason is PolicyReason.NO_RULE


def test_a_typed_name_that_is_no_name_is_not_repeated():
    refused = refusal(policy_of(), person("bob"), "x\x1b]0;\x07")
    assert refused.text == "no such target for you; you may reach no target at all"


def test_a_long_list_is_cut():
    text = "".join(f'[targets.host{n}]\nhost = "h{n}.example.com"\n' for n in range(LISTED_MAX + 5))
    refused = refusal(policy_of(), person("alice", "staff"), "nowhere", inventory=inventory_of(text))
    assert refused.text.endswith("host19 and more")


def test_a_gateway_is_never_logged_in_to():
    refused = refusal(policy_of(), person("alice", "staff"), "edge")
    assert (refused.reason, refused.text) == (
        PolicyReason.BAD_DESTINATION,
        "edge is a gateway of its own: reach it with ssh -J",
    )


def test_verbs_of_all_rules_for_the_login_add_up_and_limits_take_the_smallest():
    policy = rule('["shell"]', 'max_duration = "4h"\nidle = "1h"', "a")
    policy += rule('["exec", "env"]', 'env = ["FOO"]\nidle = "30m"', "b", '["deploy", "root"]')
    policy += rule('["agent"]', 'idle = "1m"\ntrust_forwards = true', "c", '["root"]')
    grant = grant_of(policy, login="deploy")
    assert grant.granted_by.keys() == {"shell", "exec", "env"}
    assert dict(grant.granted_by) == {"shell": "a", "exec": "b", "env": "b"}
    assert grant.env == ("FOO",)
    assert (grant.idle, grant.ends_at) == (1800.0, NOW + 4 * 3600)
    assert grant.trust_forwards is False
    assert grant_of(policy, login="root").granted_by.keys() == {"exec", "env", "agent"}
    assert grant_of(policy, login="root").trust_forwards is True


def test_defaults_hold_where_no_rule_says_anything():
    assert grant_of().ends_at == NOW + 12 * 3600
    assert grant_of().idle is None
    open_ended = Policy(policy_of().rules, Defaults(max_duration=None, idle=60.0, max_auth_age=None))
    grant = authorise(open_ended, inventory_of(), person("alice", "staff"), "web1", None, "192.0.2.1", NOW)
    assert (grant.ends_at, grant.idle, grant.opens_until) == (None, 60.0, None)


def test_an_expiring_credential_ends_the_session_only_by_rule():
    expiring = Restrictions(valid_before=int(NOW) + 60)
    assert grant_of(restrictions=expiring).ends_at == NOW + 12 * 3600
    assert grant_of(FULL + "certificate_expiry = true", restrictions=expiring).ends_at == NOW + 60


def test_an_expired_or_misplaced_credential_opens_nothing():
    who = person("alice", "staff", restrictions=Restrictions(valid_before=int(NOW)))
    assert refusal(policy_of(), who, "web1").reason is PolicyReason.GRANT_ENDED
    addresses = AddressList.from_cidr_list("10.0.0.0/8")
    who = person("alice", "staff", restrictions=Restrictions(source_addresses=(addresses,)))
    assert refusal(policy_of(), who, "web1").reason is PolicyReason.CERT_RESTRICTION


def test_a_login_that_is_too_old_opens_nothing():
    who = person("alice", "staff", since=NOW - 12 * 3600)
    assert refusal(policy_of(), who, "web1").reason is PolicyReason.GRANT_ENDED
    who = person("alice", "staff", since=NOW - 12 * 3600 + 1)
    grant = authorise(policy_of(), inventory_of(), who, "web1", None, "192.0.2.1", NOW)
    assert grant.opens_until == NOW + 1


def test_what_the_credential_lacks_is_withheld():
    everything = rule('["shell", "pty", "agent", "x11", "forward-local", "forward-remote", "streamlocal"]')
    grant = grant_of(everything, restrictions=Restrictions(extensions=frozenset()))
    assert grant.granted_by.keys() == {"shell"}
    assert grant.withheld == {"pty", "agent", "x11", "forward-local", "forward-remote", "streamlocal"}
    assert grant.permits == frozenset()
    only_pty = grant_of(everything, restrictions=Restrictions(extensions=frozenset((PERMIT_PTY,))))
    assert only_pty.granted_by.keys() == {"shell", "pty"}
    assert only_pty.permits == {PERMIT_PTY}


@pytest.mark.parametrize("written", ["staff", "Staff", " STAFF ", "\uff33taff"])
@pytest.mark.parametrize("held", ["staff", "sTAFF", "staff "])
def test_groups_are_compared_as_ldap_compares_them(written, held):
    rules = policy_of(FULL.replace('groups = ["staff"]', f'groups = ["{written}"]'))
    users = parse_users(f'[users.alice]\ngroups = ["{held}"]', "users.toml")
    for groups in (group_names([held]), users["alice"].account().groups):
        who = person("alice", *groups)
        assert authorise(rules, inventory_of(), who, "web1", None, "", NOW).login == "deploy"


def test_a_break_glass_account_reaches_what_it_names_of_what_rules_give():
    everything = FULL.replace('groups = ["staff"]', 'groups = ["*"]')
    who = dataclasses.replace(person("alice", "staff"), only_targets=("db*",))
    assert [found.target.name for found in reachable(policy_of(everything), inventory_of(), who)] == ["db1"]
    assert refusal(policy_of(everything), who, "web1").reason is PolicyReason.NO_RULE
    assert authorise(policy_of(everything), inventory_of(), who, "db1", None, "", NOW).target.name == "db1"
    tunnels = policy_of(rule('["tunnel"]', 'tunnel = ["*:443"]'))
    assert tunnel_rules(tunnels, person("alice", "staff"), "", NOW) and not tunnel_rules(
        tunnels, who, "", NOW
    )


def test_users_are_compared_exactly():
    for who in (person("staff"), person("alice")):
        assert refusal(policy_of(), who, "web1").reason is PolicyReason.NO_RULE
    by_name = policy_of(FULL.replace('groups = ["staff"]', 'users = ["bob"]'))
    assert authorise(by_name, inventory_of(), person("bob"), "web1", None, "", NOW).identity_name == "bob"
    everybody = policy_of(FULL.replace('groups = ["staff"]', 'groups = ["*"]'))
    assert authorise(everybody, inventory_of(), person("zoe"), "web1", None, "", NOW).login == "deploy"


@pytest.mark.parametrize(
    ("labels", "reached"),
    [
        ('{ env = "prod" }', ["web1", "db1"]),
        ('{ env = "prod", role = "web" }', ["web1"]),
        ('{ env = ["prod", "st*"] }', ["web1", "web2", "db1"]),
        ('{ owner = "*" }', []),
        ('{ env = "PROD" }', []),
    ],
)
def test_labels_select(labels, reached):
    policy = policy_of(FULL.replace('targets = ["*"]', f"labels = {labels}"))
    found = reachable(policy, inventory_of(), person("alice", "staff"))
    assert [entry.target.name for entry in found] == reached


def test_names_and_labels_must_both_match():
    policy = policy_of(FULL.replace('targets = ["*"]', 'targets = ["web?"]\nlabels = { env = "prod" }'))
    found = reachable(policy, inventory_of(), person("alice", "staff"))
    assert [(entry.target.name, entry.logins) for entry in found] == [
        ("web1", ("deploy", "alice", "postgres"))
    ]


def test_an_alias_does_not_match_a_rule():
    policy = policy_of(FULL.replace('targets = ["*"]', 'targets = ["www"]'))
    assert reachable(policy, inventory_of(), person("alice", "staff")) == []


def test_nobody_else_can_make_or_copy_a_grant():
    grant = grant_of()
    fields = {f.name: getattr(grant, f.name) for f in dataclasses.fields(grant) if f.init}
    with pytest.raises(TypeError):
        Grant(maker=object(), **fields)
    with pytest.raises((TypeError, ValueError)):
        dataclasses.replace(grant, login="root")
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            attempt(grant)
    with pytest.raises(dataclasses.FrozenInstanceError):
        grant.login = "root"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("first", "second", "counts"),
    [
        (None, None, "told"),
        ("silent", "silent", "silent"),
        ("silent", None, "told"),
        (None, "silent", "told"),
        ("silent", "no", "no"),
        ("no", "told", "no"),
    ],
)
def test_the_strictest_rule_says_whether_the_session_may_be_watched(first, second, counts):
    said = ["" if one is None else f'watch = "{one}"' for one in (first, second)]
    rules = rule('["shell"]', said[0], "one") + rule('["exec"]', said[1], "two")
    other = rule('["shell"]', 'watch = "no"', "other", logins='["root"]')  # did not give this session
    assert grant_of(rules + other, login="deploy").watch == counts


AT_NIGHT = 'hours = ["22:00-06:00"]\ntimezone = "Europe/Berlin"'
NOON, NIGHT = 1_796_036_400.0, 1_796_076_000.0  # 2026-11-30 12:00 and 23:00 in Berlin


def test_outside_of_its_hours_a_rule_gives_nothing_and_says_nothing():
    policy, who = policy_of(rule('["shell"]', AT_NIGHT)), person("alice", "staff", since=NOON)
    assert authorise(policy, inventory_of(), who, "web1", None, "", NIGHT).rules == ("one",)
    shut = refusal(policy, who, "web1", now=NOON)
    assert shut.reason is PolicyReason.NO_RULE and shut.text.endswith("you may reach no target at all")
    assert reachable(policy, inventory_of(), who, "", NOON) == []
    assert [found.target.name for found in reachable(policy, inventory_of(), who, "", NIGHT)][:1] == ["web1"]


def test_hours_hold_for_tunnels_and_for_what_they_are_told_of():
    text = rule('["tunnel"]', f'tunnel = ["db9:5432"]\n{AT_NIGHT}')
    policy, who = policy_of(text), person("alice", "staff", since=NOON)
    assert authorise_tunnel(policy, inventory_of(), who, "db9", 5432, "", NIGHT).by_text
    with pytest.raises(Refused) as caught:
        authorise_tunnel(policy, inventory_of(), who, "db9", 5432, "", NOON)
    assert caught.value.reason is PolicyReason.DESTINATION_NOT_ALLOWED
    assert "db9" not in refusal(policy, who, "web1", now=NOON).text


def test_a_service_matches_rules_that_name_it_and_ends_with_its_account():
    named = rule('["exec"]', name="named", logins='["backup"]').replace(
        'groups = ["staff"]', 'users = ["job"]'
    )
    everybody = rule('["shell"]').replace('["staff"]', '["*"]') + rule('["shell"]', name="u").replace(
        'groups = ["staff"]', 'users = ["*"]'
    )
    limits = Restrictions(valid_before=int(NOW) + 60)
    who = dataclasses.replace(person("job", "staff", restrictions=limits), service=True)
    policy = policy_of(everybody + rule('["shell"]', name="s") + named)
    grant = authorise(policy, inventory_of(), who, "web1", None, "", NOW)
    assert (grant.rules, grant.login, grant.ends_at) == (("named",), "backup", NOW + 60)
    assert authorise(
        policy, inventory_of(), dataclasses.replace(who, service=False), "web1", "deploy", "", NOW
    )
    assert refusal(policy, who, "web1", "deploy").reason is PolicyReason.LOGIN_NOT_ALLOWED

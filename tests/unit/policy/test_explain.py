from dataclasses import replace

from bastion.errors import PolicyReason
from bastion.policy.explain import explain, explain_tunnel

from .world import FULL, NOW, inventory_of, person, policy_of


def why(policy, who, target, login=None, source="192.0.2.1"):
    return explain(policy_of(policy), inventory_of(), who, target, login, source, NOW)


def failed(answer):
    return {
        condition.what: condition.detail for condition in answer.traces[0].conditions if not condition.holds
    }


def test_an_allowed_decision_names_the_login_and_the_rule():
    answer = why(FULL, person("alice", "staff"), "www")
    assert (answer.allowed, answer.text) == (True, "alice may log in to web1 as deploy")
    assert answer.grant is not None and answer.grant.rules == ("all",)
    assert answer.traces[0].matched and failed(answer) == {}
    assert answer.traces[0].origin == "policy.toml:0"


def test_each_condition_that_fails_is_told():
    text = FULL + 'labels = { env = "stage" }\nsources = ["10.0.0.0/8"]'
    answer = why(text.replace('targets = ["*"]', 'targets = ["db*"]'), person("alice", "dev"), "web1", "root")
    assert failed(answer) == {
        "identity": "is none of: group staff",
        "target": "web1 is none of: db*",
        "labels": "wants env = stage; it has env = prod, role = web",
        "login": "gives deploy, alice, postgres",
        "source": "192.0.2.1 in 10.0.0.0/8",
    }
    assert answer.reason is PolicyReason.NO_RULE


def test_hours_that_it_is_not_are_told_with_what_the_clocks_show():
    text = FULL + 'hours = ["09:00-10:00"]\ndays = ["mon-wed", "sun"]\ntimezone = "Europe/Berlin"'
    answer = why(text, person("alice", "staff"), "web1")  # NOW is 2027-01-15 08:00:00 UTC
    assert answer.allowed is False
    assert failed(answer) == {"time": "Fri 09:00 in Europe/Berlin, wants mon-wed, sun 09:00-10:00"}


def test_an_unknown_target_gets_the_nearest_name_but_the_engineer_does_not():
    answer = why(FULL.replace('"*"', '"db1"'), person("alice", "staff"), "web11")
    assert answer.note.endswith('the nearest name is "web1"')
    assert "web1;" not in answer.text and answer.text.endswith("you may reach: db1")
    assert (answer.reason, answer.traces) == (PolicyReason.UNKNOWN_TARGET, ())


def test_a_policy_without_rules_says_so():
    assert why("", person("alice"), "web1").note == "the policy has no rules"


TUNNELS = """
[[rule]]
name = "db"
groups = ["staff"]
verbs = ["tunnel"]
tunnel = ["db1.internal:5432", "10.20.0.0/16:443"]
sources = ["192.0.2.0/24"]
[[rule]]
name = "wide"
groups = ["ops"]
verbs = ["tunnel"]
tunnel = ["10.20.0.0/16:443"]
tunnel_by_address = true
"""


def why_tunnel(host, port, *groups, source="192.0.2.1", policy=TUNNELS):
    who = person("alice", *groups)
    return explain_tunnel(policy_of(policy), inventory_of(), who, host, port, source, NOW)


def test_a_tunnel_is_explained_rule_by_rule():
    yes = why_tunnel("db1.internal", 5432, "staff")
    assert yes.allowed and yes.tunnel is not None and yes.grant is None
    assert [(trace.rule, trace.matched) for trace in yes.traces] == [("db", True), ("wide", False)]
    no = why_tunnel("db1.internal", 5433, "staff")
    assert no.reason is PolicyReason.DESTINATION_NOT_ALLOWED
    assert failed(no) == {"destination": "db1.internal:5433 in db1.internal:5432, 10.20.0.0/16:443"}
    assert failed(why_tunnel("db1.internal", 5432, "staff", source="10.0.0.1")) == {
        "source": "10.0.0.1 in 192.0.2.0/24"
    }


def test_a_tunnel_that_depends_on_the_address_says_so():
    perhaps = why_tunnel("app.internal", 443, "ops")
    assert perhaps.allowed and "if its name leads to an address" in perhaps.text


def test_a_tunnel_to_the_ssh_server_of_a_target_is_another_question():
    answer = why_tunnel("web1", 22, "staff")
    assert answer.reason is PolicyReason.NESTED_SSH and "SSH server of web1" in answer.note


def test_a_tunnel_to_a_gateway_goes_by_the_rules_for_the_gateway():
    assert why_tunnel("edge", 22, "staff", policy=FULL).allowed
    assert not why_tunnel("edge", 22, "guests", policy=FULL).allowed


def test_a_rule_for_logins_that_were_verified():
    text = FULL + "require_verify = true"
    assert failed(why(text, person("alice", "staff"), "web1")) == {
        "proof": "a security key that has verified its owner"
    }
    verified = replace(person("alice", "staff"), user_verified=True)
    assert why(text, verified, "web1").allowed
    tunnels = why_tunnel("10.20.0.1", 443, "ops", policy=TUNNELS + "require_verify = true")
    assert not tunnels.allowed and not tunnels.traces[1].matched

from bastion.errors import PolicyReason
from bastion.policy.explain import explain, explain_tunnel
from bastion.policy.review import COMPARED_MAX, review

from .world import FULL, NOW, inventory_of, person, policy_of, rule


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


def test_an_unknown_target_gets_the_nearest_name_but_the_engineer_does_not():
    answer = why(FULL.replace('"*"', '"db1"'), person("alice", "staff"), "web11")
    assert answer.note.endswith('the nearest name is "web1"')
    assert "web1;" not in answer.text and answer.text.endswith("you may reach: db1")
    assert (answer.reason, answer.traces) == (PolicyReason.UNKNOWN_TARGET, ())


def test_a_policy_without_rules_says_so():
    assert why("", person("alice"), "web1").note == "the policy has no rules"


def findings(text):
    return [(found.key, found.error, found.text) for found in review(policy_of(text), inventory_of())]


def test_a_sound_policy_has_no_findings():
    assert findings(FULL) == []


def test_an_unknown_target_is_a_fault_with_the_nearest_name():
    (found,) = [entry for entry in findings(FULL.replace('"*"', '"wbe1", "web2"')) if entry[1]]
    assert found == ("targets", True, 'no target "wbe1", did you mean "web1"?')


def test_an_alias_is_a_fault_that_names_the_target():
    assert ("targets", True, '"www" is an alias; rules name targets: "web1"') in findings(
        FULL.replace('"*"', '"www"')
    )


def test_what_matches_nothing_is_a_warning():
    assert ("targets", False, '"mail*" matches no target') in findings(FULL.replace('"*"', '"mail*", "web1"'))
    no_label = FULL.replace('targets = ["*"]', 'labels = { env = "test" }')
    assert findings(no_label) == [("labels", False, "no target matches this rule")]
    no_login = FULL.replace('targets = ["*"]', 'targets = ["db1"]')
    assert ("logins", False, '"deploy" is not among the logins of any target it matches') in findings(
        no_login
    )


def test_verbs_that_do_nothing_and_rules_for_everybody_are_warned_of():
    assert [text for _, _, text in findings(rule('["pty", "sftp"]'))] == [
        'a "pty" does nothing without "shell" or "exec"'
    ]
    assert [key for key, _, _ in findings(rule('["env"]', 'env = ["*"]'))] == ["env"]
    assert findings(FULL.replace('["staff"]', '["*"]')) == [("groups", False, "is for everybody")]


def test_a_rule_that_adds_nothing_is_warned_of_once():
    narrow = rule('["shell"]', name="narrow")
    assert findings(FULL + narrow) == [
        ("name", False, 'adds nothing: rule "all" (policy.toml:0) gives all of it')
    ]
    assert [text.partition(":")[0] for _, _, text in findings(narrow + FULL)] == ["adds nothing"]
    twins = findings(narrow + narrow.replace("narrow", "twin"))
    assert twins == [("name", False, 'adds nothing: rule "narrow" (policy.toml:0) gives all of it')]


def test_a_rule_that_limits_or_gives_more_does_add_something():
    for extra in ('idle = "5m"', "certificate_expiry = true", "trust_forwards = true", 'users = ["bob"]'):
        assert findings(FULL + rule('["shell"]', extra, "narrow")) == []
    assert findings(FULL + 'sources = ["10.0.0.0/8"]' + rule('["shell"]', name="narrow")) == []
    assert findings(FULL + rule('["agent"]', name="narrow")) == []
    assert findings(FULL + rule('["env"]', 'env = ["FOO"]', "narrow")) == []


def test_a_very_long_policy_is_not_compared_pair_by_pair():
    text = "".join(rule('["shell"]', name=f"r{n}") for n in range(COMPARED_MAX + 1))
    assert findings(text) == []


def test_review_looks_at_tunnels():
    tunnels = '[[rule]]\nname = "t"\ngroups = ["g"]\nverbs = ["tunnel"]\ntunnel = ["db1.internal:5432"]\n'
    assert findings(tunnels) == []
    ssh = tunnels + "allow_ssh = true\n"
    assert findings(ssh) == [("allow_ssh", False, "lets SSH through that nobody records")]
    twice = tunnels + tunnels.replace('"t"', '"again"')
    assert [(key, text[:12]) for key, _, text in findings(twice)] == [("name", "adds nothing")]
    limited = tunnels + tunnels.replace('"t"', '"again"') + "tunnel_bytes = 5\n"
    assert [text[:24] for _, _, text in findings(limited)] == ['adds nothing: rule "agai']
    no_stream = rule('["shell"]', "allow_ssh = true")
    assert ("allow_ssh", False, "has no effect without a tunnel or forward") in findings(no_stream)


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

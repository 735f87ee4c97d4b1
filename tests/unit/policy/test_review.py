"""What is valid and cannot mean what somebody wanted: faults and warnings for `bastion check`."""

import pytest

from bastion.policy.review import COMPARED_MAX, review

from .world import FULL, inventory_of, policy_of, rule


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
    for extra in (
        'idle = "5m"',
        "certificate_expiry = true",
        "trust_forwards = true",
        'users = ["bob"]',
        'watch = "no"',
    ):
        assert findings(FULL + rule('["shell"]', extra, "narrow")) == []
    for condition in ('sources = ["10.0.0.0/8"]', "require_verify = true", 'days = ["mon-fri"]'):
        assert findings(FULL + condition + rule('["shell"]', name="narrow")) == []
    assert len(findings(FULL + rule('["shell"]', "require_verify = true", "narrow"))) == 1
    assert findings(FULL + rule('["agent"]', name="narrow")) == []
    assert len(findings(FULL + rule('["shell"]', 'watch = "silent"', "narrow"))) == 1  # it takes nothing away
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


@pytest.mark.parametrize(
    ("targets", "wrong"),
    [('targets = ["web1"]', 0), ('targets = ["web*"]', 1), ('labels = { role = "web" }', 1)],
)
def test_a_service_needs_its_targets_by_name(targets, wrong):
    text = (
        rule('["exec"]').replace('targets = ["*"]', targets).replace('groups = ["staff"]', 'users = ["job"]')
    )
    found = [one for one in review(policy_of(text), inventory_of(), None, {"job"}) if one.error]
    assert len(found) == wrong and all("must name each target" in one.text for one in found)
    assert not [one for one in review(policy_of(text), inventory_of()) if one.error]

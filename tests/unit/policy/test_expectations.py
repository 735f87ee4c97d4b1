"""A table of expectations against the decision."""

import tomllib

import pytest

from bastion.options import ConfigErrors, Source
from bastion.policy.expectations import judge, parse_expectations

from .world import FULL, NOW, inventory_of, policy_of, rule

RULES = (
    FULL
    + rule('["tunnel"]', 'tunnel = ["db9:5432"]', "tunnels")
    + rule('["shell"]', 'factors = ["totp"]', "root", '["root"]')
    + rule('["shell"]', 'factors = ["sk-publickey"]\nhours = ["08:00-09:00"]', "admin", '["admin"]')
)


def differences(text, policy=RULES):
    document = tomllib.loads(f'[[expect]]\nuser = "alice"\ngroups = ["Staff"]\n{text}')
    (expected,) = parse_expectations(document, Source("t.toml"))
    return judge(policy_of(policy), inventory_of(), expected, NOW).differences


@pytest.mark.parametrize(
    "text",
    [
        'target = "web1"\nlogin = "deploy"\nverdict = "allowed"\nverbs = ["shell"]\nwithout = ["agent"]',
        'target = "web1"\nverdict = "allowed"\nreason = "allowed"',
        'target = "web9"\nverdict = "refused"\nreason = "unknown_target"',
        'target = "web1"\nlogin = "backup"\nverdict = "refused"\nreason = "login_not_allowed"',
        'target = "db9:5432"\nverdict = "allowed"',
        'target = "db9:5433"\nverdict = "refused"\nreason = "destination_not_allowed"',
        'target = "web1"\nlogin = "root"\nverdict = "asked"\nreason = "factor_needed"',
        'target = "web1"\nlogin = "root"\nfactors = ["totp"]\nverdict = "allowed"',
        'target = "web1"\nlogin = "admin"\nverdict = "refused"\nreason = "factor_needed"',
        'target = "web1"\nlogin = "admin"\nfactors = ["sk-publickey"]\nverdict = "allowed"',
        'target = "web1"\nlogin = "admin"\nverdict = "refused"\nat = 2027-01-15T09:00:00+00:00',
    ],
)
def test_what_is_as_expected_has_no_difference(text):
    assert differences(text) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('target = "web1"\nverdict = "refused"', "expected refused, is allowed (allowed): alice may log in"),
        ('target = "web9"\nverdict = "allowed"', "expected allowed, is refused (unknown_target)"),
        (
            'target = "web1"\nlogin = "root"\nverdict = "allowed"',
            "expected allowed, is asked (factor_needed)",
        ),
        ('target = "web1"\nverdict = "allowed"\nverbs = ["x11", "shell"]', "does not give x11"),
        ('target = "web1"\nverdict = "allowed"\nwithout = ["sftp"]', "gives sftp"),
        ('target = "web9"\nverdict = "refused"\nreason = "no_rule"', "expected reason no_rule, is unknown"),
    ],
)
def test_what_is_not_is_told(text, said):
    (difference,) = differences(text)
    assert difference.startswith(said)


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ('target = "web1"\nverdict = "yes"', "expect[1].verdict", "is not one of the choices"),
        ('target = "web1"', "expect[1].verdict", "is required"),
        ('target = "web1"\nverdict = "refused"\nverbs = ["shell"]', "expect[1].verbs", "has no effect"),
        ('target = "db9:1"\nlogin = "a"\nverdict = "refused"', "expect[1].login", "a tunnel has no login"),
        ('target = "web1"\nverdict = "allowed"\nat = 2027-01-15T09:00:00', "expect[1].at", "is no moment"),
        ('target = "web1"\nverdict = "allowed"\nhost = 1', "expect[1].host", 'unknown key "host"'),
    ],
)
def test_each_fault_names_its_key(text, key, problem):
    with pytest.raises(ConfigErrors) as caught:
        differences(text)
    assert caught.value.errors[0].key == key and problem in caught.value.errors[0].problem


@pytest.mark.parametrize("document", [{}, {"expect": []}, {"expect": {}}, {"expected": [], "expect": [{}]}])
def test_an_empty_table_is_no_success(document):
    with pytest.raises(ConfigErrors):
        parse_expectations(document, Source("t.toml"))

import json

import pytest
from click.testing import CliRunner
from twisted.internet.defer import fail, succeed

from bastion.auth.identity import Account
from bastion.cli import why as module
from bastion.cli.why import why
from bastion.errors import AuthReason, Refused
from tests.unit.config.site import Site


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def at_once(main):
    """Stands for the reactor: the directory of these tests answers at once."""
    outcome = []
    main(None).addCallbacks(outcome.append, lambda failure: outcome.append(failure.value))
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


class FakeDirectory:
    def __init__(self, answer):
        self._answer = answer
        self.closed = False

    def lookup(self, name):
        return self._answer

    def close(self):
        self.closed = True


def run(site, *arguments, in_reactor=None):
    return CliRunner().invoke(why, [*arguments, "--config", str(site.config)], obj=in_reactor)


def test_yes_names_rule_login_and_verbs(site):
    result = run(site, "alice", "web1", "deploy")
    assert result.exit_code == 0
    assert result.output.startswith("allowed: alice may log in to web1 as deploy (allowed)\n")
    assert "  groups of alice (embedded): staff\n" in result.output
    assert "  shell by rule staff\n" in result.output
    assert "  ends after 12h\n" in result.output
    assert f"rule staff ({site.folder}/policy.toml:2) matches\n" in result.output


def test_no_exits_1_and_says_which_condition_failed(site):
    result = run(site, "bob", "web1")
    assert result.exit_code == 1
    assert "refused: " in result.output and "(no_rule)" in result.output
    assert "  - identity: is none of: group staff\n" in result.output
    assert "  + target: web1 matches\n" in result.output


def test_a_login_that_is_not_allowed_lists_those_that_are(site):
    result = run(site, "alice", "web1", "root")
    assert result.exit_code == 1
    assert 'login "root" is not yours on web1; yours: deploy' in result.output


def test_groups_may_be_given_instead_of_asking_anybody(site):
    result = run(site, "zoe", "web1", "--groups", "staff,dev")
    assert result.exit_code == 0 and "no directory was asked whether there is such a user" in result.output
    assert run(site, "alice", "web1", "--groups", "").exit_code == 1


def test_the_source_counts(site):
    site.write("policy.toml", (site.folder / "policy.toml").read_text() + 'sources = ["10.0.0.0/8"]\n')
    assert run(site, "alice", "web1", "--source", "10.1.1.1").exit_code == 0
    assert run(site, "alice", "web1", "--source", "192.0.2.1").exit_code == 1
    result = run(site, "alice", "web1")
    assert result.exit_code == 1 and "- source: not given in 10.0.0.0/8" in result.output
    assert result.output.startswith(
        "depends on the source: from 10.0.0.0/8 more rules match; from anywhere else refused:\n"
    )
    assert json.loads(run(site, "alice", "web1", "--json").stdout)["depends_on_source"] == ["10.0.0.0/8"]
    for elsewhere in (("bob", "web1"), ("alice", "db1"), ("alice", "web1", "root")):  # no source would help
        assert "depends on the source" not in run(site, *elsewhere).output


def test_a_rule_for_verified_logins(site):
    site.write("policy.toml", (site.folder / "policy.toml").read_text() + "require_verify = true\n")
    result = run(site, "alice", "web1")
    assert result.exit_code == 1
    assert "  - proof: a security key that has verified its owner\n" in result.output
    assert run(site, "alice", "web1", "--verified").exit_code == 0


def test_a_source_may_add_to_what_everybody_gets(site):
    rule = (site.folder / "policy.toml").read_text()
    more = rule.replace('"staff"\n', '"more"\n', 1).replace("verbs =", 'sources = ["10.0.0.0/8"]\nverbs =')
    site.write("policy.toml", rule + more)
    result = run(site, "alice", "web1")
    assert result.exit_code == 0 and result.output.startswith("allowed: ")
    assert "from 10.0.0.0/8 more rules match, which may allow more" in result.output


def test_json(site):
    told = json.loads(run(site, "alice", "www", "--json").stdout)
    assert (told["allowed"], told["reason"], told["grant"]) == (False, "unknown_target", None)
    told = json.loads(run(site, "alice", "web1", "--json").stdout)
    assert told["allowed"] is True
    assert told["grant"]["verbs"] == {"shell": "staff", "pty": "staff"}
    assert told["grant"]["max_duration"] == pytest.approx(12 * 3600)
    assert told["rules"][0]["conditions"][0] == {"what": "identity", "holds": True, "detail": "is in staff"}


def test_bad_names_and_bad_files_exit_2(site):
    assert run(site, "Alice", "web1").exit_code == 2
    site.write("policy.toml", "[[rule]]\n")
    result = run(site, "alice", "web1")
    assert result.exit_code == 2
    assert "policy.toml:1: rule[1].name: is required" in result.stderr


def test_an_unknown_user_of_the_embedded_directory_exits_1(site):
    result = run(site, "zoe", "web1")
    assert result.exit_code == 1
    assert "unknown user: the embedded directory has no user 'zoe'; use --groups" in result.stderr


def with_ldap(site, monkeypatch, answer):
    site.edit(
        "[targets]",
        '[directory.ldap]\nservers = ["ldaps://ldap.example.org"]\nuser_base = "dc=example"\n[targets]',
    )
    directory = FakeDirectory(answer)
    monkeypatch.setattr(module, "build_directory", lambda *_: directory)
    return directory


def test_ldap_is_asked_for_whom_the_embedded_directory_does_not_have(site, monkeypatch):
    account = Account("zoe", "uid-1", frozenset(("staff",)), source="ldap")
    directory = with_ldap(site, monkeypatch, succeed(account))
    result = run(site, "zoe", "web1", in_reactor=at_once)
    assert result.exit_code == 0
    assert "groups of zoe (ldap): staff" in result.output
    assert directory.closed
    assert "(embedded)" in run(site, "alice", "web1", in_reactor=at_once).output


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (AuthReason.UNKNOWN_USER, "unknown user: neither the embedded directory nor LDAP has a user 'zoe'"),
        (AuthReason.ACCOUNT_LOCKED, "LDAP has the user 'zoe', who may not log in: account_locked"),
    ],
)
def test_what_ldap_says_of_a_user_is_an_answer(site, monkeypatch, reason, text):
    with_ldap(site, monkeypatch, fail(Refused(reason, "not admitted")))
    result = run(site, "zoe", "web1", in_reactor=at_once)
    assert result.exit_code == 1 and text in result.stderr


def test_ldap_that_was_not_asked_is_said_so(site, monkeypatch):
    with_ldap(site, monkeypatch, succeed(None))
    result = run(site, "zoe", "web1")
    assert result.exit_code == 3 and "and LDAP was not asked" in result.stderr


def test_a_directory_that_does_not_answer_exits_3(site, monkeypatch):
    refused = Refused(AuthReason.DIRECTORY_TIMEOUT, "did not answer in time")
    directory = with_ldap(site, monkeypatch, fail(refused))
    result = run(site, "zoe", "web1", in_reactor=at_once)
    assert result.exit_code == 3
    assert (
        "LDAP has not answered, so nothing is known of 'zoe': did not answer in time (directory_timeout)"
        in result.stderr
    )
    assert directory.closed
    assert run(site, "zoe", "web1").exit_code == 3


def test_a_tunnel_is_asked_about_by_its_place(site):
    with (site.folder / "policy.toml").open("a") as file:
        file.write('[[rule]]\nname = "db"\ngroups = ["staff"]\nverbs = ["tunnel"]\ntunnel = ["db9:5432"]\n')
    yes = run(site, "alice", "db9:5432")
    assert yes.exit_code == 0 and yes.output.startswith("allowed: alice may tunnel to db9:5432 (allowed)\n")
    assert "  ends after 12h\n" in yes.output
    no = run(site, "alice", "db9:5433", "--json")
    assert no.exit_code == 1 and json.loads(no.output)["reason"] == "destination_not_allowed"
    assert json.loads(run(site, "alice", "db9:5432", "--json").output)["tunnel"]["rules"] == ["db"]
    assert run(site, "alice", "db9:5432", "root").exit_code == 2
    assert run(site, "alice", "db9:http").exit_code == 2

import json

import pytest
from click.testing import CliRunner

from bastion.cli.services import services
from tests.unit.config.site import Site

USERS = """
[users.alice]
groups = ["staff"]
[users.backup]
kind = "service"
owner = "alice"
expires = 2999-01-01
sources = ["10.0.0.5", "2001:db8::/32"]
[users.old]
kind = "service"
owner = "the web team"
expires = 2020-02-29T12:00:00+01:00
sources = ["10.0.0.6"]
disabled = true
[users.older]
kind = "service"
owner = "nobody"
expires = 2019-01-01
sources = ["10.0.0.6"]
"""


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    made.write("users.toml", USERS, 0o600)
    made.write("policy.toml", (tmp_path / "policy.toml").read_text() + 'users = ["backup"]\n')
    return made


def run(site, *arguments):
    return CliRunner().invoke(services, [*arguments, "--config", str(site.config)])


def test_all_are_listed_by_their_end(site):
    rows = json.loads(run(site, "--json").output)
    assert [(row["name"], row["state"]) for row in rows] == [
        ("older", "expired"), ("old", "disabled"), ("backup", "active"),
    ]  # fmt: skip
    assert rows[1]["expires"] == "2020-02-29T11:00:00Z"
    assert rows[2] == {
        "name": "backup", "owner": "alice", "expires": "2999-01-01T00:00:00Z", "state": "active",
        "sources": ["10.0.0.5/32", "2001:db8::/32"], "keys": [], "rules": ["staff"],
    }  # fmt: skip
    assert run(site).output.splitlines()[0].split() == ["NAME", "OWNER", "EXPIRES", "STATE", "FROM", "RULES"]


def test_those_that_end_soon_are_an_answer_for_a_job(site):
    result = run(site, "--expiring", "30d")
    assert result.exit_code == 1 and "backup" not in result.output and "older" in result.output
    site.write("users.toml", USERS[: USERS.index("[users.old]")], 0o600)
    assert run(site, "--expiring", "30d").exit_code == 0
    assert run(site, "--expiring", "soon").exit_code == 2

import csv
import io
import json

import pytest
from click.testing import CliRunner

from bastion.cli.access import access
from tests.unit.config.site import Site


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def run(site, *arguments):
    return CliRunner().invoke(access, [*arguments, "--config", str(site.config)])


def test_a_target_is_listed_with_whom_the_directory_knows(site):
    result = run(site, "--target", "web1", "--format", "json")
    rows = json.loads(result.output)
    assert [(row["who"], row["login"], row["rule"]) for row in rows] == [
        ("alice", "deploy", "staff"), ("group staff", "deploy", "staff"),
    ]  # fmt: skip
    assert rows[0]["verbs"] == ["shell", "pty"] and rows[0]["origin"] == f"{site.folder}/policy.toml:2"


def test_a_user_is_listed_with_all_targets(site):
    result = run(site, "--user", "alice")
    assert result.exit_code == 0 and result.output.splitlines()[1].split()[:3] == ["alice", "web1", "deploy"]
    assert run(site, "--user", "bob").output.splitlines()[1:] == []
    assert len(run(site, "--user", "zoe", "--groups", "Staff").output.splitlines()) == 2


def test_csv_is_for_spreadsheets_and_holds_no_formula(site):
    site.write("users.toml", '[users.alice]\ngroups = ["=cmd()"]\n', 0o600)
    policy = site.folder / "policy.toml"
    policy.write_text(policy.read_text().replace('groups = ["staff"]', 'groups = ["=cmd()", "x"]'))
    rows = list(csv.reader(io.StringIO(run(site, "--target", "web1", "--format", "csv").output)))
    assert rows[0] == ["who", "target", "login", "verbs", "rule", "conditions"]
    assert [row[0] for row in rows[1:]] == ["alice", "group =cmd()", "group x"]
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 2),
        (("--user", "alice", "--target", "web1"), 2),
        (("--target", "nowhere"), 1),
        (("--user", "nobody"), 1),
        (("--user", "A+B"), 2),
    ],
)
def test_calls_that_cannot_be_answered(site, arguments, code):
    assert run(site, *arguments).exit_code == code

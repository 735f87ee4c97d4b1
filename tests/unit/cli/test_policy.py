import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bastion.cli.policy import policy
from tests.unit.config.site import Site

GOOD = '[[expect]]\nuser = "alice"\ngroups = ["staff"]\ntarget = "web1"\nverdict = "allowed"\n'
BAD = '[[expect]]\nuser = "bob"\ntarget = "web1"\nlogin = "deploy"\nverdict = "allowed"\n'


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def run(site, text, *more):
    file = site.write("expected.toml", text)
    return CliRunner().invoke(policy, ["test", str(file), "--config", str(site.config), *more])


def test_as_expected_exits_0(site):
    result = run(site, GOOD)
    assert (result.exit_code, result.output) == (0, "1 of 1 as expected\n")


def test_a_difference_exits_1_and_names_file_and_line(site):
    result = run(site, GOOD + BAD)
    assert result.exit_code == 1
    first, last = result.output.splitlines()
    assert first.startswith(
        f"{site.folder}/expected.toml:6: bob web1 deploy: expected allowed, is refused (no_rule)"
    )
    assert last == "1 of 2 as expected"


def test_json_has_every_answer(site):
    result = run(site, GOOD + BAD, "--json")
    shown = json.loads(result.output)
    assert result.exit_code == 1 and shown["ok"] is False
    assert [one["verdict"] for one in shown["expectations"]] == ["allowed", "refused"]
    assert shown["expectations"][0]["rules"] == ["staff"] and shown["expectations"][1]["differences"]


@pytest.mark.parametrize("text", ["", "[[expect]]\n", "= x", GOOD.replace("verdict", "verdit")])
def test_a_faulty_table_exits_2(site, text):
    assert run(site, text).exit_code == 2


def test_a_faulty_policy_exits_2(site):
    site.write("policy.toml", "[[rule]]\n")
    assert run(site, GOOD).exit_code == 2


def test_the_table_of_the_documentation_works(site):
    """Each of its keys, on a policy that it is not about."""
    page = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()
    table = page[page.index("[[expect]]") :].partition("```")[0]
    result = run(site, table, "--json")
    shown = json.loads(result.output)["expectations"]
    assert [one["expected"] for one in shown] == ["allowed", "refused"] and shown[1]["differences"] == []

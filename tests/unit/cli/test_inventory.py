"""`bastion inventory`: who says so of each target, how inventories are, and one asked by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bastion.cli.check import check
from bastion.cli.inventory import inventory
from bastion.config.load import load
from bastion.errors import InventoryReason
from bastion.inventories.kept import keep
from bastion.inventories.report import Report, leave
from tests.unit.config.site import Site

KEPT = '[targets."new1"]\nhost = "new1.example.com"\nlabels = { "env" = "prod" }\n'


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.write("program", '#!/bin/sh\necho "a word for people" >&2\ncat "${0%/*}/answer"\n', 0o755)
    made.write("answer", '{"targets": {"new1": {"host": "n"}, "new2": {"host": "new2.example.com"}}}')
    made.edit("[policy]", f'[inventories.cmdb]\ncommand = ["{tmp_path}/program"]\n[policy]')
    (tmp_path / "recordings" / "state").mkdir(mode=0o700)
    return made


def run(site: Site, *arguments: str) -> Result:
    return CliRunner().invoke(inventory, [*arguments, "--config", str(site.config)])


def kept(site: Site) -> Path:
    file = load(site.config).kept[0].file
    keep(file, KEPT)
    return file


def test_each_target_is_listed_with_who_says_so(site: Site) -> None:
    kept(site)
    rows = json.loads(run(site, "list", "--json").output)["targets"]
    assert [(row["name"], row["from"]) for row in rows] == [
        ("web1", "targets.toml"), ("db1", "targets.toml"), ("new1", "inventory cmdb"),
    ]  # fmt: skip
    table = run(site, "list")
    assert table.exit_code == 0 and "env=prod" in table.output.splitlines()[3]


def test_inventories_are_listed_with_how_they_are(site: Site) -> None:
    assert run(site, "sources").output.splitlines()[1].split()[:3] == ["cmdb", "empty", "never"]
    file = kept(site)
    (row,) = json.loads(run(site, "sources", "--json").output)["inventories"]
    assert (row["state"], row["targets"], row["reason"]) == ("ok", 1, None)
    leave(file.with_suffix(".json"), Report("cmdb", 1e9, InventoryReason.TLS, "not believed"))
    (row,) = json.loads(run(site, "sources", "--json").output)["inventories"]
    assert (row["state"], row["reason"], row["text"]) == ("failing", "tls", "not believed")
    assert "not believed" in run(site, "sources").output


def test_one_is_asked_and_nothing_is_kept(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    file = kept(site)
    before = file.read_text()
    result = run(site, "ask", "cmdb")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        "target new2: added", "target new1: changed", "2 targets; 2 changes against what is kept",
    ]  # fmt: skip
    assert file.read_text() == before and "a word for people" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        ("no", 1, "is not JSON"),
        ('{"targets": {"web1": {"host": "x"}}}', 1, "already a name of target"),
        (None, 3, "program: "),
    ],
)
def test_what_would_not_be_taken_is_told(site: Site, answer: str | None, code: int, says: str) -> None:
    if answer is None:
        (site.folder / "answer").unlink()
    else:
        site.write("answer", answer)
    result = run(site, "ask", "cmdb")
    assert result.exit_code == code and says in result.output


def test_an_inventory_that_is_not_there_is_told(site: Site) -> None:
    assert run(site, "ask", "other").exit_code == 2


def test_a_check_says_whose_word_it_took(site: Site) -> None:
    kept(site)
    result = CliRunner().invoke(check, ["--config", str(site.config)])
    assert "inventory cmdb: as it answered at " in result.output and "nobody was asked now" in result.output
    told = json.loads(CliRunner().invoke(check, ["--config", str(site.config), "--json"]).output)
    assert told["inventories"]["cmdb"] > 0

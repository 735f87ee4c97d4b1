"""What was in force is listed, shown, and judged by; what cannot be is said in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import delete, update

from bastion.assembly.telling import SIGHUP, START
from bastion.cli.policy import policy
from bastion.cli.why import why
from bastion.config.load import load
from bastion.state.changes import apply
from bastion.state.database import Database, Place
from bastion.state.schema import POLICY_TEXTS
from bastion.state.schema_version import check_schema
from bastion.state.versions import PolicyLoad, policy_loaded, policy_text
from tests.unit.config.site import POLICY, Site

FIRST, SECOND = 1_790_000_000.0, 1_790_086_400.5


class Kept(Site):
    """A configuration whose store has its policy of today, and one of a day later with another login."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        state = load(self.config).state
        self.database = Database(Place.chosen(folder / "recordings", state.directory, state.url, None))
        self.node = state.name
        check_schema(self.database)
        self.first = self.loaded(FIRST, START)
        self.write("policy.toml", POLICY.replace('"deploy"', '"root"'))
        self.second = self.loaded(SECOND, SIGHUP)

    def loaded(self, at: float, by: str) -> str:
        version = load(self.config).version
        row = PolicyLoad(self.node, at, version.digest, "c" * 64, by, "1.0")
        with self.database.write() as connection:
            apply(connection, [*policy_text(version.digest, version.packed), policy_loaded(row)])
        return version.digest

    def change(self, statement: Any) -> None:
        with self.database.write() as connection:
            connection.execute(statement)

    def policy(self, *arguments: str) -> Result:
        return CliRunner().invoke(policy, [*arguments, "--config", str(self.config)])

    def why(self, at: float, *more: str) -> Result:
        moment = datetime.fromtimestamp(at, UTC).isoformat()
        words = ["alice", "web1", "deploy", "--config", str(self.config), "--at", moment, *more]
        return CliRunner().invoke(why, words)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path)
    yield made
    made.database.close()


def test_why_answers_from_the_version_of_then(site: Kept) -> None:
    before, after = site.why(SECOND - 1), site.why(SECOND + 1)
    assert (before.exit_code, after.exit_code) == (0, 1)
    first, second, *_ = before.output.splitlines()
    assert first.startswith("as of 2026-")
    assert f"policy {site.first[:12]}, in force on {site.node} from 2026-" in first and "(by start)" in first
    assert second.startswith("allowed: alice may log in to web1 as deploy")
    assert site.second[:12] in after.output and "(by SIGHUP)" in after.output
    told = json.loads(site.why(SECOND - 1, "--json").output)
    assert told["policy"]["digest"] == site.first and told["allowed"] is True
    assert told["at"] == pytest.approx(SECOND - 1)


def test_a_time_of_which_nothing_is_known(site: Kept) -> None:
    done = site.why(FIRST - 1)
    assert done.exit_code == 1
    assert f"no policy of {site.node} is kept for 2026-" in done.stderr
    assert "the first that is known is from 2026-" in done.stderr


def test_versions_lists_who_loaded_what_when(site: Kept) -> None:
    done = site.policy("versions")
    heading, newest, oldest = done.output.splitlines()
    assert done.exit_code == 0 and heading.startswith("IN FORCE FROM")
    assert site.second[:12] in newest and "SIGHUP" in newest
    assert site.first[:12] in oldest and "start" in oldest
    rows = json.loads(site.policy("versions", "--json").output)["versions"]
    assert [row["digest"] for row in rows] == [site.second, site.first]
    assert rows[0]["loaded_at"] == SECOND and rows[0]["node"] == site.node


def test_show_prints_what_the_files_said(site: Kept) -> None:
    done = site.policy("show", site.first[:10])
    assert done.exit_code == 0 and 'logins = ["deploy"]' in done.output
    assert f"# {site.folder}/policy.toml" in done.output and "[targets.db1]" in done.output
    told = json.loads(site.policy("show", site.first, "--json").output)
    assert told["policy"]["text"] == POLICY and told["digest"] == site.first


@pytest.mark.parametrize(("digest", "code"), [("abc", 2), ("zzzz", 2), ("00000000ff", 1)])
def test_a_digest_that_is_none(site: Kept, digest: str, code: int) -> None:
    assert site.policy("show", digest).exit_code == code


def test_a_text_that_was_changed_in_the_store_judges_nothing(site: Kept) -> None:
    other = next(iter(policy_text(site.first, load(site.config).version.packed))).values["packed"]
    site.change(update(POLICY_TEXTS).where(POLICY_TEXTS.c.digest == site.first).values(packed=other))
    for done in (site.policy("show", site.first), site.why(SECOND - 1)):
        assert done.exit_code == 3 and "not what its digest says" in done.stderr


def test_a_text_that_is_not_there_judges_nothing(site: Kept) -> None:
    site.change(delete(POLICY_TEXTS))
    done = site.why(SECOND - 1)
    assert done.exit_code == 1 and "too large to be kept" in done.stderr


def test_a_store_of_which_nothing_is_known(tmp_path: Path) -> None:
    site = Site(tmp_path)
    done = CliRunner().invoke(policy, ["versions", "--config", str(site.config)])
    assert done.exit_code == 1
    words = ["alice", "web1", "--config", str(site.config), "--at", "7d"]
    none = CliRunner().invoke(why, words)
    assert none.exit_code == 1 and none.stderr.rstrip().endswith("none is")

"""`bastion prune`, `hold` and `unhold` on a real configuration, with recordings made here."""

from __future__ import annotations

import errno
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bastion.cli import wanted as wanted_module
from bastion.cli.holds import hold, unhold
from bastion.cli.prune import prune
from bastion.cli.sessions import sessions
from bastion.config.outputs import State, read_section
from bastion.recording.ledger_file import ledger_path
from bastion.recording.store import Store
from bastion.state.database import Database, Place
from bastion.state.deletions import Deletion, Person, answer, find
from bastion.state.schema import DELETIONS
from tests.unit.cli.made import FIRST, SECOND, header, record
from tests.unit.config.site import Site

pytestmark = pytest.mark.slow

COMMANDS = {"prune": prune, "hold": hold, "unhold": unhold, "sessions": sessions}
NOW = 1_800_000_000.0 + 100 * 86400
RULES = '[retention]\nmax_age = "90d"\n'


class Made(Site):
    """A site with two recordings: of alice, 100 days old, and of bob, 10 days old."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.rules(RULES)
        self.store = Store(folder / "recordings", disk_floor_bytes=0, sync_seconds=0.05)
        record(self.store, header(FIRST, "alice", "web1"))
        record(self.store, header(SECOND, "bob", "web2", NOW - 10 * 86400))

        assert self.run("prune").exit_code == 0, "rows are made"
        self.database = Database(Place(folder / "recordings" / "state"))
        self.node = read_section(self.config, State).name

    def rules(self, text: str) -> None:
        base = self.config.read_text().partition("[retention]")[0]
        self.write("bastion.toml", base + text)

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(COMMANDS[words[0]], [*words[1:], "--config", str(self.config)])

    def there(self) -> set[str]:
        return {path.stem for path in (self.folder / "recordings").glob("*/*.rec")}

    def audit(self, event: str) -> list[dict[str, Any]]:
        file = self.folder / "audit.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in map(json.loads, lines) if line["event"] == event]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    monkeypatch.setattr("bastion.clock.SystemClock.time", staticmethod(lambda: NOW))
    one = Made(tmp_path)
    yield one
    one.database.close()
    assert one.store.close()


def test_without_yes_it_says_what_would_go_and_changes_nothing(made: Made) -> None:
    for words in (("prune",), ("prune", "--dry-run")):
        result = made.run(*words)
        assert result.exit_code == 0, result.output
        assert FIRST in result.stdout and SECOND not in result.stdout
        assert "by age: 1 recordings" in result.stdout and "nothing was changed" in result.stdout
    assert made.there() == {FIRST, SECOND} and made.audit("recording_deleted") == []
    assert made.run("prune", "--yes", "--dry-run").exit_code == 2


def test_with_yes_they_go_and_leave_a_row_and_a_line(made: Made) -> None:
    result = made.run("prune", "--yes", "--json")
    assert result.exit_code == 0, result.output
    (gone,) = json.loads(result.stdout)["recordings"]
    assert (gone["session"], gone["why"], gone["user"]) == (FIRST, "age", "alice")
    assert made.there() == {SECOND}
    assert not (made.folder / "recordings" / "2027-01-15").exists(), "nothing is left of that day"
    (line,) = made.audit("recording_deleted")
    assert (line["session"], line["sha256"], line["size"], line["why"]) == (
        FIRST,
        gone["sha256"],
        gone["size"],
        "age",
    )
    listed = made.run("sessions").stdout.splitlines()
    assert listed[-1].startswith(FIRST) and " deleted" in listed[-1]
    assert "0 recordings" in made.run("prune", "--yes").stdout


def test_a_hold_keeps_a_recording_until_it_is_taken_off(made: Made) -> None:
    assert made.run("hold", FIRST[:5]).exit_code == 2, "without a reason"
    held = made.run("hold", FIRST[:5], "--reason", "case \x1b[31m7")
    assert held.exit_code == 0 and held.stdout == f"{FIRST} is held\n"
    assert made.audit("hold_placed")[0]["reason"] == "case \x1b[31m7"
    shown = made.run("hold")
    assert FIRST in shown.stdout and "\x1b" not in shown.stdout
    assert json.loads(made.run("hold", "--json").stdout)[0]["session"] == FIRST
    assert "0 recordings" in made.run("prune", "--yes").stdout and FIRST in made.there()
    assert made.run("unhold", FIRST, "--reason", "closed").exit_code == 0
    assert [line["reason"] for line in made.audit("hold_removed")] == ["closed"]
    assert made.run("unhold", FIRST, "--reason", "closed").exit_code == 1
    made.run("prune", "--yes")
    assert made.there() == {SECOND}
    assert made.run("hold", FIRST, "--reason", "too late").exit_code == 1


def test_an_id_that_means_none_or_two_is_no_hold(made: Made) -> None:
    assert made.run("hold", "zzzz", "--reason", "x").exit_code == 1
    both = made.run("hold", "aaaa", "--reason", "x")
    assert both.exit_code == 1 and "means 2 sessions" in both.stderr


def test_rules_by_user_label_and_size_come_from_the_configuration(made: Made) -> None:
    made.rules('[retention]\nusers = { bob = "5d" }\n')
    assert SECOND in made.run("prune").stdout and "by user bob" in made.run("prune").stdout
    made.rules("[retention]\nmax_size = 1\n")
    assert "by size: 2 recordings" in made.run("prune").stdout
    made.rules('[retention]\nmax_size = 1\nat_least = "50d"\n')
    assert "by size: 1 recordings" in made.run("prune").stdout
    made.rules("")
    assert "0 recordings" in made.run("prune").stdout


@pytest.mark.parametrize("line", ['max_age = "5s"', 'labels = { prod = "5d" }', "users = { alice = 0 }"])
def test_a_rule_that_makes_no_sense_is_refused(made: Made, line: str) -> None:
    made.rules(f"[retention]\n{line}\n")
    result = made.run("prune", "--yes")
    assert result.exit_code == 2 and "retention." in result.stderr


def test_two_at_once_are_one_too_many(made: Made) -> None:
    made.run("prune")
    with open(made.folder / "recordings" / "state" / "prune.lock", "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        result = made.run("prune", "--yes")
    assert result.exit_code == 3 and "another prune" in result.stderr


def test_without_an_audit_log_nothing_goes(made: Made) -> None:
    made.write("bastion.toml", made.config.read_text().replace('"audit.jsonl"', '"nowhere/audit.jsonl"'))
    assert made.run("prune", "--yes").exit_code == 3
    assert made.run("hold", FIRST, "--reason", "x").exit_code == 3
    assert made.there() == {FIRST, SECOND}


def wanted(made: Made, session: str, by: str = "ada", and_by: str = "bea", days: float = 0.0) -> str:
    """Two people want it gone, as the gateway writes that; the id of the question."""
    when = NOW - days * 86400
    one = Deletion(
        session[:8] * 2, session, "agreed", "a password", f"u-{by}", by, "totp", when, f"u-{and_by}", and_by, "totp",
        when,
    )  # fmt: skip
    with made.database.write() as connection:
        connection.execute(DELETIONS.insert().values({name: getattr(one, name) for name in one.__slots__}))
    return one.id


def question(made: Made, name: str) -> Deletion:
    found = find(made.database, name)
    assert found is not None
    return found


def test_what_two_people_want_gone_goes_and_leaves_what_the_rules_leave(made: Made) -> None:
    made.rules("")
    name = wanted(made, SECOND)
    said = made.run("prune")
    assert "by people ada, bea: 1 recordings" in said.stdout and made.there() == {FIRST, SECOND}
    result = made.run("prune", "--yes", "--json")
    assert result.exit_code == 0, result.output
    (gone,) = json.loads(result.stdout)["recordings"]
    assert (gone["session"], gone["why"]) == (SECOND, "people ada, bea") and made.there() == {FIRST}
    (line,) = made.audit("recording_deleted")
    assert (line["session"], line["sha256"], line["why"]) == (SECOND, gone["sha256"], "people ada, bea")
    assert question(made, name).state == "done"
    listed = next(one for one in made.run("sessions").stdout.splitlines() if one.startswith(SECOND))
    assert " deleted" in listed
    ledger = ledger_path(made.folder / "recordings", made.node)
    assert SECOND in ledger.read_text(errors="replace") and "people ada, bea" in ledger.read_text(
        errors="replace"
    )


def test_what_is_held_or_not_two_peoples_or_too_young_stays(made: Made) -> None:
    made.rules("")
    alone, held = wanted(made, FIRST, "ada", "ada"), wanted(made, SECOND)
    assert made.run("hold", SECOND, "--reason", "case 7").exit_code == 0
    result = made.run("prune", "--yes")
    assert result.exit_code == 1 and "it is not the wish of two people" in result.stderr
    assert made.there() == {FIRST, SECOND} and question(made, alone).state == "stayed"
    assert question(made, held).void_at is not None
    (line,) = made.audit("deletion_not_done")
    assert (line["session"], line["deletion"]) == (FIRST, alone)
    assert made.run("unhold", SECOND, "--reason", "x").exit_code == 0
    assert "0 recordings" in made.run("prune", "--yes").stdout and made.there() == {FIRST, SECOND}


def test_what_is_too_young_waits_and_lapses(made: Made) -> None:
    made.rules('[retention]\nat_least = "50d"\n')
    young, old = wanted(made, SECOND), wanted(made, FIRST, days=7)
    result = made.run("prune", "--yes")
    assert result.exit_code == 1 and "younger than retention.at_least (50 days)" in result.stderr
    assert made.there() == {FIRST, SECOND} and "50 days" in question(made, young).outcome
    assert question(made, old).said(NOW) == "has lapsed"
    made.rules('[retention]\nat_least = "5d"\n')
    assert made.run("prune", "--yes").exit_code == 0 and made.there() == {FIRST}


def test_whoever_keeps_it_at_the_same_moment_counts(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    made.rules("")
    name = wanted(made, SECOND)
    found = wanted_module.wanted_gone

    def meanwhile(*args: Any) -> Any:
        going = found(*args)
        by = Person("u-cat", "cat", "totp")
        answer(made.database, name, by, False, NOW, 0.0, lambda _: None)
        return going

    monkeypatch.setattr("bastion.cli.prune.wanted_gone", meanwhile)
    result = made.run("prune", "--yes")
    assert result.exit_code == 1 and "somebody has kept it" in result.stderr and SECOND in made.there()
    assert question(made, name).state == "refused" and made.audit("recording_deleted") == []


def test_what_could_not_be_removed_is_not_done(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    made.rules("")
    name = wanted(made, SECOND)
    with monkeypatch.context() as closed:
        closed.setattr("bastion.state.pruning.os.unlink", _no)
        result = made.run("prune", "--yes")
    assert result.exit_code == 1 and f"{SECOND} stays: not now" in result.stderr
    assert made.there() == {FIRST, SECOND}
    assert (question(made, name).state, question(made, name).outcome) == ("agreed", "not now")
    assert made.run("prune", "--yes").exit_code == 0 and made.there() == {FIRST}
    assert question(made, name).state == "done"


def _no(*_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, "not now")

"""One question after the other to an inventory, over a whole configuration on disk."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from bastion.assembly.asking import FAILED_AGAIN, FAULTS, Inventory
from bastion.clock import FixedClock, SystemClock
from bastion.config.check import inspect
from bastion.config.load import load
from bastion.errors import InventoryReason
from bastion.inventories.fetching import NoAnswer
from bastion.inventories.kept import text_in
from bastion.inventories.report import Report
from bastion.policy.targets import Target
from tests.unit.config.site import Site

pytestmark = pytest.mark.slow


class Asked:
    """A site with one inventory, whose answer the test says."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.site = Site(folder)
        self.more = more
        self.write('url = "https://cmdb.example.com/"')
        (folder / "recordings" / "state").mkdir(mode=0o700)
        self.answer: bytes | NoAnswer = b""
        self.clock = FixedClock(SystemClock().time())
        config = load(self.site.config)
        self.file = config.kept[0].file
        self.inventory = Inventory(
            self.site.config, config.state_folder, "cmdb", config.inventories["cmdb"], self.clock, self._ask,
            threading.Lock(),
        )  # fmt: skip

    def write(self, options: str) -> None:
        self.site.edit("[policy]", f"[inventories.cmdb]\n{options}\n{self.more}\n[policy]")

    def _ask(self) -> bytes:
        if isinstance(self.answer, NoAnswer):
            raise self.answer
        return self.answer

    def turn(self, answer: Any) -> Report:
        """The clock goes with the files, whose times are the machine's."""
        self.answer = answer if isinstance(answer, bytes | NoAnswer) else json.dumps(answer).encode()
        report = self.inventory.turn()
        if self.file.exists():
            self.clock.now = max(self.clock.now, self.file.stat().st_mtime)
        return report

    @property
    def names(self) -> list[str]:
        return [target.name for target in load(self.site.config).inventory]


NEW1 = {"targets": {"new1": {"host": "new1.example.com"}}}
DOWN = NoAnswer(InventoryReason.UNREACHABLE, "cmdb.example.com: Connection refused")


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked(tmp_path, 'max_age = "1h"')


def test_what_it_answers_is_part_of_the_inventory_from_then_on(asked: Asked) -> None:
    assert asked.names == ["web1", "db1"]
    report = asked.turn(NEW1)
    assert (report.reason, report.changed, report.targets) == (InventoryReason.TAKEN, True, 1)
    assert asked.names == ["web1", "db1", "new1"]
    again = asked.turn(NEW1)
    assert (again.reason, again.changed, again.well) == (InventoryReason.SAME, False, True)
    gone = asked.turn({"targets": {"new2": {"host": "new2.example.com"}}})
    assert gone.changed and asked.names == ["web1", "db1", "new2"]


def test_all_are_gone_only_where_that_may_be(tmp_path: Path) -> None:
    asked = Asked(tmp_path, "may_be_empty = true")
    asked.turn(NEW1)
    gone = asked.turn({"targets": {}})
    assert (gone.reason, gone.changed, gone.targets) == (InventoryReason.TAKEN, True, 0)
    assert asked.names == ["web1", "db1"]


def test_what_fits_no_pattern_is_said_when_nothing_is_left(tmp_path: Path) -> None:
    report = Asked(tmp_path, 'only = ["old*"]').turn(NEW1)
    assert report.reason is InventoryReason.EMPTY and "1 left out" in report.text


def test_the_digests_and_the_kept_policy_have_it(asked: Asked) -> None:
    before = load(asked.site.config)
    asked.turn(NEW1)
    after = load(asked.site.config)
    assert after.digest != before.digest and after.version.digest != before.version.digest
    from bastion.config.contents import contents
    from bastion.config.differences import differences
    from bastion.config.versions import judge_by, unpack

    assert contents(after)["inventories.cmdb"] != contents(before)["inventories.cmdb"]
    assert differences(before, after, contents(before), contents(after)) == ("target new1: added",)
    assert judge_by(unpack(after.version))[1].find("new1") is not None


@pytest.mark.parametrize(
    ("answer", "reason", "says"),
    [
        (DOWN, InventoryReason.UNREACHABLE, "Connection refused"),
        (b"<html>", InventoryReason.BAD_ANSWER, "is not JSON"),
        ({"targets": {"x": {}}}, InventoryReason.BAD_ANSWER, "targets.x.host: is required"),
        ({"targets": {}}, InventoryReason.EMPTY, "may_be_empty = true"),
    ],
)
def test_no_answer_leaves_what_was_kept(
    asked: Asked, answer: Any, reason: InventoryReason, says: str
) -> None:
    asked.turn(NEW1)
    kept = text_in(asked.file)
    report = asked.turn(answer)
    assert (report.reason, report.changed, report.well) == (reason, False, False) and says in report.text
    assert report.answered_at > 0 and report.targets == 1
    assert text_in(asked.file) == kept and "new1" in asked.names


SAME_PLACE = {"targets": {"other": {"host": "WEB1.example.com.", "labels": {"env": "test"}}}}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            {"targets": {"web1": {"host": "evil.example.com"}}},
            '"web1" is already a name of target "web1" in ',
        ),
        (
            {"targets": {"x": {"host": "h", "aliases": ["db1"]}}},
            '"db1" is already a name of target "db1" in ',
        ),
        (SAME_PLACE, "web1.example.com:22 is where target web1 is already"),
        ({"targets": {"x": {"host": "h", "host_keys": ["no key"]}}}, "host_keys"),
    ],
)
def test_nothing_that_people_wrote_down_is_taken_over(asked: Asked, answer: Any, says: str) -> None:
    asked.turn(NEW1)
    report = asked.turn(answer)
    assert report.reason is InventoryReason.NOT_FITTING and says in report.text, report.text
    assert not report.changed and asked.names == ["web1", "db1", "new1"]
    assert "cmdb.toml" in report.text or "targets.toml" in report.text


ROADS = """[targets.edge1]
host = "edge1.example.com"
hop_login = "jump"
hop_egress = ["10.20.0.1"]
[targets.db7]
host = "10.20.0.7"
via = "edge1"
host_keys = []
[targets.plc9]
host = "10.20.0.9"
proxy_command = "tunnel"
host_keys = []
"""


def with_roads(asked: Asked, more: str = "") -> list[str]:
    """The names that people wrote down then."""
    asked.site.edit("[policy]", '[targets.proxy_commands]\ntunnel = ["/bin/false", "%h"]\n[policy]')
    targets = asked.site.folder / "targets.toml"
    asked.site.write("targets.toml", targets.read_text() + ROADS + more)
    return ["web1", "db1", "edge1", "db7", "plc9"]


@pytest.mark.parametrize("option", [{"via": "edge1"}, {"proxy_command": "tunnel"}])
def test_no_answer_says_by_which_road_and_none_makes_the_gateway_run_a_program(
    asked: Asked, option: dict[str, str]
) -> None:
    """Of hops and programs that people wrote down: a file may name them, an answer may not."""
    written = with_roads(asked)
    asked.turn(NEW1)
    report = asked.turn({"targets": {"new2": {"host": "10.20.0.8", **option}}})
    assert report.reason is InventoryReason.BAD_ANSWER, report.text
    assert f"targets.new2.{next(iter(option))}: is the operator's to say" in report.text
    assert asked.names == [*written, "new1"]


def test_the_same_address_by_another_road_is_another_machine(asked: Asked) -> None:
    """Answers name what is dialled at once: neither what is behind a hop nor what a program leads to."""
    written = with_roads(asked)
    report = asked.turn({"targets": {"x": {"host": "10.20.0.7"}, "y": {"host": "10.20.0.9"}}})
    assert report.reason is InventoryReason.TAKEN, report.text
    assert asked.names == [*written, "x", "y"]
    again = asked.turn({"targets": {"x": {"host": "edge1.example.com"}}})
    assert again.reason is InventoryReason.NOT_FITTING
    assert "is where target edge1 is already" in again.text


def test_roads_are_judged_in_the_whole_inventory(asked: Asked) -> None:
    """A target of an answer is there for a `via`, and is no hop."""
    asked.turn(NEW1)
    with_roads(asked, '[targets.db8]\nhost = "10.20.0.8"\nvia = "new1"\nhost_keys = []\n')
    (error,) = inspect(asked.site.config).errors
    assert error.key == "targets.db8.via" and error.file.endswith("targets.toml")
    assert error.problem.startswith('"new1" leads nowhere')
    os.unlink(asked.file)
    (error,) = inspect(asked.site.config).errors
    assert error.key == "targets.db8.via" and error.problem.startswith('"new1" is no target')


def test_another_inventory_has_its_names_too(asked: Asked) -> None:
    asked.turn(NEW1)
    asked.site.edit("[policy]", '[inventories.two]\nurl = "https://two.example.com/"\n[policy]')
    config = load(asked.site.config)
    two = Inventory(
        asked.site.config, config.state_folder, "two", config.inventories["two"], asked.clock,
        lambda: json.dumps(NEW1).encode(), threading.Lock(),
    )  # fmt: skip
    report = two.turn()
    assert report.reason is InventoryReason.NOT_FITTING
    assert '"new1" is already a name of target "new1" in ' in report.text and "cmdb.toml" in report.text


def test_a_person_who_takes_a_name_of_an_inventory_is_told(asked: Asked) -> None:
    """As with two files: it is an error of the reload, and of check, with both places."""
    asked.turn(NEW1)
    targets = (asked.site.folder / "targets.toml").read_text()
    asked.site.write("targets.toml", targets + '[targets.new1]\nhost = "mine.example.com"\n')
    (error,) = inspect(asked.site.config).errors
    assert str(asked.file) in str(error) and "targets.toml" in error.problem


def test_a_rule_that_names_a_target_that_has_gone_keeps_nobody_else_in(asked: Asked) -> None:
    asked.turn(NEW1)
    policy = (asked.site.folder / "policy.toml").read_text()
    asked.site.write("policy.toml", policy.replace('["web1"]', '["web1", "new1"]'))
    assert inspect(asked.site.config).errors == ()
    report = asked.turn({"targets": {"new2": {"host": "new2.example.com"}}})
    assert report.reason is InventoryReason.TAKEN, report.text
    checked = inspect(asked.site.config)
    assert checked.errors == () and any('no target "new1"' in str(one) for one in checked.warnings)
    asked.site.edit("[inventories.cmdb]", '[inventories.cmdb]\nprefix = "aws-"')
    assert any('no target "new1"' in str(one) for one in inspect(asked.site.config).errors), (
        "none can have it"
    )


def test_one_that_does_not_answer_is_taken_out_in_the_end_and_is_back_at_once(asked: Asked) -> None:
    asked.turn(NEW1)
    answered = asked.clock.now
    os.utime(asked.file, (answered - 3500, answered - 3500))
    early = asked.turn(DOWN)
    assert not early.expired and not early.changed
    assert asked.inventory.pause(early) == pytest.approx(FAILED_AGAIN, abs=1)
    asked.clock.advance(90)
    os.utime(asked.file, (answered - 3700, answered - 3700))
    late = asked.turn(DOWN)
    assert late.expired and late.changed and "new1" not in asked.names
    assert any("has not answered for" in str(one) for one in inspect(asked.site.config).warnings)
    assert not asked.turn(DOWN).changed, "it is said once"
    back = asked.turn(NEW1)
    assert back.reason is InventoryReason.SAME and back.changed and "new1" in asked.names


def test_it_is_asked_again_in_time_to_see_that_it_is_too_old(asked: Asked) -> None:
    report = asked.turn(NEW1)
    assert asked.inventory.pause(report) == 300
    os.utime(asked.file, (asked.clock.now - 3590, asked.clock.now - 3590))
    late = asked.turn(DOWN)
    assert 1 <= asked.inventory.pause(late) <= 12


def test_a_check_says_that_it_asks_nobody(asked: Asked) -> None:
    (warning,) = (one for one in inspect(asked.site.config).warnings if one.key == "inventories.cmdb")
    assert "has never given an answer" in warning.problem


def test_the_first_faults_of_many_are_told(asked: Asked) -> None:
    report = asked.turn({"targets": {f"t{number}": {} for number in range(FAULTS + 7)}})
    assert report.text.endswith("; and 7 more") and len(report.line()) < 4096


def test_a_folder_that_cannot_be_written_is_told(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bastion.assembly.asking.keep", full)
    report = asked.turn(NEW1)
    assert report.reason is InventoryReason.FAILED and "No space left" in report.text and not report.changed


def test_what_is_kept_is_taken_as_the_section_has_it_now(tmp_path: Path) -> None:
    """The operator wants less of an inventory that does not answer just then."""
    labels = {"env": "prod", "inventory": "mine"}
    wide = 'only = ["new*"]\nallow_addresses = ["169.254.0.0/16"]\nlabels = { team = "a" }\n'
    asked = Asked(tmp_path, wide)
    host = {"host": "new1.example.com", "aliases": ["new-one", "new2x"], "labels": labels}
    assert asked.turn({"targets": {"new1": host, "new2": {"host": "169.254.1.1"}}}).well
    whole = load(asked.site.config)
    assert [one.inventory for one in whole.inventory] == ["", "", "cmdb", "cmdb"]
    asked.site.edit(wide, 'only = ["new1", "new-*"]\nlabels = { inventory = "cmdb" }\n')
    less = load(asked.site.config)
    assert [one.name for one in less.inventory] == ["web1", "db1", "new1"]
    new1 = less.inventory.find("new-one")
    assert new1 is not None and new1.aliases == ("new-one",) and new1.allow_addresses == ()
    assert dict(new1.labels) == {"env": "prod", "inventory": "cmdb", "team": "a"}
    assert less.digest != whole.digest and less.version.digest != whole.version.digest


def test_what_is_kept_says_no_more_than_an_answer_may(asked: Asked) -> None:
    """Somebody has written into it."""
    with_roads(asked)
    asked.turn({"targets": {"new1": {"host": "10.20.0.8"}}})
    kept = text_in(asked.file)
    for option in ('proxy_command = "tunnel"', 'via = "edge1"', 'recording = "off"', "ask = true"):
        asked.file.write_text(f"{kept}{option}\n")
        assert inspect(asked.site.config).errors == ()
        new1 = load(asked.site.config).inventory.find("new1")
        assert new1 == Target(name="new1", host="10.20.0.8", inventory="cmdb")

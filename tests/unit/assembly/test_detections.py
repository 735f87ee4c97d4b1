"""What the process that detects says, written down and counted; a process of the test in its place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from bastion.assembly.companion import FIRST_PAUSE, CompanionProcess
from bastion.assembly.detections import REMEMBERED, Detections, digest_of
from bastion.clock import FixedClock
from bastion.config.load import load
from bastion.detect.report import Report, Told
from bastion.errors import Detection
from bastion.observe.audit import AuditLog
from bastion.observe.families.detections import (
    DETECTION_MUTES,
    DETECTOR_BEHIND_SECONDS,
    DETECTOR_STARTS,
    FINDING_POSTS,
    FINDINGS,
    FINDINGS_WAITING,
)
from bastion.observe.meters import Meters
from tests.unit.assembly.test_companion import Program
from tests.unit.config.site import Site

TOLD = Told(
    "k3v2m5q7", Detection.SFTP_DATA, "alert", 1.5, "alice", "web1", "little", "much", ("s1", "s2"), ""
)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.reactor, self.clock, self.meters = Clock(), FixedClock(), Meters()
        self.programs: list[Program] = []
        self._log = folder / "audit.jsonl"
        self.audit = AuditLog(str(self._log), self.clock, self.meters)
        self.detections = Detections(self.reactor, self.clock, self.meters, self.audit, self._start)

    def _start(self, process: CompanionProcess) -> None:
        self.programs.append(Program(process))

    def say(self, *said: Told | Report) -> None:
        for one in said:
            self.programs[-1].process.outReceived(one.line())

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def report(self, **more: Any) -> None:
        self.say(Report(self.clock.time(), 7, **{"read_at": self.clock.time(), **more}))

    @property
    def behind(self) -> int:
        self.detections.refresh()
        return self.meters.value(DETECTOR_BEHIND_SECONDS)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.detections.follow("one")
    return made


def test_it_runs_while_it_is_wanted_and_anew_when_it_is_to_be_another(bench: Bench) -> None:
    bench.detections.follow("one")
    assert len(bench.programs) == 1 and bench.programs[0].input_open, "a reload alone is no reason"
    bench.detections.follow("two")
    assert not bench.programs[0].input_open
    bench.programs[0].ends()
    assert len(bench.programs) == 2 and bench.meters.value(DETECTOR_STARTS) == 2
    bench.detections.follow("")
    bench.programs[1].ends()
    bench.detections.follow("")
    assert len(bench.programs) == 2 and bench.detections.stop().called


def test_a_finding_is_a_line_and_a_count(bench: Bench) -> None:
    bench.say(
        TOLD, replace(TOLD, id="b", mute="m1"), replace(TOLD, id="c", level="notice", user="", target="")
    )
    first, second, third = bench.told()
    assert first["event"] == "detection" and first["finding"] == TOLD.id and first["kind"] == "sftp_data"
    assert (first["user"], first["target"], first["sessions"]) == ("alice", "web1", ["s1", "s2"])
    assert first["seen_at"] == "1970-01-01T00:00:01.500Z" and "muted" not in first
    assert second["muted"] == "m1" and "user" not in third
    assert [bench.meters.value(FINDINGS, "sftp_data", level) for level in ("alert", "notice", "muted")] == [
        1,
        1,
        1,
    ]


def test_what_is_told_again_is_neither_written_nor_counted_again(bench: Bench) -> None:
    bench.say(TOLD, TOLD)
    bench.programs[-1].ends(9)
    bench.reactor.advance(FIRST_PAUSE)
    bench.say(TOLD)
    assert len(bench.told()) == 1 and bench.meters.value(FINDINGS, "sftp_data", "alert") == 1


def test_a_line_that_was_lost_is_written_when_it_is_told_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("bastion.observe.audit_chain.Chain.append", lambda *_: False)
        bench.say(TOLD)
        bench.say(TOLD)
    bench.say(TOLD, TOLD)
    assert [line["event"] for line in bench.told()] == ["audit_resumed", "detection"]
    assert bench.meters.value(FINDINGS, "sftp_data", "alert") == 1


def test_what_is_remembered_has_a_limit(bench: Bench) -> None:
    for number in range(REMEMBERED + 5):
        bench.say(replace(TOLD, id=str(number)))
    assert len(bench.detections._told) == REMEMBERED


def test_how_far_behind_it_is_grows_until_it_says_otherwise(bench: Bench) -> None:
    assert bench.behind == 0
    bench.clock.advance(40)
    assert bench.behind == 40, "it has not said anything yet"
    bench.report()
    assert bench.behind == 0
    bench.clock.advance(20)
    bench.report(read_at=bench.clock.time() - 20)
    assert bench.behind == 20
    bench.programs[-1].ends(9)
    bench.clock.advance(70)
    assert bench.behind == 90, "it died"
    bench.detections.follow("")
    bench.reactor.advance(100)
    assert len(bench.programs) == 1 and bench.behind == 0, "nobody wants it any more"


def test_nothing_is_behind_when_nothing_detects(bench: Bench) -> None:
    bench.clock.advance(40)
    bench.detections.follow("")
    bench.programs[-1].ends()
    bench.clock.advance(40)
    assert bench.behind == 0


def test_reports_are_counted_once(bench: Bench) -> None:
    bench.report(posts={"webhook": {"sent": 2, "timeout": 1}}, waiting={"webhook": 3}, mutes=4)
    bench.report(
        posts={"webhook": {"sent": 5}, "alertmanager": {"refused": 1}}, waiting={"webhook": 1}, mutes=4
    )
    assert bench.meters.value(FINDING_POSTS, "webhook", "sent") == 5
    assert bench.meters.value(FINDING_POSTS, "webhook", "timeout") == 1
    assert bench.meters.value(FINDING_POSTS, "alertmanager", "refused") == 1
    assert bench.meters.value(FINDINGS_WAITING, "webhook") == 1 and bench.meters.value(DETECTION_MUTES) == 4
    bench.programs[-1].ends(9)
    bench.reactor.advance(FIRST_PAUSE)
    bench.report(posts={"webhook": {"sent": 1}})
    assert bench.meters.value(FINDING_POSTS, "webhook", "sent") == 6


def test_what_is_no_line_of_it_is_nothing(bench: Bench) -> None:
    bench.programs[-1].process.outReceived(b'x\n{"finding":7}\n' + b"y" * 100_000 + b"\n")
    assert bench.told() == []


def test_a_digest_is_of_all_that_it_reads(tmp_path: Path) -> None:
    site = Site(tmp_path)
    text = site.config.read_text()

    def digest(more: str) -> str:
        site.write("bastion.toml", text + more)
        return digest_of(load(site.config))

    assert digest("") == digest("[detections]\nhabit = 5\n") == ""
    found = [
        digest("[detections]\nrun = true\n"), digest("[detections]\nrun = true\nhabit = 5\n"),
        digest('[detections]\nrun = true\n[state]\nnode = "gw7"\n'),
    ]  # fmt: skip
    assert len({*found}) == 3 and "" not in found and digest("[detections]\nrun = true\n") == found[0]
    places = '[detections]\nrun = true\ngeoip = "places.mmdb"\n'
    before = digest(places)
    site.write("places.mmdb", "another")
    assert digest(places) != before

"""`bastion alerts backtest`: audit logs replayed, a whole company's among them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bastion.cli.alerts import WEEK, alerts, replay
from bastion.config.detections import Detections
from bastion.errors import Detection
from tests.support.month import DAYS, JUDGED, PEOPLE, Month
from tests.support.tales import DAY, START, Tale

FALSE_A_WEEK = 2.0
"""What a team can look at: alerts that are no incident, of 200 people together."""


@pytest.mark.slow
def test_a_month_of_two_hundred_people_with_twelve_incidents(tmp_path: Path) -> None:
    """Everything that was planted is an alert about the right person on the right day, and little else is one."""
    log = tmp_path / "audit.jsonl"
    month = Month()
    with gzip.open(tmp_path / "audit.jsonl.1.gz", "wb", compresslevel=1) as old, log.open("wb") as new:
        month.write(lambda at, line: (old if at < START + 20 * DAY else new).write(line))
    begin = START + JUDGED * DAY
    found = replay(Detections(), [[tmp_path / "audit.jsonl.1.gz", log]], begin, None)
    assert found.unread == {} and found.unreadable == 0 and found.people >= PEOPLE
    assert found.last - begin > (DAYS - JUDGED - 1) * DAY
    assert len(month.incidents) == 12
    planted = set()
    for incident in month.incidents:
        about = [
            one
            for one in found.findings
            if one.user == incident.user and (one.at - START) // DAY == incident.day
        ]
        assert {one.kind for one in about if one.level == "alert"} & incident.kinds, incident
        planted |= {one.id for one in about}
    false = [one for one in found.findings if one.id not in planted and one.level == "alert"]
    assert len(false) / ((DAYS - JUDGED) * DAY / WEEK) <= FALSE_A_WEEK, false


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A month of alice, who came from elsewhere at its end, and a break-glass login."""
    path = tmp_path / "bastion.toml"
    path.write_text('[audit]\nfile = "audit.jsonl"\n[detections]\nbreak_glass = "off"\n')
    with (tmp_path / "audit.jsonl").open("wb") as log:
        tale = Tale(lambda at, line: log.write(line))
        tale.days(28)
        tale.at(10)
        tale.break_glass(why="a \x1b[31mtrial")
        tale.login(source="198.51.100.7")
        tale.login("bob", source="198.51.100.7")
        log.write(b'{"ts":"2026-12-01T00:00:00.000Z","event":"auth","torn')
    return path


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(alerts, ["backtest", *arguments])
    return result.exit_code, result.output


def test_what_would_have_been_told_explains_itself(config: Path) -> None:
    code, shown = run("--config", str(config))
    assert code == 0
    assert "new_network alice" in shown and "198.51.100.0/24" in shown and "203.0.113.0/24" in shown
    assert "\x1b" not in shown and "1 torn or unreadable" in shown
    rows = {
        line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.startswith(tuple(Detection))
    }
    assert rows["new_network"] == ["notice", "0", "1"]
    assert rows["break_glass"] == ["off", "0", "1"], "what is off says what it would say"
    assert set(rows) == set(Detection)


def test_it_is_a_document_too(config: Path) -> None:
    code, shown = run("--config", str(config), "--json", "--user", "alice")
    told = json.loads(shown)
    assert code == 0 and told["unreadable_lines"] == 1 and told["people"] == 3
    (found,) = told["findings"]
    assert found["kind"] == "new_network" and found["user"] == "alice" and len(found["sessions"]) == 1
    assert told["detections"]["new_network"] == {"level": "notice", "alerts": 0, "notices": 1}


def test_before_since_it_is_only_learned(config: Path) -> None:
    assert json.loads(run("--config", str(config), "--json", "--since", "2026-12-02")[1])["findings"] == []
    early = json.loads(run("--config", str(config), "--json", "--until", "2026-11-10")[1])
    assert early["findings"] == [] and early["last"] < "2026-11-11"


def test_several_logs_are_read_as_one(config: Path, tmp_path: Path) -> None:
    """What one gateway has learned counts on the other."""
    other = tmp_path / "gw2.jsonl"
    with other.open("wb") as log:
        tale = Tale(lambda at, line: log.write(line))
        tale.now = START + 10 * DAY
        tale.login(source="198.51.100.7")
    both = ("--log", str(tmp_path / "audit.jsonl"), "--log", str(other))
    assert json.loads(run(*both, "--json", "--user", "alice")[1])["findings"] == []


def test_nothing_is_followed_without_an_alertmanager(config: Path) -> None:
    """`tests/interop/test_alertmanager.py` follows with one."""
    result = CliRunner().invoke(alerts, ["follow", "--config", str(config)])
    assert result.exit_code == 2 and "detections.alertmanager: is not set" in result.output
    config.write_text(config.read_text() + "run = true\n")
    result = CliRunner().invoke(alerts, ["follow", "--config", str(config)])
    assert result.exit_code == 2 and "detections.run" in result.output, "two would post each twice"
    config.write_text(config.read_text().replace("run = true\n", ""))
    away = 'alertmanager = "http://127.0.0.1:9093"\n'
    config.write_text(config.read_text().replace("audit.jsonl", "absent.jsonl") + away)
    assert CliRunner().invoke(alerts, ["follow", "--config", str(config)]).exit_code == 3


def test_faults_have_words(config: Path, tmp_path: Path) -> None:
    assert run()[0] == 2
    assert run("--log", str(tmp_path / "absent.jsonl"))[0] == 3
    assert run("--config", str(config), "--since", "soon")[0] == 2
    (tmp_path / "audit.jsonl.1.gz").write_bytes(b"no gzip")
    code, shown = run("--config", str(config))
    assert code == 3 and "audit.jsonl.1.gz" in shown and "new_network" in shown
    (tmp_path / "x.mmdb").write_text("no")
    config.write_text(config.read_text() + 'geoip = "x.mmdb"\n')
    code, shown = run("--config", str(config))
    assert code == 2 and "x.mmdb" in shown
    config.write_text(config.read_text() + "beacon_count = 1\n")
    assert run("--config", str(config))[0] == 2

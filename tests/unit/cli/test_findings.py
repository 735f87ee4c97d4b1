"""`bastion alerts list`, `explain`, `mute`, `mutes`, `unmute` on a real configuration."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bastion.cli.alerts import alerts
from bastion.clock import SystemClock
from bastion.recording.listing import Recordings
from bastion.recording.store import Store
from bastion.state.checking import rebuild
from bastion.state.database import Database, Place
from bastion.state.findings import Row, add, mutes
from bastion.state.schema_version import check_schema
from tests.unit.cli.made import FIRST, header, record
from tests.unit.config.site import Site

NOW = 1_800_000_000.0
DAY = 86400.0
ROW = Row(
    "gw1", "k3v2m5q7", "sftp_data", "alert", NOW, "alice", "web1", "at most 4 GiB", "9.0 GiB, of \x1b[31mred",
    f"{FIRST},cccccccccccccccc", NOW, alertmanager="waiting", webhook="sent", audited="written",
)  # fmt: skip


class Made(Site):
    """A site with findings of two days, one of them about a session that was recorded."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        store = Store(folder / "recordings", disk_floor_bytes=0, sync_seconds=0.05)
        record(store, header(FIRST, "alice", "web1"))
        assert store.close()
        self.database = Database(Place(folder / "recordings" / "state"))
        check_schema(self.database)
        with self.database.write() as connection:
            more = replace(
                ROW, id="k3aaaaaa", kind="break_glass", level="notice", at=NOW + DAY, identity="bob"
            )
            add(connection, [ROW, replace(more, mute="m1", alertmanager="", webhook="", sessions="")])

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(alerts, [*words, "--config", str(self.config)])

    def document(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def audit(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "audit.jsonl").read_text().splitlines()]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    monkeypatch.setattr("bastion.clock.SystemClock.time", staticmethod(lambda: NOW + 2 * DAY))
    return Made(tmp_path)


def test_findings_are_listed(made: Made) -> None:
    shown = made.run("list")
    assert shown.exit_code == 0 and "\x1b" not in shown.stdout
    first, second = shown.stdout.splitlines()[1:]
    assert "k3v2m5q7" in first and "open" in first and "sftp_data" in first and "alice" in first
    assert "muted" in second and "break_glass" in second


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), ["k3v2m5q7", "k3aaaaaa"]), (("--since", "36h"), ["k3aaaaaa"]), (("--kind", "sftp_data"), ["k3v2m5q7"]),
        (("--user", "bob"), ["k3aaaaaa"]), (("--state", "muted"), ["k3aaaaaa"]), (("--state", "open"), ["k3v2m5q7"]),
        (("--level", "alert"), ["k3v2m5q7"]), (("--user", "carol"), []),
    ],
)  # fmt: skip
def test_those_that_are_wanted(made: Made, words: tuple[str, ...], found: list[str]) -> None:
    assert [one["id"] for one in made.document("list", *words)["findings"]] == found


def test_a_document_has_it_all(made: Made) -> None:
    assert made.document("list", "--user", "alice")["findings"] == [
        {
            "ts": "2027-01-15T08:00:00.000Z", "id": "k3v2m5q7", "kind": "sftp_data", "level": "alert", "state": "open",
            "mute": "", "user": "alice", "target": "web1", "expected": "at most 4 GiB", "came": ROW.came,
            "sessions": [FIRST, "cccccccccccccccc"], "gateway": "gw1", "kept_at": "2027-01-15T08:00:00.000Z",
            "posts": {"alertmanager": "waiting", "webhook": "sent"},
        }
    ]  # fmt: skip


def test_a_finding_says_what_to_look_at_and_how(made: Made) -> None:
    rebuild(made.database, Recordings(made.folder / "recordings"), "gw1")
    told = made.run("explain", "k3v")
    assert told.exit_code == 0 and "\x1b" not in told.stdout
    for words in (
        "k3v2m5q7: sftp_data, alert about alice", "expected:  at most 4 GiB", "came:      9.0 GiB",
        "alertmanager: is to be posted", "webhook: sent", f"{FIRST}, alice on web1 as ",
        f"bastion replay {FIRST} --config", f"bastion explain {FIRST} --config", "cccccccccccccccc, a connection",
        "bastion explain cccccccccccccccc",
    ):  # fmt: skip
        assert words in told.stdout, words
    assert "replay cccccccc" not in told.stdout
    both = CliRunner().invoke(alerts, ["--explain", "k3v2m5q7", "--config", str(made.config)])
    assert both.stdout == told.stdout
    look = made.document("explain", "k3v2m5q7")["look"]
    assert [one["session"] for one in look] == [FIRST, "cccccccccccccccc"] and len(look[0]["commands"]) == 2


def test_what_is_no_finding_is_told(made: Made) -> None:
    assert (made.run("explain", "zzz").exit_code, made.run("explain", " ").exit_code) == (1, 1)
    two = made.run("explain", "k3")
    assert two.exit_code == 1 and "more than one" in two.output
    assert CliRunner().invoke(alerts, []).exit_code == 2
    assert CliRunner().invoke(alerts, ["--explain", "k3v2m5q7"], env={"BASTION_CONFIG": ""}).exit_code == 2


def test_a_mute_is_in_the_log_before_it_is_one(made: Made) -> None:
    words = ("mute", "sftp_data", "--user", "alice", "--reason", "nightly \x1b copy", "--for", "30d")
    muted = made.document(*words)
    assert (muted["kind"], muted["user"], muted["target"], muted["until"]) == (
        "sftp_data", "alice", "", "2027-02-16T08:00:00.000Z",
    )  # fmt: skip
    (line,) = made.audit()
    assert (line["event"], line["mute"], line["kind"], line["user"]) == (
        "detection_muted",
        muted["id"],
        "sftp_data",
        "alice",
    )
    assert line["reason"] == "nightly \x1b copy" and line["by"] and line["until"] == muted["until"]
    assert made.document("mutes")["mutes"] == [muted]
    shown = made.run("mutes").stdout
    assert muted["id"] in shown and "\x1b" not in shown
    assert made.run("unmute", muted["id"], "--reason", "done").exit_code == 0
    assert made.run("unmute", muted["id"]).exit_code == 1
    assert [line["event"] for line in made.audit()] == ["detection_muted", "detection_unmuted"]
    assert made.document("mutes")["mutes"] == []


def test_without_a_log_nothing_is_muted(made: Made) -> None:
    made.write("bastion.toml", made.config.read_text().replace("audit.jsonl", "absent/audit.jsonl"))
    done = made.run("mute", "sftp_data", "--reason", "x", "--for", "1d")
    assert done.exit_code == 3 and mutes(made.database, SystemClock().time()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("mute", "--reason", "x", "--for", "1d"), ("mute", "sftp_data", "--reason", " ", "--for", "1d"),
        ("mute", "sftp_data", "--reason", "x", "--for", "soon"),
        ("mute", "sftp_data", "--reason", "x", "--for", "400d"),
        ("mute", "sftp_data", "--reason", "x" * 501, "--for", "1d"), ("mute", "other", "--reason", "x", "--for", "1d"),
        ("mute", "--user", "u" * 200, "--reason", "x", "--for", "1d"), ("mute", "sftp_data", "--for", "1d"),
    ],
)  # fmt: skip
def test_a_mute_needs_a_subject_a_reason_and_an_end(made: Made, words: tuple[str, ...]) -> None:
    assert made.run(*words).exit_code == 2
    assert mutes(made.database, SystemClock().time()) == []

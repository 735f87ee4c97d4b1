"""`bastion sessions` on recordings made here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bastion.cli.output import CommandFailed
from bastion.cli.sessions import parse_since, sessions
from bastion.recording.store import Store
from tests.unit.cli.made import FIRST, SECOND, THIRD, header, run


def test_sessions_are_listed_newest_first_with_their_state(recordings: Path) -> None:
    lines = run(sessions, recordings).stdout.splitlines()
    assert lines[0].split() == ["ID", "STARTED", "WHO", "TARGET", "DURATION", "BYTES", "STATE", "RAN"]
    assert [line.split()[0] for line in lines[1:]] == [THIRD, SECOND, FIRST]
    assert lines[1].endswith("truncated  shell") and lines[2].endswith("ended      shell")
    assert lines[3].split()[1:5] == ["2027-01-15", "08:00:00Z", "alice", "deploy@web1"]


def test_a_hostile_name_in_a_header_stays_on_its_line(recordings: Path) -> None:
    out = run(sessions, recordings).stdout
    assert "\x1b" not in out and "al\\x1b]0;x\\x07ce" in out


def test_sessions_are_chosen_by_user_target_time_and_life(recordings: Path) -> None:
    def ids(*arguments: str) -> list[str]:
        result = run(sessions, recordings, "--json", *arguments)
        return [entry["session_id"] for entry in json.loads(result.stdout)]

    assert ids() == [THIRD, SECOND, FIRST]
    assert ids("--user", "alice") == [FIRST]
    assert ids("--target", "web2") == [SECOND]
    assert ids("--since", "2027-01-16") == [THIRD]
    assert ids("--since", "2027-01-15T08:01:00") == [THIRD, SECOND]
    assert ids("--live") == []


def test_a_session_that_is_being_written_is_live(tmp_path: Path) -> None:
    store = Store(tmp_path, disk_floor_bytes=0, sync_seconds=0.05)
    recorder, writer = store.start(header(FIRST, "alice", "web1"))
    (entry,) = json.loads(run(sessions, tmp_path, "--live", "--json").stdout)
    assert entry["state"] == "live" and entry["identity"] == "alice"
    writer.close(recorder.finish("killed"))
    assert store.close()


def test_json_tells_everything_about_a_session(recordings: Path) -> None:
    (entry,) = json.loads(run(sessions, recordings, "--json", "--user", "alice").stdout)
    assert entry["reason"] == "client_closed" and entry["bytes"] == 40 + 6 + 6
    assert entry["duration"] == pytest.approx(0.1, abs=1e-5)
    assert Path(entry["file"]).stat().st_size == entry["file_size"]


def test_times_ago_and_dates_are_understood() -> None:
    assert parse_since("2h", 10_000.0) == 2800.0
    assert parse_since("1w", 700_000.0) == 95_200.0
    assert parse_since("1970-01-02", 0) == 86400.0
    assert parse_since("1970-01-01T01:00:00+01:00", 0) == 0.0
    for text in ("", "yesterday", "5y", "-3h"):
        with pytest.raises(CommandFailed):
            parse_since(text, 0)

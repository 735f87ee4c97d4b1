"""`bastion sessions` on recordings made here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bastion.cli.redaction import redaction_of
from bastion.cli.sessions import sessions
from bastion.indexing.store import IndexFile, place_in
from bastion.recording.commands import Command
from bastion.recording.format import Header
from bastion.recording.listed import of_entry
from bastion.recording.listing import Recordings
from bastion.recording.store import Store
from bastion.state.checking import rebuild
from bastion.state.database import Database, Place
from bastion.state.reviewing import Reviewer, add_mark, add_tag
from bastion.state.schema_version import check_schema
from tests.unit.cli.made import FIRST, SECOND, START, THIRD, header, record, run


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


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """A session with commands, made while the configuration's index knew nothing of it."""
    store = Store(tmp_path, disk_floor_bytes=0, sync_seconds=0.05)
    about = Header(FIRST, "alice", "1", "web1", "root", START, source_address="10.1.2.3", rules=("ops",))
    recorder, writer = store.start(about)
    for channel, command, status in ((1, "rm -rf /x", 0), (2, "false", 1), (3, "scp -t /tmp", 0)):
        recorder.note("channel_opened", channel, {"kind": "session"})
        recorder.note("request_forwarded", channel, {"name": "exec", "detail": {"command": command}})
        recorder.note("exit_status", channel, {"status": status})
        recorder.note("channel_closed", channel, {})
    recorder.channels = 3
    writer.write(recorder.take())
    writer.close(recorder.finish("client_closed"))
    record(store, header(SECOND, "bob", "web2", START + 60))
    assert store.close()
    return tmp_path


def test_sessions_are_chosen_by_what_was_run_and_how_it_ended(ran: Path) -> None:
    def ids(*arguments: str) -> list[str]:
        result = run(sessions, ran, "--json", *arguments)
        found = [entry["session_id"] for entry in json.loads(result.stdout)]
        assert result.exit_code == (0 if found else 1), result.output
        return found

    assert ids("--kind", "exec") == ids("--exit", "0") == ids("--command", r"^exec rm\b") == [FIRST]
    assert ids("--kind", "shell") == [SECOND]
    assert ids("--kind", "exec", "--exit", "1") == ids("--exit", "failed") == [FIRST]
    assert ids("--kind", "scp", "--exit", "1") == ids("--exit", "127") == ids("--command", "cat") == []
    assert ids("--kind", "tunnel") == ids("--rule", "op") == ids("--source", "10.2.0.0/16") == []
    assert ids("--rule", "ops") == ids("--source", "10.1.0.0/16") == ids("--login", "root") == [FIRST]
    assert ids("--limit", "1") == [SECOND]


def test_a_session_is_listed_for_any_time_that_it_ran_at(recordings: Path) -> None:
    def ids(*arguments: str) -> list[str]:
        found = json.loads(run(sessions, recordings, "--json", *arguments).stdout)
        return [entry["session_id"] for entry in found]

    assert ids("--since", "2027-01-15T08:00:00.05") == [THIRD, SECOND, FIRST]
    assert ids("--since", "2027-01-15T08:00:01", "--until", "2027-01-15") == [SECOND]
    assert ids("--until", "2027-01-15T08:00:00.01") == [FIRST]


def test_what_was_run_stands_in_its_column(ran: Path) -> None:
    (line,) = run(sessions, ran, "--user", "alice").stdout.splitlines()[1:]
    assert line.endswith("ended  exec rm -rf /x (exit 0); exec false (exit 1); exec scp -t /tmp (exit 0)")


@pytest.mark.parametrize("arguments", [("--source", "web1"), ("--command", "("), ("--since", "5y")])
def test_nonsense_is_a_wrong_call(recordings: Path, arguments: tuple[str, str]) -> None:
    result = run(sessions, recordings, *arguments)
    assert result.exit_code == 2 and arguments[0] in result.stderr


def test_a_long_listing_from_the_index_opens_no_file(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ran / "bastion.toml"
    config.write_text(
        f'[recording]\ndirectory = "{ran}"\n[state]\nnode = "gw1"\n[audit]\nfile = "{ran}/audit.jsonl"\n'
    )
    database = Database(Place(ran / "state"))
    check_schema(database)
    assert rebuild(database, Recordings(ran), "gw1").added == 2
    database.close()

    def listing(*arguments: str) -> Result:
        return CliRunner().invoke(sessions, ["--config", str(config), *arguments])

    assert "exec rm -rf /x (exit 0)" in listing().stdout
    monkeypatch.setattr("bastion.cli.ran.MOST_LOOKED", 1)
    for path in ran.glob("*/*.rec"):
        path.write_bytes(b"")  # whoever looks learns nothing
    result = listing("--kind", "exec")
    assert FIRST in result.stdout and SECOND not in result.stdout
    result = listing()
    assert result.stdout.splitlines()[2].endswith("exec (exit 0); exec (exit 1); scp (exit 0)")
    assert "--limit" in result.stderr and "rm -rf" not in result.stdout


def test_sessions_are_chosen_by_what_reviewers_left(ran: Path) -> None:
    config = ran / "bastion.toml"
    config.write_text(
        f'[recording]\ndirectory = "{ran}"\n[state]\nnode = "gw1"\n[audit]\nfile = "{ran}/audit.jsonl"\n'
    )
    database = Database(Place(ran / "state"))
    check_schema(database)
    rebuild(database, Recordings(ran), "gw1")
    ada = Reviewer("u-ada", "ada")
    add_tag(database, FIRST, ada, "case-7", START, lambda _: None)
    add_mark(database, SECOND, ada, "", START, lambda _: None)
    database.close()

    def listing(*arguments: str) -> Result:
        return CliRunner().invoke(sessions, ["--config", str(config), *arguments])

    assert FIRST in listing("--tag", "case-7").stdout and SECOND not in listing("--tag", "case-7").stdout
    assert SECOND in listing("--review", "reviewed").stdout
    assert FIRST in listing("--review", "unreviewed", "--tag", "case-7").stdout
    assert listing("--alert").exit_code == 1 and listing("--review", "overdue").exit_code == 1
    without = CliRunner().invoke(sessions, ["--recordings", str(ran), "--alert"])
    assert without.exit_code == 3 and "need the index" in without.output


def test_what_was_typed_is_found_where_the_reading_index_has_it(ran: Path) -> None:
    def ids(*arguments: str) -> list[str]:
        done = CliRunner().invoke(sessions, ["--recordings", str(ran), "--json", *arguments])
        assert done.exit_code in (0, 1), done.output
        return [entry["session_id"] for entry in json.loads(done.stdout)]

    (entry,) = Recordings(ran).find(SECOND)
    found, index = entry.path.stat(), IndexFile(place_in(ran), make=True)
    one = of_entry(entry)._replace(path=str(entry.path.relative_to(ran)))
    number = index.begin(one, "1", "", found.st_size, found.st_mtime_ns, redaction_of(None).digest)
    index.end(number, [Command(SECOND, 1, "typed", "rm -rf /typed", 1.0, START + 61, 1.0)], "[]", "")
    index.close()
    assert ids("--command", "rm -rf") == [SECOND, FIRST] and ids("--command", "/typed$") == [SECOND]
    assert ids("--command", "/typed$", "--kind", "shell") == [SECOND]
    assert ids("--command", "/typed$", "--kind", "exec") == ids("--command", "/typed$", "--exit", "0") == []
    entry.path.write_bytes(entry.path.read_bytes())  # what has changed since is not believed
    assert ids("--command", "/typed$") == []

"""`bastion commands` on recordings made here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bastion.cli.commands import commands
from bastion.clock import FixedClock
from bastion.recording.recorder import Recorder
from bastion.recording.store import Store
from tests.support.world import poll
from tests.unit.cli.made import FIRST, SECOND, header, run


def executed(store: Store, session: str, user: str, target: str, started_at: float, *texts: str) -> None:
    """A session of an exec a second, each an exit status of its number."""
    about, clock = header(session, user, target, started_at), FixedClock()
    writer, recorder = store.create(about), Recorder(about, clock)
    for number, text in enumerate(texts, 1):
        recorder.note("channel_opened", number, {"kind": "session"})
        recorder.note("request_forwarded", number, {"name": "exec", "detail": {"command": text}})
        clock.advance(1.0)
        recorder.note("exit_status", number, {"status": number - 1})
        recorder.note("channel_closed", number, {})
    writer.write(recorder.take())
    writer.close(recorder.finish("client_closed"))
    poll(lambda: writer.closed, text="the file was never closed")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("recordings")
    store = Store(folder, disk_floor_bytes=0, sync_seconds=0.05)
    executed(store, FIRST, "alice", "web1", 1_800_000_000.0, "rm -rf /x", "ls")
    executed(store, SECOND, "bob", "web2", 1_800_000_060.0, "printf 'a\x1b]0;x\x07b\nc'")
    yield folder
    assert store.close()


def lines(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    result = run(commands, folder, "--json", *arguments)
    assert result.exit_code == (0 if result.stdout else 1), result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def texts(folder: Path, *arguments: str) -> list[str]:
    return [line["text"] for line in lines(folder, *arguments)]


def test_each_command_is_an_object_on_a_line(ran: Path) -> None:
    found = lines(ran, "--session", FIRST[:6])
    assert found[0] == {
        "time": "2027-01-15T08:00:00.000Z", "user": "alice", "uid": "1", "login": "deploy", "target": "web1",
        "host": "", "source_address": "", "session": FIRST, "channel": 1, "kind": "exec", "text": "rm -rf /x",
        "start": 0.0, "offset": 0.0, "source": "request", "end": 1.0, "exit_status": 0, "signal": "", "refused": "",
        "prompt": "", "replay": f"{FIRST} --channel 1 --at 0.0",
    }  # fmt: skip
    assert found[1]["exit_status"] == 1


def test_commands_are_chosen_by_who_where_when_and_what(ran: Path) -> None:
    assert texts(ran)[1:] == ["rm -rf /x", "ls"]  # the newest session first
    assert texts(ran, "--user", "alice", "--grep", "^rm ") == ["rm -rf /x"]
    assert texts(ran, "--target", "web1", "--since", "2027-01-15T08:00:01") == ["ls"]
    assert texts(ran, "--until", "2027-01-15T08:00:00") == ["rm -rf /x"]
    assert texts(ran, "--kind", "typed") == [] and texts(ran, "--grep", "nothing") == []


def test_nothing_found_and_a_wrong_call_have_codes_of_their_own(ran: Path) -> None:
    assert run(commands, ran, "--user", "nobody").exit_code == 1
    assert run(commands, ran, "--user", "nobody").stdout == ""
    assert run(commands, ran, "--grep", "(").exit_code == 2
    wrong = run(commands, ran, "--until", "never")
    assert wrong.exit_code == 2 and "--until never" in wrong.stderr


def test_the_table_shows_what_cannot_act(ran: Path) -> None:
    result = run(commands, ran, "--user", "bob")
    heading, row = result.stdout.splitlines()
    assert heading.split() == ["TIME", "WHO", "TARGET", "KIND", "TOOK", "EXIT", "REPLAY", "COMMAND"]
    assert row.endswith("printf 'a\\x1b]0;x\\x07b ⏎ c'") and "deploy@web2" in row
    assert f"{SECOND} --channel 1 --at 0.0" in row


def test_a_file_that_cannot_be_read_is_named_and_hides_no_other(ran: Path, tmp_path: Path) -> None:
    day = tmp_path / "2027-01-15"
    day.mkdir()
    (day / f"{FIRST}.rec").write_bytes((ran / "2027-01-15" / f"{FIRST}.rec").read_bytes())
    (day / f"{SECOND}.rec").write_bytes(b"garbage")
    result = run(commands, tmp_path)
    assert result.exit_code == 0 and "not a recording" in result.stderr and "rm -rf /x" in result.stdout

"""Every look at recordings is a line of the gateway's audit log, written before anything is shown."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from bastion.cli.auditing import account
from bastion.cli.commands import commands
from bastion.cli.export import export
from bastion.cli.replay import replay
from bastion.cli.sessions import sessions
from bastion.recording.store import Store
from tests.unit.cli.made import FIRST, SECOND, header, record
from tests.unit.cli.made import run as run_offline
from tests.unit.config.site import Site


class Made(Site):
    """A site with two recordings."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.store = Store(folder / "recordings", disk_floor_bytes=0, sync_seconds=0.05)
        record(self.store, header(FIRST, "alice", "web1"))
        record(self.store, header(SECOND, "bob", "web2"))

    @property
    def log(self) -> Path:
        return self.folder / "audit.jsonl"

    def reads(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return [line for line in lines if line["event"] == "recordings_read"]

    def run(self, command: click.Command, *arguments: str) -> Result:
        return CliRunner().invoke(command, ["--config", str(self.config), *arguments])


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    one = Made(tmp_path)
    yield one
    assert one.store.close()


@pytest.mark.parametrize(
    ("command", "arguments", "session", "asked"),
    [
        (replay, ("aaaab", "--speed", "0"), FIRST, "session=aaaab speed=0.0"),
        (
            export,
            (FIRST, "--format", "raw", "--channel", "1", "--unredacted"),
            FIRST,
            f"channel=1 form=raw session={FIRST} unredacted=True",
        ),
        (sessions, ("--user", "bob"), None, "user=bob"),
        (commands, ("--grep", "rm"), None, "grep=rm"),
        (commands, ("--session", SECOND), SECOND, f"session={SECOND}"),
    ],
    ids=["replay", "export", "sessions", "commands", "commands of one"],
)
def test_who_looked_at_what_and_how(
    made: Made, command: click.Command, arguments: tuple[str, ...], session: str | None, asked: str
) -> None:
    result = made.run(command, *arguments)
    assert result.exit_code in (0, 1), result.output
    (line,) = made.reads()
    assert (line["command"], line["asked"], line["by"]) == (command.name, asked, account())
    assert line.get("session") == session and line.get("ref") == (session and session[:6])


def test_what_cannot_be_written_down_is_not_shown(made: Made, tmp_path: Path) -> None:
    made.log.unlink(missing_ok=True)
    made.log.mkdir()
    out = tmp_path / "out"
    for command, arguments in (
        (replay, (FIRST, "--speed", "0")),
        (export, (FIRST, "-o", str(out))),
        (sessions, ()),
        (commands, ()),
    ):
        result = made.run(command, *arguments)
        assert result.exit_code == 3 and result.stdout == "" and "audit log" in result.stderr
    assert not out.exists()


def test_a_copy_without_a_configuration_is_read_without_a_log(made: Made) -> None:
    assert run_offline(replay, made.folder / "recordings", FIRST, "--speed", "0").exit_code == 0
    assert made.reads() == []


def test_an_id_that_means_several_is_written_down_without_a_session(made: Made) -> None:
    assert made.run(replay, "aaaa").exit_code == 2
    (line,) = made.reads()
    assert "session" not in line and line["asked"] == "session=aaaa"


def test_the_account_stands_there_whatever_sudo_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    own = pwd.getpwuid(os.getuid()).pw_name
    monkeypatch.setenv("SUDO_USER", "mallory")
    assert account() == f"mallory as {own}"
    monkeypatch.setenv("SUDO_USER", own)
    assert account() == own

"""Calls of the lobby, read from the audit log that the configuration names."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from click.testing import CliRunner

from bastion.cli.commands import commands
from bastion.cli.lobby_calls import lobby_calls
from bastion.observe.audit import encode_line
from bastion.observe.events import About


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "recordings").mkdir()
    path = tmp_path / "bastion.toml"
    path.write_text('[recording]\ndirectory = "recordings"\n[audit]\nfile = "audit.jsonl"\n')
    who = {"connection": "abcdefghijklmnop", "user": "alice", "source": "192.0.2.1"}
    old = encode_line(1_800_000_000.0, "lobby", About(), {**who, "command": "targets", "status": 0})
    (tmp_path / "audit.jsonl.1.gz").write_bytes(gzip.compress(old))
    (tmp_path / "audit.jsonl").write_bytes(
        encode_line(1_800_000_100.0, "lobby", About(), {**who, "user": "bob", "command": "", "status": 127})
        + encode_line(1_800_000_101.0, "outer_started", About(), {**who, "user": "lobby"})
        + b'{"event": "lobby", "torn'
    )
    return path


def test_calls_come_from_every_file_of_the_log(config: Path) -> None:
    (who, first), (_, second) = lobby_calls(config)
    assert (who.identity, who.source_address, first.kind, first.text) == (
        "alice",
        "192.0.2.1",
        "lobby",
        "targets",
    )
    assert first.at == 1_800_000_000.0 and first.exit_status == 0 and first.session == "abcdefghijklmnop"
    assert (second.text, second.exit_status) == ("(an unknown command)", 127)


def test_they_are_listed_with_the_configuration_unless_a_target_is_asked_for(config: Path) -> None:
    def listed(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(commands, ["--config", str(config), *arguments])
        return result.exit_code, result.stdout

    code, shown = listed("--user", "alice")
    assert code == 0 and "targets" in shown and "unknown" not in shown
    assert listed("--target", "web1") == (1, "")
    assert listed("--kind", "exec") == (1, "")

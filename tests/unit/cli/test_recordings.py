"""Which recordings and which session a command means."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bastion.cli.export import export
from bastion.cli.replay import replay
from bastion.cli.sessions import sessions
from tests.unit.cli.made import FIRST, SECOND, THIRD, run


@pytest.mark.parametrize("command", [sessions, export, replay])
def test_every_command_lists_its_exit_codes(command: click.Command) -> None:
    assert "Exit codes: 0 " in CliRunner().invoke(command, ["--help"]).output


def test_no_folder_is_an_error_that_says_what_to_give(tmp_path: Path) -> None:
    result = CliRunner().invoke(sessions, [], env={"BASTION_CONFIG": ""})
    assert result.exit_code == 2 and "--recordings DIR or --config FILE" in result.stderr
    result = run(sessions, tmp_path / "missing")
    assert result.exit_code == 2 and "no folder of recordings" in result.stderr


def test_a_unique_beginning_of_an_id_is_enough(recordings: Path) -> None:
    assert run(export, recordings, "aaaab", "--format", "text").exit_code == 0


def test_an_ambiguous_id_is_refused_with_the_candidates(recordings: Path) -> None:
    result = run(export, recordings, "aaaa", "--format", "text")
    assert result.exit_code == 2 and FIRST in result.stderr and SECOND in result.stderr
    assert THIRD not in result.stderr


@pytest.mark.parametrize("name", ["nosuch", "../../etc/passwd", ""])
def test_an_unknown_id_is_exit_code_1(recordings: Path, name: str) -> None:
    result = run(export, recordings, name)
    assert result.exit_code in (1, 2) and result.stdout == ""
    if name:
        assert result.exit_code == 1

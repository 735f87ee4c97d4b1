"""The table of subcommands: each is there, and says what it is in the words of the table."""

from __future__ import annotations

import importlib

import click
import pytest
from click.testing import CliRunner

from bastion.cli.main import COMMANDS, cli


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_the_table_says(name: str) -> None:
    module, _, attribute = COMMANDS[name][0].partition(":")
    command = cli.get_command(click.Context(cli), name)
    assert command is getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command) and command.help


def test_help_lists_them_all() -> None:
    told = CliRunner().invoke(cli, ["--help"])
    assert told.exit_code == 0
    assert all(f"  {name} " in told.output and text in told.output for name, (_, text) in COMMANDS.items())


def test_no_other_is_there() -> None:
    assert CliRunner().invoke(cli, ["steal"]).exit_code == 2

"""What commands that need the network are given as `ctx.obj` (L4): the reactor, without importing it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bastion.cli.output import fail
from bastion.errors import ConfigError

if TYPE_CHECKING:  # `serve` begins here too, and its supervisor reads no rules
    from bastion.config.load import Config
    from bastion.policy.targets import Target

RunInReactor = Callable[[Callable[[Any], Any]], Any]
"""Calls what it is given with the process's reactor; returns what the Deferred fires with, or raises what it fails
with."""

config_option = click.option(
    "--config",
    "-c",
    "config_file",
    required=True,
    type=click.Path(path_type=Path),
    help="The configuration file.",
)


def load_or_fail(config_file: Path) -> Config:
    """The configuration, or exit 2 with every fault in it."""
    from bastion.config.load import load

    try:
        return load(config_file)
    except ConfigError as error:
        fail(str(error), 2)


def find_target(config: Config, name: str) -> Target:
    """The target called `name`, or exit 1."""
    target = config.inventory.find(name)
    if target is None:
        fail(f'no target is called "{name}" in {config.targets.file}', 1)
    return target

"""`bastion break-glass`: opening the accounts for emergencies, closing them, looking (L4)."""

from __future__ import annotations

from pathlib import Path

import click

from bastion.cli.control_client import ControlClient
from bastion.cli.output import fail, time_text, write_json
from bastion.cli.runtime import config_option
from bastion.control.codec import to_json
from bastion.control.glass import CloseGlass, Glass, GlassAsked, OpenGlass
from bastion.options.kinds import seconds_of
from bastion.wire.printable import printable

EXIT_CODES = "Exit 0: done; 1: it cannot be, or you may not; 2: the call is wrong; 3: no gateway answers."


@click.group("break-glass")
def break_glass() -> None:
    """Accounts for emergencies: docs/directory.md."""


@break_glass.command("open", epilog=EXIT_CODES)
@config_option
@click.option("--reason", required=True, help="It stands in the audit log.")
@click.option("--for", "how_long", required=True, metavar="1h", help="How long: 30m, 1h; a day at most.")
def open_glass(config_file: Path, reason: str, how_long: str) -> None:
    """Let the break-glass accounts log in while the directory works.

    Example: bastion break-glass open --config /etc/bastion/bastion.toml --reason INC-42 --for 1h
    """
    seconds = seconds_of(how_long)
    if seconds is None:
        fail(f"--for {how_long}: give a time such as 30m or 1h")
    with ControlClient(config_file) as client:
        _tell(client.ask(OpenGlass(reason, seconds)))


@break_glass.command("close", epilog=EXIT_CODES)
@config_option
def close_glass(config_file: Path) -> None:
    """Close what was opened. Sessions that run go on; nothing new opens.

    Example: bastion break-glass close --config /etc/bastion/bastion.toml
    """
    with ControlClient(config_file) as client:
        _tell(client.ask(CloseGlass()))


@break_glass.command(epilog=EXIT_CODES)
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def status(config_file: Path, as_json: bool) -> None:
    """Are they open, and whose are they?

    Example: bastion break-glass status --config /etc/bastion/bastion.toml
    """
    with ControlClient(config_file) as client:
        glass = client.ask(GlassAsked())
    if as_json:
        write_json(to_json(glass))
    else:
        _tell(glass)


def _tell(glass: Glass) -> None:
    if glass.until is not None:
        click.echo(
            f"open until {time_text(glass.until)}, by {printable(glass.opened_by)}: {printable(glass.reason)}"
        )
    elif glass.down:
        click.echo("open: no server of the directory answers")
    else:
        click.echo("closed")
    click.echo(f"accounts: {', '.join(glass.names) or 'none'}")

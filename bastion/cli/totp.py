"""`bastion totp`: second factors made, listed and taken away (L4)."""

from __future__ import annotations

from pathlib import Path

import click
import segno

from bastion.cli.control_client import ControlClient
from bastion.cli.output import time_text, write_json, write_table
from bastion.cli.runtime import config_option
from bastion.control.codec import to_json
from bastion.control.orders import EnrolTotp, InviteTotp, ResetTotp, TotpAsked

EXIT_CODES = "Exit 0: done; 1: it cannot be, or you may not; 2: the call is wrong; 3: no gateway answers."


@click.group()
def totp() -> None:
    """One-time codes as a second factor: docs/second-factors.md."""


@totp.command(epilog=EXIT_CODES)
@config_option
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, without a picture.")
def enroll(config_file: Path, name: str, as_json: bool) -> None:
    """Make a second factor for NAME and show it, this once: whoever it is scans the picture now.

    Example: bastion totp enroll --config /etc/bastion/bastion.toml alice
    """
    with ControlClient(config_file) as client:
        made = client.ask(EnrolTotp(name))
    if as_json:
        write_json(to_json(made))
        return
    click.echo(f"Second factor of {made.name}, shown this once. Scan it with an app for one-time codes:")
    segno.make(made.uri, error="m").terminal(compact=True)
    click.echo(f"or type it in: {made.uri}")
    click.echo("")
    click.echo("Recovery codes, each good once in the place of a code:")
    for code in made.recovery:
        click.echo(f"  {code}")


@totp.command(epilog=EXIT_CODES)
@config_option
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def invite(config_file: Path, name: str, as_json: bool) -> None:
    """Let NAME make a second factor of his own, with a code that is good once, until the end of tomorrow (UTC).

    It stands in for a one-time code: at the login, and where only a password was given. Then: ssh -t NAME@... totp

    Example: bastion totp invite --config /etc/bastion/bastion.toml alice
    """
    with ControlClient(config_file) as client:
        made = client.ask(InviteTotp(name))
    if as_json:
        write_json(to_json(made))
        return
    click.echo(
        f"{made.name} may make a second factor until {time_text(made.until)}, with this code, shown this once:"
    )
    click.echo(f"  {made.code}")
    click.echo(f"It is typed where a one-time code is asked for. Then: ssh -t {made.name}@... totp")


@totp.command(epilog=EXIT_CODES)
@config_option
@click.argument("name")
@click.option("--reason", required=True, help="It stands in the audit log.")
def reset(config_file: Path, name: str, reason: str) -> None:
    """Take away the second factor of NAME, with its recovery codes, and end what NAME has open. Not one's own.

    Example: bastion totp reset --config /etc/bastion/bastion.toml alice --reason "lost telephone"
    """
    with ControlClient(config_file) as client:
        gone = client.ask(ResetTotp(name, reason))
    locked = f"; certificates locked: {len(gone.certificates)}" if gone.certificates else ""
    click.echo(f"{name} has no second factor any more{locked}")


@totp.command("list", epilog=EXIT_CODES)
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def holders(config_file: Path, as_json: bool) -> None:
    """List who has a second factor.

    Example: bastion totp list --config /etc/bastion/bastion.toml
    """
    with ControlClient(config_file) as client:
        found = client.ask(TotpAsked()).holders
    if as_json:
        write_json({"holders": [to_json(one) for one in found]})
        return
    rows = [(one.name, time_text(one.made_at), one.made_by, str(one.recovery), one.uid) for one in found]
    write_table(("NAME", "SINCE", "BY", "RECOVERY", "ID"), rows, flexible=("BY", "ID"))

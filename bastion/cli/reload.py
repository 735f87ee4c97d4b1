"""`bastion reload`: the running gateway reads its configuration again, and says what came of it (L4)."""

from __future__ import annotations

from pathlib import Path

import click

from bastion.cli.control_client import ControlClient
from bastion.cli.output import fail, printable, write_json
from bastion.cli.runtime import config_option
from bastion.control.codec import to_json
from bastion.control.reloads import ReloadOrder


@click.command(epilog="Exit 0: taken; 1: refused, or you may not; 3: no gateway answers.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def reload(config_file: Path, as_json: bool) -> None:
    """Let the gateway read its configuration again, as SIGHUP does, and wait for what comes of it.

    What has changed is printed, or every fault. The audit log and `bastion policy versions` have who wanted it.

    Example: bastion reload --config /etc/bastion/bastion.toml
    """
    with ControlClient(config_file) as client:
        done = client.ask(ReloadOrder())
    if as_json:
        write_json(to_json(done))
        raise SystemExit(1 if done.result == "refused" else 0)
    if done.result == "refused":
        fail("not reloaded:\n" + "\n".join(map(printable, done.text.splitlines())), 1)
    for line in (*done.changed, *done.text.splitlines()):
        click.echo(printable(line))
    if done.restart:
        click.echo(f"a restart is needed for {printable(done.restart)}")
    click.echo("reloaded" if done.changed else "reloaded: nothing is different")

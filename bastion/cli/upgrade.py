"""`bastion upgrade`: another process takes over from the running one, and no session is cut (L4)."""

from __future__ import annotations

from pathlib import Path

import click

from bastion.cli.control_client import ControlClient
from bastion.cli.output import fail, printable, write_json
from bastion.cli.runtime import config_option
from bastion.control.codec import to_json
from bastion.control.orders import Upgrade


@click.command(epilog="Exit 0: done; 1: the old process goes on, or you may not; 3: no gateway answers.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def upgrade(config_file: Path, as_json: bool) -> None:
    """Hand over to the version that the gateway's own path leads to now, and read everything again.

    Sessions live on in the old process until they end. A new process that is not ready within 30 s, or fails, is
    ended, and the old one goes on: the operator's log says why. Back again is the same command.

    Example: ln -sfn 0.2.0 /opt/bastion/current && bastion upgrade --config /etc/bastion/bastion.toml
    """
    with ControlClient(config_file) as client:
        done = client.ask(Upgrade())
    if as_json:
        write_json(to_json(done))
        raise SystemExit(1 if done.fault else 0)
    if done.fault:
        fail(f"no handover: {printable(done.fault)}", 1)
    click.echo(f"version {printable(done.version)} serves, pid {done.pid}")

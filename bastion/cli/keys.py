"""`bastion keys`: what the gateway signs with: list it, rotate it, back it up (L4)."""

from __future__ import annotations

import click

from bastion.cli.key_backup import export_backup, import_backup
from bastion.cli.key_list import list_keys
from bastion.cli.key_rotation import retire, rotate


@click.group()
def keys() -> None:
    """List, rotate, retire and back up the keys that the gateway signs with.

    Host keys are called by their type (host_ed25519), the others by their section: upstream_ca, front_host_ca,
    login_ca, recording. What was done when is kept in the ledger, keys.toml beside the keys.
    """


for command in (list_keys, rotate, retire, export_backup, import_backup):
    keys.add_command(command)

"""`bastion target-config`: print what a target's sshd needs to work behind this gateway (L4)."""

from __future__ import annotations

import re

import click

from bastion.ca.ledger import KeyName
from bastion.cli.output import fail
from bastion.config.key_slots import load_staged, publics_of
from bastion.config.load import Config, load
from bastion.errors import ConfigError
from bastion.setup_texts.target import TargetFacts, target_script
from bastion.setup_texts.target import target_config as text_for

# "9.2", "OpenSSH_9.2p1 Debian-2+deb12u10", "10.0p2"
_VERSION = re.compile(r"(?:OpenSSH_)?([0-9]{1,3})\.([0-9]{1,3})(?:p[0-9]+)?(?:[ ,].*)?", re.ASCII)


@click.command("target-config")
@click.option("--config", "-c", "config_path", required=True, help="The configuration file.")
@click.option(
    "--sshd-version", default="", help="The target's OpenSSH version, as 9.2 or as ssh -V prints it."
)
@click.option(
    "--principals-file", default="", help="Use AuthorizedPrincipalsFile with this path, as the target does."
)
@click.option("--script", is_flag=True, help="As a shell script for root on the target.")
def target_config(config_path: str, sshd_version: str, principals_file: str, script: bool) -> None:
    """Print the upstream CA's public key and the sshd_config lines for targets.

    \b
    Exit codes: 0 done, 2 the call or a file is wrong.

    \b
    Examples:
      bastion target-config --config /etc/bastion/bastion.toml --sshd-version 9.2
      bastion target-config --config /etc/bastion/bastion.toml --script | ssh root@web1 sh
    """
    if principals_file and (not principals_file.startswith("/") or not principals_file.isprintable()):
        fail("--principals-file is an absolute path such as /etc/ssh/principals/%u")
    try:
        config = load(config_path)
        if config.upstream_ca.key is None:
            fail("no upstream CA is configured ([upstream_ca] key), so there is nothing for targets to trust")
        facts = facts_for_targets(config, _version(sshd_version), principals_file)
    except ConfigError as error:
        fail(str(error))
    click.echo(target_script(facts) if script else text_for(facts), nl=False)


def facts_for_targets(
    config: Config, version: tuple[int, int] | None = None, principals_file: str = ""
) -> TargetFacts:
    """What targets need to know of this gateway. Raises ConfigError."""
    keys = publics_of(load_staged(config, KeyName.UPSTREAM_CA))
    egress = tuple(str(network) for network in config.upstream_ca.egress)
    return TargetFacts(keys, egress, version, principals_file)


def _version(text: str) -> tuple[int, int] | None:
    """(9, 2); None when nothing was said."""
    if not text:
        return None
    found = _VERSION.fullmatch(text.strip())
    if found is None:
        fail("--sshd-version is a version such as 9.2")
    return int(found.group(1)), int(found.group(2))

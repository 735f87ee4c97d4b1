"""`bastion client-config`: print what engineers' clients need to use this gateway (L4)."""

from __future__ import annotations

import click

from bastion.auth.identity import LOGIN_NAME
from bastion.ca.ledger import KeyName
from bastion.cli.output import fail
from bastion.config.key_slots import load_staged, publics_of
from bastion.config.load import Config, load
from bastion.errors import ConfigError
from bastion.setup_texts.client import FORMS, target_facts, text_for
from bastion.setup_texts.facts import Certificates, ClientFacts
from bastion.setup_texts.sshfp import sshfp


@click.command("client-config")
@click.option("--config", "-c", "config_path", required=True, help="The configuration file.")
@click.option("--for", "form", type=click.Choice([*FORMS, "sshfp"]), default="openssh", show_default=True,
              help="The client; plain and dropbear: known_hosts without certificates; sshfp: DNS records.")  # fmt: skip
@click.option("--user", default="", help="The engineer's name on the gateway, to be written into the lines.")
def client_config(config_path: str, form: str, user: str) -> None:
    """Print host keys, host aliases and proxy settings for clients; the whole inventory.

    Engineers get the same for the targets that they may reach with `ssh bastion setup`.

    \b
    Exit codes: 0 done, 2 the call or a file is wrong.

    Example: bastion client-config --config /etc/bastion/bastion.toml --for putty --user alice
    """
    if user and not LOGIN_NAME.match(user):
        fail("--user is a name such as alice")
    try:
        facts = facts_for_clients(load(config_path), user)
    except ConfigError as error:
        fail(str(error))
    click.echo(sshfp(facts) if form == "sshfp" else text_for(facts, form), nl=False)


def facts_for_clients(config: Config, user: str = "") -> ClientFacts:
    """What clients need to know of this gateway. Raises ConfigError."""
    public = config.listen.public
    if public is None:
        problem = "set [listen] public to what engineers type"
        raise ConfigError(str(config.file), 0, "", problem, 'public = "bastion.example.com:22"')
    return ClientFacts(
        gateway=public.host,
        port=public.port,
        identity=user,
        targets=tuple(target_facts(target, _login(target.logins)) for target in config.inventory),
        host_keys=publics_of(load_staged(config, KeyName.HOST_KEYS)),
        authorities=publics_of(load_staged(config, KeyName.FRONT_HOST_CA)),
        certificates=_certificates(config),
    )


def _certificates(config: Config) -> Certificates | None:
    issue = config.issue
    if issue.key is None:
        return None
    return Certificates(int(issue.lifetime), any("certificate" in chain for chain in issue.require))


def _login(logins: tuple[str, ...]) -> str:
    """The one account of a target that has one."""
    return logins[0] if len(logins) == 1 else ""

"""`bastion client-config`: print what engineers' clients need to use this gateway (L4)."""

from __future__ import annotations

import click

from bastion.auth.identity import LOGIN_NAME
from bastion.ca.keys import load_private_key
from bastion.cli.output import fail
from bastion.config.load import load
from bastion.errors import ConfigError
from bastion.setup_texts.client import FORMS, target_facts, text_for
from bastion.setup_texts.facts import ClientFacts


@click.command("client-config")
@click.option("--config", "-c", "config_path", required=True, help="The configuration file.")
@click.option("--for", "form", type=click.Choice(list(FORMS)), default="openssh", show_default=True,
              help="The client; plain and dropbear: known_hosts lines without host certificates.")  # fmt: skip
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
        config = load(config_path)
        if config.listen.public is None:
            fail('set [listen] public to what engineers type, such as public = "bastion.example.com:22"')
        host_keys = tuple(load_private_key(file).public for file in config.host_keys.files)
        ca = config.front_host_ca.key
        authority = None if ca is None else load_private_key(ca).public
    except ConfigError as error:
        fail(str(error))
    facts = ClientFacts(
        gateway=config.listen.public.host,
        port=config.listen.public.port,
        identity=user,
        targets=tuple(target_facts(target, _login(target.logins)) for target in config.inventory),
        host_keys=host_keys,
        authority=authority,
    )
    click.echo(text_for(facts, form), nl=False)


def _login(logins: tuple[str, ...]) -> str:
    """The one account of a target that has one."""
    return logins[0] if len(logins) == 1 else ""

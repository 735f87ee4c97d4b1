"""`bastion console-token` (L4): API tokens of the review console, for whoever keeps the gateway."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bastion.assembly.building import build_directory
from bastion.auth.directory import OPERATOR
from bastion.auth.embedded import load_users
from bastion.auth.identity import Account
from bastion.cli.auditing import account, audited
from bastion.cli.output import fail, printable, time_text, write_json, write_table
from bastion.cli.runtime import config_option, load_or_fail
from bastion.cli.stores import open_state
from bastion.clock import SystemClock
from bastion.config.load import Config
from bastion.console.accounts import LABEL_MAX, SHORTEST, label_of
from bastion.console.routes import SCOPES
from bastion.console.signing_in import is_silent, roles_of
from bastion.console.tokens import make
from bastion.errors import ConfigError, Refused
from bastion.observe.events.console import ConsoleTokenMade, ConsoleTokenRevoked
from bastion.options.kinds import seconds_of, show_seconds
from bastion.state.console_tokens import MOST_OF_ONE, KeptToken, find, keep, listed, revoke

EXIT_CODES = (
    "Exit 0: done; 1: there is no such account or token; 2: the call or the configuration; "
    "3: the directory or the state store does not answer."
)


@click.group()
def console_token() -> None:
    """API tokens of the review console: docs/console.md."""


@console_token.command(epilog=EXIT_CODES)
@config_option
@click.argument("name")
@click.option("--label", required=True, help="What it is for.")
@click.option("--scope", required=True, help=f"What it may ask for, with commas: {', '.join(SCOPES)}.")
@click.option("--life", default="30d", show_default=True, help="How long it lives.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def add(run: Any, config_file: Path, name: str, label: str, scope: str, life: str, as_json: bool) -> None:
    """Make a token with the rights of NAME, and show it, this once.

    Example: bastion console-token add alice --label siem --scope sessions,search --config /etc/bastion/bastion.toml
    """
    config = load_or_fail(config_file)
    wanted, seconds = _scope(scope), seconds_of(life) or 0.0
    longest = config.console.token_lifetime
    if longest is None:
        fail("console.token_lifetime is off: the console takes no tokens")
    if not SHORTEST <= seconds <= longest:
        fail(f"--life is from {show_seconds(SHORTEST)} to {show_seconds(longest)}, such as 30d")
    words = label_of(label)
    if not words:
        fail(f"--label has 1 to {LABEL_MAX} characters")
    owner = _owner(run, config, name)
    now, (text, presented) = SystemClock().time(), make()
    token = KeptToken(presented.id, words, owner.uid, owner.name, wanted, now, account(), now + seconds)
    with open_state(config_file, of_console=True) as stored, audited(stored.audit) as audit:
        event = ConsoleTokenMade(token.id, owner.name, account(), words, wanted, token.ends_at)
        if not keep(stored.database, token, presented.digest, now, lambda: audit.emit(event)):
            fail(f"{owner.name} has {MOST_OF_ONE} tokens: take one away first", 1)
    if as_json:
        write_json({"id": token.id, "token": text, "ends_at": token.ends_at})
        return
    click.echo(f"API token of {owner.name} until {time_text(token.ends_at)}, shown this once:")
    click.echo(f"  {text}")


@console_token.command("list", epilog=EXIT_CODES)
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def show(config_file: Path, as_json: bool) -> None:
    """List everybody's tokens.

    Example: bastion console-token list --config /etc/bastion/bastion.toml
    """
    with open_state(config_file, of_console=True) as stored:
        found = listed(stored.database)
    if as_json:
        write_json([asdict(one) for one in found])
        return
    rows = [
        (
            one.id,
            one.name,
            printable(one.label),
            ",".join(one.scope),
            time_text(one.ends_at),
            _time(one.used_at),
        )
        for one in found
    ]
    write_table(("ID", "OF", "FOR", "SCOPE", "ENDS", "USED"), rows, flexible=("FOR", "SCOPE"))


@console_token.command("revoke", epilog=EXIT_CODES)
@config_option
@click.argument("token")
def take_away(config_file: Path, token: str) -> None:
    """Take away the token with the id TOKEN: it counts for nothing at once.

    Example: bastion console-token revoke k3jq5v7xw2ab --config /etc/bastion/bastion.toml
    """
    with open_state(config_file, of_console=True) as stored, audited(stored.audit) as audit:
        found = find(stored.database, token)
        if found is None:
            fail(f"there is no token {token}", 1)
        audit.emit(ConsoleTokenRevoked(found.id, found.name, account()))
        revoke(stored.database, found.id)
    click.echo(f"{found.id} of {found.name} is taken away")


def _time(moment: float | None) -> str:
    return "never" if moment is None else time_text(moment)


def _scope(text: str) -> tuple[str, ...]:
    wanted = {part.strip() for part in text.split(",")}
    if not wanted <= set(SCOPES):
        fail(f"--scope has an unknown word: it takes {', '.join(SCOPES)}")
    return tuple(name for name in SCOPES if name in wanted)


def _owner(run: Any, config: Config, name: str) -> Account:
    """The account, which has a role in the console. Ends the command otherwise."""
    try:
        users = load_users(config.directory.embedded) if config.directory.embedded is not None else None
    except ConfigError as error:
        fail(str(error))

    def find_account(reactor: Any) -> Any:
        directory = build_directory(config, users, reactor, SystemClock(), None)

        def close(result: Any) -> Any:
            directory.close()
            return result

        asked: Any = directory.lookup(name, OPERATOR)
        return asked.addBoth(close)

    try:
        found: Account = run(find_account)
    except Refused as refused:
        fail(f"{printable(name)}: {refused.text}", 3 if is_silent(refused) else 1)
    if found.service is not None or found.only_targets or not roles_of(found.groups, config.console.groups):
        fail(f"{found.name} has no role in the console", 1)
    return found

"""`bastion access`: who can reach what, and by which rule, as a list for a review (L4)."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import click

from bastion.auth.embedded import load_users
from bastion.auth.identity import LOGIN_NAME, Account
from bastion.cli.output import fail, write_json, write_table
from bastion.cli.runtime import RunInReactor, config_option, find_target, load_or_fail
from bastion.cli.why import account_of
from bastion.config.load import Config
from bastion.errors import ConfigError
from bastion.policy.access import Access, of_target, of_user

HEADINGS = ("WHO", "TARGET", "LOGIN", "VERBS", "RULE", "CONDITIONS")
EXIT_CODES = (
    "Exit 0: listed; 1: no such user or target; 2: the call or a file is wrong; 3: no answer from LDAP."
)


@click.command(epilog=EXIT_CODES)
@config_option
@click.option("--target", help="Everybody who can reach this target.")
@click.option("--user", help="All that this user can reach.")
@click.option("--groups", help="Groups of the user, separated by commas, instead of asking the directory.")
@click.option(
    "--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True
)
@click.pass_obj
def access(
    run: RunInReactor | None,
    config_file: Path,
    target: str | None,
    user: str | None,
    groups: str | None,
    form: str,
) -> None:
    """List who can reach what: one line for each account that a rule gives, and under which conditions.

    With --target, users of the embedded directory are named one by one; members of other groups are the
    directory's to list, so these stand there as groups. Whether somebody may now is what `bastion why` says.

    Example: bastion access --target web1 --format csv --config /etc/bastion/bastion.toml
    """
    if (target is None) == (user is None):
        fail("say either --target or --user")
    config = load_or_fail(config_file)
    if target is not None:
        try:
            known = embedded_accounts(config)
        except ConfigError as error:
            fail(str(error))
        rows = of_target(config.rules, find_target(config, target), known)
    else:
        assert user is not None
        if not LOGIN_NAME.match(user):
            fail(f"{user!r} is not a user name: lower-case letters, digits and . _ -")
        rows = of_user(config.rules, config.inventory, account_of(config, user, groups, run))
    _write(list(rows), form)


def embedded_accounts(config: Config) -> list[Account]:
    """Whom the embedded directory has: they are named one by one. Raises ConfigError."""
    embedded = config.directory.embedded
    return [] if embedded is None else [entry.account() for entry in load_users(embedded).values()]


def document_of(row: Access) -> dict[str, Any]:
    """One line as JSON values."""
    return {
        "who": row.who,
        "target": row.target,
        "login": row.login,
        "verbs": list(row.verbs),
        "rule": row.rule,
        "origin": row.origin,
        "conditions": list(row.conditions),
    }


def _write(rows: list[Access], form: str) -> None:
    if form == "json":
        write_json([document_of(row) for row in rows])
        return
    cells = [
        (row.who, row.target, row.login, " ".join(row.verbs), row.rule, "; ".join(row.conditions))
        for row in rows
    ]
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([heading.lower() for heading in HEADINGS])
        writer.writerows([_harmless(cell) for cell in row] for row in cells)
    else:
        write_table(HEADINGS, cells, flexible=("VERBS", "CONDITIONS"))


def _harmless(cell: str) -> str:
    """A spreadsheet takes a cell that begins like this for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell

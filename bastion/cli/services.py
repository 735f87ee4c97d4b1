"""`bastion services`: the accounts of programs, who answers for them, and which end soon (L4)."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from bastion.auth.embedded import UserEntry, load_users
from bastion.cli.output import fail, write_json, write_table
from bastion.cli.runtime import config_option, load_or_fail
from bastion.clock import SystemClock
from bastion.errors import ConfigError
from bastion.options.kinds import seconds_of
from bastion.policy.rules import Policy

JSON = dict[str, Any]
EXIT_CODES = "Exit 0: listed; 1: with --expiring, some end that soon; 2: the call or a file is wrong."


@click.command(epilog=EXIT_CODES)
@config_option
@click.option("--expiring", metavar="DURATION", help="Only those that end within this time, such as 30d.")
@click.option("--json", "as_json", is_flag=True, help="Write the list as one JSON document.")
def services(config_file: Path, expiring: str | None, as_json: bool) -> None:
    """List service accounts: owner, end, where they may come from, and the rules that name them.

    With --expiring the exit code says whether there are any, for a job that reminds their owners.

    Example: bastion services --expiring 30d --config /etc/bastion/bastion.toml
    """
    within = None if expiring is None else seconds_of(expiring)
    if expiring is not None and within is None:
        fail(f"{expiring!r} is not a duration: such as 30d or 12h")
    config = load_or_fail(config_file)
    try:
        users = load_users(config.directory.embedded) if config.directory.embedded is not None else {}
    except ConfigError as error:
        fail(str(error))
    now = SystemClock().time()
    found = [user for user in users.values() if user.kind == "service" and user.expires is not None]
    found.sort(key=lambda user: (user.expires, user.name))
    if within is not None:
        found = [user for user in found if user.expires is not None and user.expires < now + within]
    rows = [_row(user, config.rules, now) for user in found]
    if as_json:
        write_json(rows)
    else:
        write_table(
            ("NAME", "OWNER", "EXPIRES", "STATE", "FROM", "RULES"),
            [
                (
                    str(row["name"]),
                    str(row["owner"]),
                    str(row["expires"]),
                    str(row["state"]),
                    " ".join(row["sources"]),
                    " ".join(row["rules"]),
                )
                for row in rows
            ],
            flexible=("FROM", "RULES"),
        )
    sys.exit(1 if within is not None and rows else 0)


def _row(user: UserEntry, policy: Policy, now: float) -> JSON:
    assert user.expires is not None
    ended = user.expires <= now
    return {
        "name": user.name,
        "owner": user.owner,
        "expires": datetime.fromtimestamp(user.expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "state": "disabled" if user.disabled else "expired" if ended else "active",
        "sources": [str(network) for network in user.sources],
        "keys": [key.key.fingerprint() for key in user.keys],
        "rules": [rule.name for rule in policy.rules if user.name in rule.users],
    }

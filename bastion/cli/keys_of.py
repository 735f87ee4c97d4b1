"""`bastion keys-of`: what somebody may log in with (L4)."""

from __future__ import annotations

from pathlib import Path

import click

from bastion.cli.control_client import ControlClient
from bastion.cli.output import colour, fail, printable, time_text, write_json, write_table
from bastion.cli.runtime import config_option
from bastion.clock import SystemClock
from bastion.control.codec import to_json
from bastion.control.orders import HeldKey, KeysOfAsked
from bastion.options.kinds import seconds_of, show_seconds

HEADINGS = ("WHAT", "FROM", "KEY", "TYPE", "FIRST USED", "LAST USED", "SESSIONS", "UNTIL", "OPTIONS")


@click.command(
    "keys-of",
    epilog="Exit 0: done; 1: --older-than found some, or there is no such account; 2: the call is wrong; 3: no gateway"
    " answers.",
)
@config_option
@click.argument("name")
@click.option(
    "--older-than", "age", metavar="TIME", default="", help="Only keys first used longer ago, such as 365d."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def keys_of(config_file: Path, name: str, age: str, as_json: bool) -> None:
    """List the keys and certificates that NAME may log in with, where each comes from, and when it was used.

    What is known of use are the sessions in the state store. A key that is used and stands in no account is that of a
    certificate of your own CA, or was taken away since.

    Example: bastion keys-of --config /etc/bastion/bastion.toml alice --older-than 365d
    """
    seconds = seconds_of(age) if age else None
    if age and seconds is None:
        fail("--older-than is a time such as 365d")
    with ControlClient(config_file) as client:
        found = client.ask(KeysOfAsked(name))
    now = SystemClock().time()
    keys = [one for one in found.keys if seconds is None or _is_older(one, now - seconds)]
    if as_json:
        write_json({"name": found.name, "uid": found.uid, "keys": [to_json(one) for one in keys]})
    else:
        write_table(HEADINGS, [_cells(one) for one in keys], flexible=("KEY", "OPTIONS"))
        old = [one.key for one in keys if found.key_age and _is_older(one, now - found.key_age)]
        if old:
            text = f"older than {show_seconds(found.key_age)} (login.key_age): {', '.join(old)}"
            click.echo(colour(printable(text), "yellow"))
    if keys and seconds is not None:
        raise SystemExit(1)


def _is_older(one: HeldKey, moment: float) -> bool:
    return one.kind != "certificate" and one.first_used is not None and one.first_used < moment


def _cells(one: HeldKey) -> tuple[str, ...]:
    kind = f"{one.type} {one.bits}" if one.bits else one.type
    moments = ("" if at is None else time_text(at) for at in (one.first_used, one.last_used))
    until = "" if one.ends_at is None else time_text(one.ends_at)
    return (one.kind, one.source, one.key, kind, *moments, str(one.sessions), until, one.options)

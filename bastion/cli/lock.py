"""`bastion lock`, `locks` and `unlock`: taking somebody or something out of service (L4)."""

from __future__ import annotations

from pathlib import Path

import click

from bastion.cli.control_client import ControlClient
from bastion.cli.live import count
from bastion.cli.output import fail, time_text, write_json, write_table
from bastion.cli.runtime import config_option
from bastion.control.codec import to_json
from bastion.control.orders import AddLock, LocksAsked, RemoveLock
from bastion.options.kinds import seconds_of
from bastion.policy.locks import Lock, LockKind

KINDS = ", ".join(LockKind)
EXIT_CODES = "Exit 0: done; 1: not locked, or you may not; 2: the call is wrong; 3: no gateway answers."


def kind_and_name(words: tuple[str, ...]) -> tuple[LockKind | None, str]:
    """`alice` or `user alice`."""
    if len(words) == 1:
        return None, words[0]
    if len(words) != 2 or words[0] not in {str(kind) for kind in LockKind}:
        fail(f"give a name, or what it is and a name: [{'|'.join(LockKind)}] NAME")
    return LockKind(words[0]), words[1]


@click.command(epilog=EXIT_CODES)
@config_option
@click.argument("what", nargs=-1, required=True, metavar="[user|target|certificate|source] NAME")
@click.option("--reason", required=True, help="Engineers read it, and it stands in the audit log.")
@click.option("--for", "how_long", metavar="24h", help="How long: 30m, 24h, 7d. Else until it is unlocked.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def lock(config_file: Path, what: tuple[str, ...], reason: str, how_long: str | None, as_json: bool) -> None:
    """Lock a user, target, certificate or source: what runs ends, and nothing new begins.

    NAME alone is a user: the account that has the name now, whatever it is called later. A certificate is its key id,
    SERIAL@SHA256:... with the fingerprint of its CA, or the SHA256:... of the key in it or of a plain key. A source is
    an address or a network.

    Example: bastion lock --config /etc/bastion/bastion.toml alice --reason "stolen laptop" --for 24h
    """
    kind, name = kind_and_name(what)
    seconds = None if how_long is None else seconds_of(how_long)
    if how_long is not None and seconds is None:
        fail(f"--for {how_long}: give a time such as 30m, 24h or 7d")
    with ControlClient(config_file) as client:
        ended = client.ask(AddLock(kind or LockKind.USER, name, reason, seconds))
    if as_json:
        write_json(to_json(ended))
        return
    click.echo(
        f"locked {kind or LockKind.USER} {name}; ended: {count(ended.sessions, 'session')}, "
        f"{count(ended.tunnels, 'tunnel')}, {count(ended.connections, 'connection')}"
    )
    if ended.on_name:
        click.echo(f"The lock is on the name {name} and on no account's id: {ended.on_name}.")


@click.command(epilog=EXIT_CODES)
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def locks(config_file: Path, as_json: bool) -> None:
    """List what is locked.

    Example: bastion locks --config /etc/bastion/bastion.toml
    """
    with ControlClient(config_file) as client:
        found = client.ask(LocksAsked()).locks
    if as_json:
        write_json({"locks": [to_json(one) for one in found]})
        return
    columns = ("KIND", "NAME", "ID", "UNTIL", "BY", "SINCE", "REASON")
    write_table(columns, [_cells(one) for one in found], flexible=("NAME", "ID", "REASON", "BY"))


def _cells(one: Lock) -> tuple[str, ...]:
    until = "unlocked" if one.until is None else time_text(one.until)
    return one.kind, one.value, one.uid, until, one.made_by, time_text(one.made_at), one.reason


@click.command(epilog=EXIT_CODES)
@config_option
@click.argument("what", nargs=-1, required=True, metavar="[user|target|certificate|source] NAME")
@click.option("--reason", default="", help="It stands in the audit log.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def unlock(config_file: Path, what: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Take a lock away. NAME alone is whatever is locked under that name.

    Example: bastion unlock --config /etc/bastion/bastion.toml alice
    """
    kind, name = kind_and_name(what)
    with ControlClient(config_file) as client:
        answer = client.ask(RemoveLock(name, kind, reason))
    (gone,) = answer.locks
    for node in answer.silent:
        click.echo(f"bastion: {node} gives no answer: it is unlocked there when it reads the store", err=True)
    if as_json:
        write_json(to_json(gone))
    else:
        click.echo(f"unlocked {gone.kind} {gone.value}")

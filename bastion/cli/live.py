"""`bastion live` and `bastion kill`: who is here, and ending it (L4)."""

from __future__ import annotations

from pathlib import Path

import click

from bastion.cli.control_client import ControlClient
from bastion.cli.output import duration_text, fail, size_text, write_json, write_table
from bastion.cli.runtime import config_option
from bastion.clock import SystemClock
from bastion.control.codec import to_json
from bastion.control.node import Kill, Live, LiveAsked, LiveRow, Selection

COLUMNS = ("ID", "KIND", "USER", "TARGET", "LOGIN", "DOOR", "SOURCE", "FOR", "IN", "OUT", "WATCHED")


@click.command(epilog="Exit 0: shown, also when nobody is here; 2: the call is wrong; 3: no gateway answers.")
@config_option
@click.option("--user", default="", help="Of this engineer only.")
@click.option("--target", default="", help="To this target, or this host of a tunnel, only.")
@click.option(
    "--all", "everything", is_flag=True, help="Engineers' connections too, not only what is in them."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def live(config_file: Path, user: str, target: str, everything: bool, as_json: bool) -> None:
    """List the sessions and tunnels that are open now.

    Example: bastion live --config /etc/bastion/bastion.toml --user alice
    """
    with ControlClient(config_file) as client:
        found = client.ask(LiveAsked(Selection(user=user, target=target, everything=True)))
    rows = [row for row in found.rows if everything or row.kind != "connection"]
    if as_json:
        write_json({"live": [to_json(row) for row in rows], "silent": list(found.silent)})
        return
    now = SystemClock().time()
    cells = [_cells(row, now) for row in rows]
    write_table(
        COLUMNS, cells, right=("FOR", "IN", "OUT"), flexible=("USER", "TARGET", "LOGIN", "SOURCE", "ID")
    )
    warn_of_silent(found)


def warn_of_silent(found: Live) -> None:
    """What could not be asked is not shown."""
    for node in found.silent:
        click.echo(f"bastion: {node} gives no answer: what runs there is not shown", err=True)


def _cells(row: LiveRow, now: float) -> tuple[str, ...]:
    return (
        row.id,
        row.kind,
        row.user,
        row.target,
        row.login,
        row.door,
        row.source,
        duration_text(now - row.started_at),
        size_text(row.bytes_in),
        size_text(row.bytes_out),
        str(row.watchers) if row.watchers else "",
    )


def find_one(client: ControlClient, text: str) -> LiveRow:
    """What is open under the id `text`, or the only one whose id begins so. Ends the command when there is none."""
    found = client.ask(LiveAsked())
    warn_of_silent(found)
    rows = found.rows
    for row in rows:
        if row.id == text:
            return row
    # A tunnel's id begins with that of its connection, and is never meant by a beginning of it.
    matching = [row for row in rows if row.id.startswith(text) and ("." in text or "." not in row.id)]
    if not matching:
        fail(f"nothing that is open is called {text}: see bastion live --all", 1)
    if len(matching) > 1:
        fail(f"{text} is the beginning of several: {', '.join(row.id for row in matching[:5])}", 2)
    return matching[0]


@click.command(
    epilog="Exit 0: ended; 1: nothing fits, or you may not; 2: the call is wrong; 3: no gateway answers."
)
@config_option
@click.argument("session", required=False)
@click.option("--user", default="", help="Everything of this engineer, connections too.")
@click.option("--target", default="", help="Every session on this target, and tunnels to it.")
@click.option("--all", "everything", is_flag=True, help="Everything.")
@click.option("--reason", required=True, help="Engineers read it, and it stands in the audit log.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def kill(
    config_file: Path,
    session: str | None,
    user: str,
    target: str,
    everything: bool,
    reason: str,
    as_json: bool,
) -> None:
    """End SESSION, or what the options name, within a second.

    SESSION is the id of a session, tunnel or connection as `bastion live --all` shows it, or a beginning of it.
    Whoever is there may come back at once: `bastion lock` keeps them out.

    Example: bastion kill --config /etc/bastion/bastion.toml --user alice --reason "stolen laptop"
    """
    ways = [bool(session), bool(user), bool(target), everything]
    if not any(ways):
        fail("name what to end: SESSION, --user, --target or --all")
    if sum(ways) > 1 and not (user and target and sum(ways) == 2):
        fail("name one thing to end: SESSION, --user, --target, both of these, or --all")
    with ControlClient(config_file) as client:
        selection = Selection(user=user, target=target, everything=everything)
        if session:
            selection = Selection(id=find_one(client, session).id)
        ended = client.ask(Kill(selection, reason))
    if as_json:
        write_json(to_json(ended))
    else:
        click.echo(f"ended: {count(ended.sessions, 'session')}, {count(ended.tunnels, 'tunnel')}, "
                   f"{count(ended.connections, 'connection')}")  # fmt: skip


def count(number: int, what: str) -> str:
    """`1 session`, `2 sessions`."""
    return f"{number} {what}{'' if number == 1 else 's'}"

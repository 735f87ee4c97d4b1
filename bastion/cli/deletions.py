"""`bastion deletions`: recordings that two people want gone (L4)."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bastion.cli.control_client import ControlClient
from bastion.cli.output import printable, time_text, write_json, write_table
from bastion.cli.runtime import config_option
from bastion.control.codec import to_json
from bastion.control.deletion import AnswerDeletion, AskDeletion, DeletionRow, DeletionsAsked

EXIT_CODES = "Exit 0: done; 1: it cannot be, or you may not; 2: the call is wrong; 3: no gateway answers."
COLUMNS = ("ID", "STATE", "SESSION", "ASKED BY", "ASKED", "ANSWERED BY", "REASON")


@click.group()
def deletions() -> None:
    """Recordings that one admin of the console asks to delete and another agrees to: docs/retention.md."""


@deletions.command("list", epilog=EXIT_CODES)
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def listing(config_file: Path, as_json: bool) -> None:
    """List what somebody wants deleted, the newest first, what is over too.

    Example: bastion deletions list --config /etc/bastion/bastion.toml
    """
    with ControlClient(config_file) as client:
        found = client.ask(DeletionsAsked()).deletions
    if as_json:
        write_json({"deletions": [to_json(one) for one in found]})
    else:
        write_table(COLUMNS, [_cells(one) for one in found], flexible=("STATE", "REASON"))


def _cells(one: DeletionRow) -> tuple[str, ...]:
    state = f"{one.state} ({one.outcome})" if one.outcome else one.state
    asked = time_text(one.asked_at)
    return one.id, printable(state), one.session, one.asked_by, asked, one.answered_by, printable(one.reason)


@deletions.command(epilog=EXIT_CODES)
@config_option
@click.argument("session")
@click.option("--reason", required=True, help="It stands in the audit log and in the list.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def ask(config_file: Path, session: str, reason: str, as_json: bool) -> None:
    """Ask that the recording of SESSION (an id or its beginning) be deleted, as the identity of the directory that has
    the name of your account here. Somebody else has to agree within seven days.

    You are asked for a one-time code of that identity; standard input is read when it is no terminal.

    Example: bastion deletions ask 7f3k2a --reason "a password was shown" --config /etc/bastion/bastion.toml
    """
    with ControlClient(config_file) as client:
        done = client.ask(AskDeletion(session, reason, _code()))
    _told(done, as_json, "somebody else has to agree: bastion deletions agree")


@deletions.command(epilog=EXIT_CODES)
@config_option
@click.argument("deletion")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def agree(config_file: Path, deletion: str, as_json: bool) -> None:
    """Agree to DELETION. Who may, and how you prove who you are, is as for `ask`.

    Example: bastion deletions agree k3v2m5q7p2aaaaaa --config /etc/bastion/bastion.toml
    """
    with ControlClient(config_file) as client:
        done = client.ask(AnswerDeletion(deletion, True, _code()))
    _told(done, as_json, "the next `bastion prune --yes` removes it")


@deletions.command(epilog=EXIT_CODES)
@config_option
@click.argument("deletion")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def keep(config_file: Path, deletion: str, as_json: bool) -> None:
    """Say no to DELETION, or take it back, as long as nothing was removed.

    Example: bastion deletions keep k3v2m5q7p2aaaaaa --config /etc/bastion/bastion.toml
    """
    with ControlClient(config_file) as client:
        done = client.ask(AnswerDeletion(deletion, False, _code()))
    _told(done, as_json, "the recording stays")


def _code() -> str:
    asked = sys.stdin.isatty()
    code = click.prompt("One-time code", hide_input=True) if asked else sys.stdin.readline(64)
    return str(code).strip()


def _told(done: DeletionRow, as_json: bool, what: str) -> None:
    if as_json:
        write_json(to_json(done))
    else:
        click.echo(f"deletion {done.id} of {done.session} {done.state}; {what}")

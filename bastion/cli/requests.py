"""`bastion requests`, `approve` and `deny`: somebody else's word for a session (L4)."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bastion.cli.control_client import ControlClient
from bastion.cli.output import time_text, write_json, write_table
from bastion.cli.runtime import config_option
from bastion.control.approvals import AnswerRequest, ApprovalRow, ApprovalsAsked
from bastion.control.codec import to_json

EXIT_CODES = "Exit 0: done; 1: it cannot be, or you may not; 2: the call is wrong; 3: no gateway answers."
COLUMNS = ("ID", "STATE", "WHO", "TARGET", "SOURCE", "UNTIL", "APPROVERS", "REASON")


@click.command(epilog=EXIT_CODES)
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def requests(config_file: Path, as_json: bool) -> None:
    """List what waits for an approval, and what was approved and not used yet.

    Example: bastion requests --config /etc/bastion/bastion.toml
    """
    with ControlClient(config_file) as client:
        found = client.ask(ApprovalsAsked()).requests
    if as_json:
        write_json({"requests": [to_json(one) for one in found]})
    else:
        write_table(COLUMNS, [_cells(one) for one in found], flexible=("APPROVERS", "REASON"))


def _cells(one: ApprovalRow) -> tuple[str, ...]:
    place, until = f"{one.login}@{one.target}", time_text(one.expires_at)
    return one.id, one.state, one.user, place, one.source, until, one.approvers, one.why


@click.command(epilog=EXIT_CODES)
@config_option
@click.argument("request")
@click.option("--reason", default="", help="It stands in the audit log and in the recording.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def approve(config_file: Path, request: str, reason: str, as_json: bool) -> None:
    """Approve REQUEST, as the identity of the directory that has the name of your account here.

    You are asked for a one-time code of that identity; standard input is read when it is no terminal.

    Example: bastion approve --config /etc/bastion/bastion.toml k3v2m5q7p2
    """
    _answer(config_file, request, True, reason, as_json)


@click.command(epilog=EXIT_CODES)
@config_option
@click.argument("request")
@click.option("--reason", default="", help="The engineer reads it, and it stands in the audit log.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def deny(config_file: Path, request: str, reason: str, as_json: bool) -> None:
    """Deny REQUEST. Who may, and how you prove who you are, is as for `approve`.

    Example: bastion deny --config /etc/bastion/bastion.toml k3v2m5q7p2 --reason "not during the freeze"
    """
    _answer(config_file, request, False, reason, as_json)


def _answer(config_file: Path, request: str, yes: bool, reason: str, as_json: bool) -> None:
    with ControlClient(config_file) as client:
        asked = sys.stdin.isatty()
        code = click.prompt("One-time code", hide_input=True) if asked else sys.stdin.readline(64)
        done = client.ask(AnswerRequest(request, yes, reason, str(code).strip()))
    if as_json:
        write_json(to_json(done))
        return
    text = f"request {done.id} {done.state}: {done.user} on {done.target} as {done.login}"
    click.echo(f"{text}, for one session until {time_text(done.expires_at)}" if yes else text)

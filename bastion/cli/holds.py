"""`bastion hold` and `bastion unhold`: recordings that nothing may delete (L4)."""

from __future__ import annotations

from pathlib import Path

import click

from bastion.cli.auditing import account, audited
from bastion.cli.output import fail, printable, time_text, write_json, write_table
from bastion.cli.runtime import config_option
from bastion.cli.stores import Stored, open_state
from bastion.clock import SystemClock
from bastion.observe.events import About
from bastion.observe.events.retention import HoldPlaced, HoldRemoved
from bastion.recording.format import REF_LENGTH
from bastion.state.index import sessions_beginning
from bastion.state.pruning import Hold, holds
from bastion.state.pruning import hold as hold_in
from bastion.state.pruning import unhold as unhold_in

EXIT_CODES = (
    "Exit codes: 0 done; 1 there is no such session, or nothing held it; 2 the call or a file is wrong; "
    "3 the state store cannot be used."
)
REASON_MAX = 500


@click.command(epilog=EXIT_CODES)
@config_option
@click.option("--reason", metavar="TEXT", help="Why: it stands in the audit log and in the list.")
@click.option("--json", "as_json", is_flag=True, help="The list as one JSON array.")
@click.argument("session", required=False)
def hold(config_file: Path, reason: str | None, as_json: bool, session: str | None) -> None:
    """Keep the recording of SESSION (an id or its beginning) whatever the rules say; without one, list what is held.

    Example: bastion hold 7f3k2a --reason "case 2026-114" --config /etc/bastion/bastion.toml
    """
    with open_state(config_file) as stored:
        if session is None:
            _list(stored, as_json)
            return
        words = _reason(reason)
        found = _one(stored, session)
        one = Hold(found, words, account(), SystemClock().time())
        with audited(stored.audit) as audit:
            placed = HoldPlaced(one.made_by, words)
            if not hold_in(stored.database, one, lambda: audit.emit(placed, _about(found))):
                fail(f"the recording of {found} was deleted already", 1)
    click.echo(f"{found} is held")


@click.command(epilog=EXIT_CODES)
@config_option
@click.option("--reason", metavar="TEXT", help="Why: it stands in the audit log.")
@click.argument("session")
def unhold(config_file: Path, reason: str | None, session: str) -> None:
    """Hold the recording of SESSION no longer: the rules of retention apply to it again.

    Example: bastion unhold 7f3k2a --reason "case closed" --config /etc/bastion/bastion.toml
    """
    with open_state(config_file) as stored:
        words = _reason(reason)
        held = [name for name in holds(stored.database) if name.startswith(session.strip().lower())]
        if len(held) != 1:
            fail(f"{session} means {len(held)} held recordings" if held else f"nothing holds {session}", 1)
        with audited(stored.audit) as audit:
            removed = HoldRemoved(account(), words)
            if not unhold_in(stored.database, held[0], lambda: audit.emit(removed, _about(held[0]))):
                fail(f"nothing holds {session}", 1)
    click.echo(f"{held[0]} is held no longer")


def _reason(text: str | None) -> str:
    words = (text or "").strip()
    if not words:
        fail('--reason "..." is required: it stands in the audit log')
    if len(words) > REASON_MAX:
        fail(f"--reason has more than {REASON_MAX} characters")
    return words


def _one(stored: Stored, prefix: str) -> str:
    """The one session whose id begins so, in the index or in the folder."""
    wanted = prefix.strip().lower()
    found = set(sessions_beginning(stored.database, wanted))
    found.update(entry.path.stem for entry in stored.recordings.find(wanted))
    if len(found) != 1:
        fail(f"{prefix} means {len(found)} sessions" if found else f"no session {prefix}", 1)
    return found.pop()


def _about(session: str) -> About:
    return About(session, session[:REF_LENGTH])


def _list(stored: Stored, as_json: bool) -> None:
    found = sorted(holds(stored.database).values(), key=lambda one: one.made_at)
    if as_json:
        write_json(
            [
                {"session": one.session, "reason": one.reason, "by": one.made_by, "since": one.made_at}
                for one in found
            ]
        )
        return
    write_table(
        ("ID", "SINCE", "BY", "REASON"),
        [(one.session, time_text(one.made_at), one.made_by, printable(one.reason)) for one in found],
        flexible=("REASON",),
    )

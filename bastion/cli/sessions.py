"""`bastion sessions`: who was where, from the heads and tails of the recordings (L4)."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from bastion.cli.indexed import from_index, indexed_document, indexed_row
from bastion.cli.output import duration_text, fail, size_text, time_text, write_json, write_table
from bastion.cli.ran import Look
from bastion.cli.recordings import open_store, recordings_options, tell_unreadable
from bastion.clock import SystemClock
from bastion.recording.format import LAST_TIME
from bastion.recording.listing import SessionEntry

_AGO = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_HEADINGS = ("ID", "STARTED", "WHO", "TARGET", "DURATION", "BYTES", "STATE", "RAN")
_COLOURS = {"STATE": {"live": "green", "truncated": "yellow", "damaged": "red"}}


EXIT_CODES = (
    "Exit codes: 0 listed; 1 listed, but for files or folders that are named on standard error; "
    "2 the call or a file is wrong."
)


@click.command(epilog=EXIT_CODES)
@recordings_options
@click.option("--user", metavar="NAME", help="Only sessions of this identity.")
@click.option("--target", metavar="NAME", help="Only sessions to this target.")
@click.option(
    "--since", metavar="WHEN", help="Only sessions started since: 2h, 7d, 2026-11-23, 2026-11-23T10:00."
)
@click.option("--live", is_flag=True, help="Only sessions that are running.")
@click.option("--tunnels", is_flag=True, help="Tunnels too, which have no recording; from the index alone.")
@click.option("--json", "as_json", is_flag=True, help="All that the headers say, as one JSON array.")
def sessions(
    config: Path | None,
    recordings: Path | None,
    user: str | None,
    target: str | None,
    since: str | None,
    live: bool,
    tunnels: bool,
    as_json: bool,
) -> None:
    """List recorded and live sessions, newest first.

    RAN is what was asked of each channel, and how it ended. State: live (being recorded), ended, truncated (its
    gateway died; it plays up to there), damaged; from the index also deleted and missing. With --config the list comes
    from the index of the state store and from what that does not know; with --recordings from the files alone, and a
    damaged file is named on standard error too.

    Example: bastion sessions --config /etc/bastion/bastion.toml --since 7d --user alice
    """
    store = open_store(config, recordings)
    now = SystemClock().time()
    start = None if since is None else parse_since(since, now)
    passed_over: list[Path] = []

    def note(path: Path, problem: str) -> None:
        passed_over.append(path)
        tell_unreadable(path, problem)

    def told(entries: Iterator[SessionEntry]) -> Iterator[SessionEntry]:
        for entry in entries:
            if entry.state == "damaged":
                note(entry.path, entry.problem)
            yield entry

    wanted = (start, user or "", target or "", tunnels)
    rows = from_index(None if recordings else config, store, wanted, now, as_json, note)
    look, shown = Look(store), list[Any]()
    if rows is not None:
        found = (one for one in rows if not live or one.state == "live")
        shown = [indexed_document(one, look) if as_json else indexed_row(one, look) for one in found]
    else:
        chosen = _matching(told(store.sessions(start, note)), user, target, live)
        shown = [document(entry, look) if as_json else _row(entry, look) for entry in chosen]
    if as_json:
        write_json(shown)
    else:
        _write_rows(shown)
    look.tell()
    if passed_over:
        sys.exit(1)


def _write_rows(rows: list[Any]) -> None:
    flexible = ("WHO", "TARGET", "RAN")
    write_table(_HEADINGS, rows, right=("DURATION", "BYTES"), flexible=flexible, colours=_COLOURS)


def parse_since(text: str, now: float, option: str = "--since") -> float:
    """`2h` ago or an ISO date (UTC unless it says otherwise), as seconds since the epoch."""
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return max(0.0, now - int(ago[1]) * _UNITS[ago[2]])
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        fail(f"{option} {text}: give 30m, 2h, 7d, 2026-11-23 or 2026-11-23T10:00")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - datetime.fromtimestamp(0, UTC)) / timedelta(seconds=1)), LAST_TIME)


def _matching(
    entries: Iterator[SessionEntry], user: str | None, target: str | None, live: bool
) -> Iterator[SessionEntry]:
    for entry in entries:
        if user is not None and entry.header.identity != user:
            continue
        if target is not None and entry.header.target != target:
            continue
        if live and entry.state != "live":
            continue
        yield entry


def _row(entry: SessionEntry, look: Look) -> tuple[str, ...]:
    header = entry.header
    return (
        entry.path.stem,
        time_text(header.started_at) if header.started_at else "?",
        header.identity,
        f"{header.login}@{header.target}",
        duration_text(entry.duration),
        size_text(entry.bytes),
        entry.state,
        look.text(entry.path),
    )


def document(entry: SessionEntry, look: Look) -> dict[str, Any]:
    """A listing's entry as JSON values: the header's fields, what the tail says, and what was run."""
    return {
        **entry.header.document(),
        "session_id": entry.path.stem,
        "state": entry.state,
        "duration": entry.duration,
        "bytes": entry.bytes,
        "file_size": entry.size,
        "reason": entry.reason,
        "problem": entry.problem,
        "opaque": entry.opaque,
        "file": str(entry.path),
        **look.document(entry.path),
    }

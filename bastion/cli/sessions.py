"""`bastion sessions`: who was where, from the index or from the heads and tails of the recordings (L4)."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_network
from itertools import islice
from pathlib import Path
from typing import Any

import click

from bastion.cli import moments
from bastion.cli.indexed import Reviews, from_index
from bastion.cli.output import duration_text, fail, printable, size_text, time_text, write_json, write_table
from bastion.cli.ran import Look
from bastion.cli.reading import index_there
from bastion.cli.recordings import FOUND_CODES, open_store, recordings_options, tell_unreadable
from bastion.cli.redaction import redaction_of
from bastion.clock import SystemClock
from bastion.indexing.store import IndexUnfit
from bastion.recording.listed import TUNNEL, Listed, Wanted, of_entry
from bastion.recording.listing import SCHEME, Recordings
from bastion.recording.ran import KINDS

_HEADINGS = ("ID", "STARTED", "WHO", "TARGET", "DURATION", "BYTES", "STATE", "RAN")
REVIEW_STATES = ("due", "overdue", "reviewed", "unreviewed")
_COLOURS = {"STATE": {"live": "green", "truncated": "yellow", "damaged": "red"}}


def choosing_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds what chooses sessions; the command gets them by name."""
    for option in (
        click.option("--opaque", is_flag=True, help="Only those with something that nobody can replay."),
        click.option("--incomplete", is_flag=True, help="Only those without an end: truncated, damaged."),
        click.option("--live", is_flag=True, help="Only those that are running."),
        click.option("--exit", "ended", metavar="CODE", help="Ended so: 0, 127, TERM, or failed: not by 0."),
        click.option(
            "--command",
            "command",
            metavar="REGEX",
            help="With a command in which it is found, typed or asked for.",
        ),
        click.option("--kind", type=click.Choice([*KINDS, TUNNEL]), help="With a channel of this kind."),
        click.option("--rule", metavar="NAME", help="Only those that this rule allowed."),
        click.option("--source", metavar="ADDRESS", help="Only from this address or network (10.1.0.0/16)."),
        click.option("--login", metavar="NAME", help="Only with this login on the target."),
        moments.UNTIL,
        moments.SINCE,
        click.option("--target", metavar="NAME", help="Only to this target."),
        click.option("--user", metavar="NAME", help="Only of this identity."),
    ):
        command = option(command)
    return command


@click.command(epilog=FOUND_CODES)
@recordings_options
@choosing_options
@click.option("--alert", is_flag=True, help="Only those that an alert names which is not muted.")
@click.option("--review", type=click.Choice(REVIEW_STATES), help="Only those whose review is so far.")
@click.option("--tag", metavar="TAG", default="", help="Only those with this tag of a reviewer.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the newest N.")
@click.option("--json", "as_json", is_flag=True, help="All that the headers say, as one JSON array.")
def sessions(
    config: Path | None,
    recordings: Path | None,
    kind: str | None,
    command: str | None,
    ended: str | None,
    limit: int | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """List recorded and live sessions, and tunnels, newest first. Times are UTC.

    RAN is what was asked of each channel, and how it ended. State: live (being recorded), ended, truncated (its gateway
    died; it plays up to there), damaged; from the index also deleted and missing. With --config the list comes
    from the index of the state store and from what that does not know; with --recordings from the files alone, which
    know no tunnels. A session is listed when any part of it lies between --since and --until. --command fetches what
    is in the bucket, one recording at a time; what was typed it knows of the sessions that `bastion index` has read.

    Example: bastion sessions --config /etc/bastion/bastion.toml --since "last tuesday" --user alice --exit failed
    """
    redaction = redaction_of(config)
    store = open_store(config, recordings)
    now = SystemClock().time()
    reviews = Reviews(chosen.pop("alert"), chosen.pop("review") or "", chosen.pop("tag"))
    wanted, pattern = _wanted(kind, chosen, now), _pattern(command)
    passed_over: list[Path] = []

    def note(path: Path, problem: str) -> None:
        passed_over.append(path)
        tell_unreadable(path, problem)

    look = Look(store, None if recordings else config, redaction)
    found = from_index(None if recordings else config, store, wanted, now, as_json, note, reviews)
    if found is None and reviews.any:
        fail("--alert, --review and --tag need the index, by --config", 3)
    if found is None:
        found = filter(wanted.takes, _of_files(store, wanted.since, note))
    asked_kind = kind if kind and kind != TUNNEL else ""
    look.know(_typed(store, redaction.digest, pattern) if pattern else ())
    if asked_kind or ended or pattern:
        found = (one for one in found if look.matches(one, asked_kind, ended or "", pattern))
    shown = list(islice(found, limit))
    look.expect(len(shown))
    if as_json:
        write_json([document(one, look) for one in shown])
    else:
        _write_rows(_row(one, look) for one in shown)
    look.tell()
    missed = look.copies is not None and look.copies.missed
    sys.exit(3 if passed_over or missed else 0 if shown else 1)


def _wanted(kind: str | None, chosen: dict[str, Any], now: float) -> Wanted:
    source = chosen.pop("source")
    since, until = moments.since(chosen.pop("since"), now), moments.until(chosen.pop("until"), now)
    try:
        network = None if source is None else ip_network(source, strict=False)
    except ValueError:
        fail(f"--source {source}: give an address or a network, as 10.1.2.3 or 10.1.0.0/16")
    tunnels = None if kind is None else kind == TUNNEL
    given = {name: one for name, one in chosen.items() if one}
    return Wanted(since, until, source=network, tunnels=tunnels, **given)


def _pattern(text: str | None) -> re.Pattern[str] | None:
    try:
        return None if text is None else re.compile(text)
    except re.error as error:
        fail(f"--command {text}: no regular expression: {error}")


def _typed(store: Recordings, redaction: str, pattern: re.Pattern[str]) -> set[str]:
    """The sessions in which that was typed, of those that the reading index has as they are now."""
    index = index_there(None, store)
    if index is None:
        return set()
    try:
        told = index.commands(index.fresh(store, None, redaction))
        return {one.id for one, command in told if command.kind == "typed" and pattern.search(command.text)}
    except IndexUnfit as error:
        click.echo(f"bastion: the reading index is not used: {printable(error.text)}", err=True)
        return set()
    finally:
        index.close()


def _of_files(store: Recordings, since: float | None, note: Callable[[Path, str], None]) -> Iterator[Listed]:
    for entry in store.sessions(since, note):
        if entry.state == "damaged":
            note(entry.path, entry.problem)
        yield of_entry(entry)


def _write_rows(rows: Iterable[tuple[str, ...]]) -> None:
    flexible = ("WHO", "TARGET", "RAN")
    write_table(_HEADINGS, rows, right=("DURATION", "BYTES"), flexible=flexible, colours=_COLOURS)


def _row(one: Listed, look: Look) -> tuple[str, ...]:
    return (
        one.id,
        time_text(one.started_at) if one.started_at else "?",
        one.identity,
        f"{one.login}@{one.target}" if one.login else one.target,
        duration_text(one.duration),
        size_text(one.bytes),
        one.state,
        TUNNEL if one.kind == TUNNEL else look.text(one),
    )


def document(one: Listed, look: Look) -> dict[str, Any]:
    """All that is known of a session, as JSON values: the header's fields, what its end says, and what was run."""
    return {
        "problem": "",
        **(one.more or {}),
        "session_id": one.id,
        "identity": one.identity,
        "target": one.target,
        "login": one.login,
        "started_at": one.started_at,
        "state": one.state,
        "duration": one.duration,
        "bytes": one.bytes,
        "file": one.path if one.path.startswith(SCHEME) else str(look.place(one.path) or ""),
        **look.document(one),
    }

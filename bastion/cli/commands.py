"""`bastion commands`: what was run, where, by whom (L4)."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from heapq import merge
from pathlib import Path
from typing import Any

import click

from bastion.cli import moments
from bastion.cli.bucket import Elsewhere, in_bucket
from bastion.cli.copies import Copies
from bastion.cli.lobby_calls import lobby_calls
from bastion.cli.output import duration_text, fail, leave_quietly, time_text, write_json, write_table
from bastion.cli.reading import index_option, index_there
from bastion.cli.recordings import copies_of, open_store, recordings_options, tell_unreadable
from bastion.cli.redaction import redaction_of, unredacted_option
from bastion.clock import SystemClock
from bastion.errors import StoreFault
from bastion.indexing.store import IndexFile
from bastion.recording.commands import Command, commands_of, lost_text
from bastion.recording.format import SESSION_ID_LENGTH, FormatError, Header
from bastion.recording.listed import Listed
from bastion.recording.listing import Recordings, SessionEntry
from bastion.recording.redacted import reading
from bastion.recording.redacting import Redaction

KINDS = ("exec", "subsystem", "lobby", "typed")

_HEADINGS = ("TIME", "WHO", "TARGET", "KIND", "TOOK", "EXIT", "REPLAY", "COMMAND")
_COLOURS = {"KIND": {"typed": "cyan", "lobby": "blue"}}

EXIT_CODES = (
    "Exit codes: 0 found; 1 nothing found; 2 the call or a file is wrong; 3 not all of the bucket could be read. A "
    "recording that cannot be read is named on standard error."
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which commands are looked for. Times in seconds since 1970; "" and None are everything."""

    user: str = ""
    target: str = ""
    since: float | None = None
    until: float | None = None
    kinds: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None

    def session(self, identity: str, target: str, began: float, ended: float) -> bool:
        """There may be such commands in this session."""
        if (self.user and identity != self.user) or (self.target and target != self.target):
            return False
        return not (self.since is not None and began and ended < self.since) and not (
            self.until is not None and began > self.until
        )

    def command(self, one: Command) -> bool:
        """This is one of them."""
        if (self.since is not None and one.at < self.since) or (
            self.until is not None and one.at > self.until
        ):
            return False
        if self.kinds and one.kind not in self.kinds:
            return False
        return self.pattern is None or self.pattern.search(one.text) is not None


@click.command(epilog=EXIT_CODES)
@recordings_options
@index_option
@click.option("--user", metavar="NAME", default="", help="Only commands of this identity.")
@click.option("--target", metavar="NAME", default="", help="Only commands on this target.")
@moments.SINCE
@moments.UNTIL
@click.option("--grep", metavar="REGEX", help="Only commands in which this is found; (?i) ignores case.")
@click.option("--session", metavar="ID", help="Only this session, or a unique beginning of its id.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(KINDS),
    help="Only this kind; may be given several times.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a line, as docs/commands.md describes it."
)
@unredacted_option
def commands(
    config: Path | None,
    recordings: Path | None,
    index: Path | None,
    user: str,
    target: str,
    since: str | None,
    until: str | None,
    grep: str | None,
    session: str | None,
    kinds: tuple[str, ...],
    as_json: bool,
    unredacted: bool,
) -> None:
    """List commands: of exec and subsystem requests and of the lobby exactly, typed ones as read off the screen.

    Newest sessions first, each in the order of time. A ~ before the kind says that it is a guess: docs/commands.md
    says how good, and what deceives it. REPLAY is what to give to `bastion replay` to see it. Calls of the lobby
    come from the audit log, with --config. Recordings that `bastion index` has read are not opened again.

    With --config those in the bucket are read too, each fetched into TMPDIR and removed again, unless the index knows
    them: only sessions that --user, --target, --since and --until leave over.

    Example: bastion commands --config /etc/bastion/bastion.toml --target web1 --since 7d --grep '^(sudo )?rm '
    """
    redaction = redaction_of(config, unredacted)
    store = open_store(config, recordings)
    now = SystemClock().time()
    between = moments.since(since, now), moments.until(until, now)
    wanted = Wanted(user, target, *between, kinds, None if grep is None else _pattern(grep))
    config = None if recordings else config
    source = _Source(store, copies_of(config), wanted, redaction)
    index_file = index_there(index, store) if session is None and not unredacted else None
    found = _found(source, config, session, index_file)
    try:
        count = _write_lines(found) if as_json else _write_table(found)
    except BrokenPipeError:
        leave_quietly()
        return
    if source.copies is not None:
        source.copies.conclude()
    if source.copies is not None and source.copies.missed:
        sys.exit(3)
    if not count:
        sys.exit(1)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        fail(f"--grep {text}: {error}")


@dataclass(frozen=True, slots=True)
class _Source:
    """Where commands are read, and which."""

    store: Recordings
    copies: Copies | None
    wanted: Wanted
    redaction: Redaction

    def files(self, entries: Iterable[SessionEntry]) -> Iterator[tuple[Header, Command]]:
        """Of files of the folder."""
        for entry in entries:
            if entry.state == "damaged":
                tell_unreadable(entry.path, entry.problem)
            header = entry.header
            ended = header.started_at + entry.duration
            if self.wanted.session(header.identity, header.target, header.started_at, ended):
                yield from self.of(entry)

    def of(self, entry: SessionEntry) -> Iterator[tuple[Header, Command]]:
        """Of one recording, in the order of time."""
        found = [one for one in _of(self.store, entry, self.redaction) if self.wanted.command(one)]
        yield from ((entry.header, one) for one in sorted(found, key=lambda one: (one.start, one.channel)))

    def bucket(self, away: Iterable[Elsewhere]) -> Iterator[tuple[Header, Command]]:
        """Of recordings in the bucket, as far as they can be had."""
        if self.copies is None:
            return
        wanted = [one for one in away if self.may_have(one)]
        for number, one in enumerate(wanted, 1):
            try:
                with self.copies.copy(one, f"{number} of {len(wanted)}") as entry:
                    found = list(self.of(entry))
            except StoreFault as fault:
                self.copies.miss(one, fault.text)
                continue
            yield from found

    def may_have(self, one: Elsewhere) -> bool:
        """By what the index says of it, is it worth fetching?"""
        ended = one.started_at if one.ended_at is None else one.ended_at
        return self.wanted.session(one.identity, one.target, one.started_at, ended)


def _found(
    source: _Source, config: Path | None, session: str | None, index: IndexFile | None
) -> Iterator[tuple[Header, Command]]:
    store, wanted = source.store, source.wanted
    if (
        session is None
        and config is not None
        and not wanted.target
        and "lobby" in (wanted.kinds or ("lobby",))
    ):
        for header, one in lobby_calls(config):
            masked = replace(one, text=source.redaction.mask(one.text))
            if _is(wanted, header, masked):
                yield header, masked
    if wanted.kinds == ("lobby",):
        return
    if session is not None:
        prefix = session.strip().lower()
        entries = store.find(prefix)
        here = {entry.path.stem for entry in entries}
        whole = bool(here) and len(prefix) == SESSION_ID_LENGTH
        away = [one for one in ([] if whole else in_bucket(config, prefix)) if one.session not in here]
        yield from source.files(entries)
        yield from source.bucket(away)
        return
    here = {name for name, _ in store.names(None, tell_unreadable)} if source.copies is not None else set()
    away = [one for one in in_bucket(config, "") if one.session not in here]
    if index is not None:
        yield from _of_index(source, index, away)
        return
    of_files = source.files(store.sessions(None, tell_unreadable))
    yield from merge(of_files, source.bucket(away), key=_newest)


def _newest(found: tuple[Header, Command]) -> float:
    return -found[0].started_at


def _of_index(source: _Source, index: IndexFile, away: list[Elsewhere]) -> Iterator[tuple[Header, Command]]:
    """From the reading index, and from the recordings that are not in it as they are now."""
    store, wanted = source.store, source.wanted
    fresh = index.fresh(store, {one.session: one.size for one in away}, source.redaction.digest)
    there = {one.id for one in fresh.values()}
    strangers = [
        entry
        for name, path in store.names(None, tell_unreadable)
        if name not in there and (entry := store.entry(store.directory / path)) is not None
    ]
    chosen = {
        number: one
        for number, one in fresh.items()
        if wanted.session(one.identity, one.target, one.started_at, one.started_at + one.duration)
    }
    strangers.sort(key=lambda entry: entry.header.started_at, reverse=True)
    of_index = ((_header(one), command) for one, command in index.commands(chosen) if wanted.command(command))
    of_bucket = source.bucket(one for one in away if one.session not in there)
    yield from merge(source.files(strangers), of_bucket, of_index, key=_newest)


def _header(one: Listed) -> Header:
    more = one.more or {}
    return Header(
        one.id,
        one.identity,
        str(more.get("uid", "")),
        one.target,
        one.login,
        one.started_at,
        source_address=one.source,
        host=str(more.get("host", "")),
    )


def _is(wanted: Wanted, header: Header, one: Command) -> bool:
    return (not wanted.user or header.identity == wanted.user) and wanted.command(one)


def _of(store: Recordings, entry: SessionEntry, redaction: Redaction) -> Iterator[Command]:
    """The commands of a session, as far as its file can be read."""
    try:
        with store.open(entry, reading(redaction, unmasked=True)) as reader:
            yield from commands_of(
                reader, lambda channel, at: tell_unreadable(entry.path, lost_text(channel, at))
            )
    except FormatError as error:
        if entry.state != "damaged":
            tell_unreadable(entry.path, error.text)
    except OSError as error:
        tell_unreadable(entry.path, str(error.strerror))


def document(header: Header, one: Command) -> dict[str, Any]:
    """One line of `--json`: docs/commands.md. Fields are added, never changed."""
    return {
        "time": datetime.fromtimestamp(one.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "user": header.identity,
        "uid": header.uid,
        "login": header.login,
        "target": header.target,
        "host": header.host,
        "source_address": header.source_address,
        **{place.name: getattr(one, place.name) for place in fields(one) if place.name != "at"},
        "replay": _replay(one),
    }


def _replay(one: Command) -> str:
    return f"{one.session} --channel {one.channel} --at {one.offset:.1f}" if one.channel else ""


def _write_lines(found: Iterator[tuple[Header, Command]]) -> int:
    count = 0
    for header, one in found:
        write_json(document(header, one))
        count += 1
    return count


def _write_table(found: Iterator[tuple[Header, Command]]) -> int:
    rows = [_row(header, one) for header, one in found]
    if rows:
        write_table(
            _HEADINGS, rows, right=("TOOK", "EXIT"), flexible=("WHO", "TARGET", "COMMAND"), colours=_COLOURS
        )
    return len(rows)


def _row(header: Header, one: Command) -> tuple[str, ...]:
    status = f"SIG{one.signal}" if one.signal else "" if one.exit_status is None else str(one.exit_status)
    return (
        time_text(one.at),
        header.identity,
        f"{header.login}@{header.target}" if header.target else "",
        f"~{one.kind}" if one.source == "heuristic" else one.kind,
        "" if one.end is None else duration_text(one.end - one.start),
        "refused" if one.refused else status,
        _replay(one),
        one.text.replace("\n", " \u23ce "),
    )

"""`bastion replay`: a session played in this terminal (L4).

Invariant: nothing that was recorded can make this terminal do more than show (bastion/recording/screen.py),
and however the playing ends, the terminal is as it was before.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from bastion.cli.offsets import FORMS, offset_text, parse_offset
from bastion.cli.output import fail, is_terminal, printable, time_text
from bastion.cli.playing import Player, Terminal
from bastion.cli.reading import index_option, index_there
from bastion.cli.recordings import EXIT_CODES, find_session, open_store, recordings_options
from bastion.cli.redaction import redaction_of, unredacted_option
from bastion.indexing.playing import IndexedSession
from bastion.indexing.store import IndexFile, IndexUnfit
from bastion.recording.channels import ChannelNotChosen, ChannelSummary, Survey, choose_channel, survey
from bastion.recording.commands import Command, commands_of
from bastion.recording.format import FormatError
from bastion.recording.listing import SessionEntry
from bastion.recording.reader import Place, Reader
from bastion.recording.redacted import masked_text, reading
from bastion.recording.redacting import Redaction
from bastion.recording.render import strings_text, strings_words
from bastion.recording.seeking import Film

PLAIN_SIZE: Final = (1000, 24)
"""Columns and lines of output without a terminal, where it goes into a file or a pipe."""


@click.command(epilog=EXIT_CODES)
@click.argument("session")
@recordings_options
@index_option
@click.option(
    "--speed", type=click.FloatRange(0, 1000), default=1.0, show_default=True, help="0: all at once."
)
@click.option("--idle-limit", type=click.FloatRange(0), metavar="SECONDS", help="Wait no longer than this.")
@click.option("--channel", type=int, metavar="N", help="Which channel, when there are several.")
@click.option("--all", "whole", is_flag=True, help="All channels, in the order of time.")
@click.option("--at", metavar="OFFSET", help=f"Begin there: {FORMS}.")
@click.option(
    "--command",
    type=click.IntRange(1),
    metavar="N",
    help="Begin at the Nth command of `bastion commands --session ID`.",
)
@click.option("--no-index", is_flag=True, help="Read the recording alone, from its beginning.")
@click.option(
    "--follow", "-f", is_flag=True, help="Show what there is at once, and go on while the session runs."
)
@unredacted_option
def replay(
    session: str,
    config: Path | None,
    recordings: Path | None,
    index: Path | None,
    speed: float,
    idle_limit: float | None,
    channel: int | None,
    whole: bool,
    at: str | None,
    command: int | None,
    no_index: bool,
    follow: bool,
    unredacted: bool,
) -> None:
    """Play session ID (or a unique beginning of it) in this terminal.

    Space pauses, the arrows go 10 s and 1 min, n and p go to the next and the previous command, + and - change the
    speed, ? tells all keys, q and Ctrl-C end it. What the gateway itself said, and what was not kept of a transfer,
    stands in reverse video. Channels that move files are shown as the list of what they did. Secrets that [redact]
    knows are masked. With --at and --command the screen of that time is shown first; of a recording that `bastion
    index` has read, masked by the same patterns, it is there at once.

    Example: bastion replay k3v2 --at 1h2m --idle-limit 2
    """
    _exclude({"--all": whole, "--channel": channel, "--at": at, "--command": command, "--follow": follow})
    redaction = redaction_of(config, unredacted)
    store = open_store(config, recordings)
    entry = find_session(store, session, config)
    try:
        with store.open(entry, reading(redaction, unmasked=True)) as reader:
            place = None if no_index else index_there(index, store)
            indexed = None if place is None else _indexed(place, entry.path, redaction, reader, follow)
            known = _Known(reader, indexed, redaction)
            length = reader.tail().time_us / 1e6
            start = 0.0 if at is None else parse_offset(at, entry.header.started_at, length)
            if command is not None:
                start, channel = _command(known.commands(), command, channel)
            chosen = choose_channel(known.channels.channels, channel)
            said = [known.strings(None if whole else chosen.id), masked_text(reader)]
            _introduce(entry, known.channels, chosen, whole, [text for text in said if text])
            film = _play(reader, known, chosen, whole, start, 0 if follow else speed, idle_limit, follow)
            _conclude(reader, film)
    except (FormatError, ChannelNotChosen) as error:
        fail(f"{entry.path.stem}: {error.text}", 3 if isinstance(error, FormatError) else 1)
    except OSError as error:
        fail(f"{entry.path}: {error.strerror}", 3)


def _exclude(given: dict[str, object]) -> None:
    """Ends the command for options that do not go together."""
    for one, other in (
        ("--all", "--channel"),
        ("--at", "--command"),
        ("--follow", "--at"),
        ("--follow", "--command"),
    ):
        if given[one] not in (None, False) and given[other] not in (None, False):
            fail(f"{one} and {other} exclude each other")


def _play(
    reader: Reader,
    known: _Known,
    chosen: ChannelSummary,
    whole: bool,
    start: float,
    speed: float,
    idle_limit: float | None,
    follow: bool,
) -> Film:
    with Terminal() as terminal:
        columns, lines = shutil.get_terminal_size() if is_terminal() else PLAIN_SIZE
        drawn = terminal.interactive and not follow
        film = Film(reader, chosen, whole, size=(columns, lines), stored=known.keyframe, drawn=drawn)
        player = Player(
            terminal,
            film,
            speed,
            idle_limit,
            length=reader.tail().time_us / 1e6,
            commands=lambda: [one for one in known.commands() if whole or one.channel == chosen.id],
        )
        if follow:
            reader.more = lambda: player.wait_for_more(reader)
        player.play(start)
    return film


class _Known:
    """What is known of a recording: from the reading index when it knows the file as it is now, else from the file."""

    def __init__(self, reader: Reader, indexed: IndexedSession | None, redaction: Redaction) -> None:
        self._reader, self._indexed, self._redaction = reader, indexed, redaction
        self._commands: list[Command] | None = None
        self.channels = survey(reader) if indexed is None else indexed.played.channels

    def strings(self, only: int | None) -> str:
        """How many control strings there are, in words."""
        if self._indexed is None:
            return strings_text(self._reader, self.channels, only)
        counts = [both for channel, both in self._indexed.played.strings.items() if only in (None, channel)]
        return strings_words(sum(both[0] for both in counts), sum(both[1] for both in counts))

    def keyframe(self, channel: int, time: float) -> tuple[float, Place, bytes | None] | None:
        """For the film; an index that fails is told once, and not asked again."""
        try:
            return None if self._indexed is None else self._indexed.keyframe(channel, time)
        except IndexUnfit as error:
            self._without(error)
            return None

    def commands(self) -> list[Command]:
        """All commands, in the order of `bastion commands`."""
        try:
            if self._commands is None and self._indexed is not None:
                self._commands = self._indexed.commands()
        except IndexUnfit as error:
            self._without(error)
        if self._commands is None:
            with self._reader.aside():
                found = list(commands_of(self._reader))
            self._commands = sorted(found, key=lambda one: (one.start, one.channel))
        return [replace(one, text=self._redaction.mask(one.text)) for one in self._commands]

    def _without(self, error: IndexUnfit) -> None:
        self._indexed = None
        click.echo(f"bastion: the reading index is not used: {printable(error.text)}", err=True)


def _indexed(
    file: IndexFile, path: Path, redaction: Redaction, reader: Reader, follow: bool
) -> IndexedSession | None:
    """The recording in the reading index, when it is there as it is now, and masked as it is to be shown. The reader
    is told what is masked, unless what comes later is to be masked too."""
    try:
        found = IndexedSession.find(file, path, redaction.digest)
        if found is not None and not follow:
            found.mask(reader)
    except IndexUnfit as error:
        click.echo(f"bastion: the reading index is not used: {printable(error.text)}", err=True)
        return None
    if found is not None and found.problem:
        click.echo(printable(f"-- {found.problem} --"), err=True)
    return found


def _command(commands: list[Command], number: int, channel: int | None) -> tuple[float, int]:
    """Where the command of this number is, and on which channel. May end the command."""
    if number > len(commands):
        fail(
            f"--command {number}: the session has {len(commands)}; `bastion commands --session ID` lists them",
            1,
        )
    one = commands[number - 1]
    if channel not in (None, one.channel):
        fail(f"--command {number} is on channel {one.channel}")
    return one.offset, one.channel


def _introduce(
    entry: SessionEntry, channels: Survey, channel: ChannelSummary, whole: bool, said: list[str]
) -> None:
    """On standard error: what is not in the picture, always; the rest where somebody looks."""
    others = "" if whole else channels.others(channel.id)
    if sys.stderr.isatty():
        header = entry.header
        who = f"{header.identity} as {header.login} on {header.target}"
        click.echo(
            printable(f"-- {who}, {time_text(header.started_at)}; ? tells the keys, q ends --"), err=True
        )
    if sys.stderr.isatty() or others:
        click.echo(printable(f"-- channel {channel.label} --"), err=True)
    if others:
        click.echo(printable(f"-- {others}; --channel N shows one, --all shows all --"), err=True)
    for text in said:
        click.echo(f"-- {text} --", err=True)
    (cols, rows), here = channel.size, shutil.get_terminal_size()
    if sys.stderr.isatty() and channel.has_pty and (here.columns < cols or here.lines < rows):
        click.echo(
            f"-- recorded at {cols}x{rows}, this terminal has {here.columns}x{here.lines}: "
            "full-screen programs will look torn --",
            err=True,
        )


def _conclude(reader: Reader, film: Film) -> None:
    if film.opened_at is not None:
        click.echo(
            f"-- opened at {offset_text(film.opened_at)}, where the index says: what is before was not read, so damage "
            "there was not looked for; `bastion verify` does --",
            err=True,
        )
    if sys.stderr.isatty() and reader.totals is not None:
        click.echo(printable(f"-- ended: {reader.totals.reason} --"), err=True)

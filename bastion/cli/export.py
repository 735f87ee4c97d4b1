"""`bastion export`: a session as asciicast, page, text, JSON lines or the exact bytes of one stream (L4)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import BinaryIO

import click

from bastion.cli.output import fail, is_terminal, leave_quietly, printable
from bastion.cli.recordings import EXIT_CODES, find_session, open_store, recordings_options
from bastion.cli.redaction import redaction_of, unredacted_option
from bastion.recording.channels import ChannelNotChosen, Survey, choose_channel, survey
from bastion.recording.format import FormatError
from bastion.recording.listing import SessionEntry
from bastion.recording.page import Page
from bastion.recording.reader import Reader
from bastion.recording.redacted import reading
from bastion.recording.redacting import NOTHING, Redaction
from bastion.recording.render import asciicast, json_lines, plain_text, raw, screen_lines
from bastion.sides import Side

_STREAMS = {
    "stdout": (Side.TARGET, 0),
    "stderr": (Side.TARGET, 1),
    "stdin": (Side.CLIENT, 0),
}

_CASTS = {"asciicast": 2, "asciicast3": 3}


@click.command(epilog=EXIT_CODES)
@click.argument("session")
@recordings_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["asciicast", "asciicast3", "html", "text", "screens", "json", "raw"]),
    default="asciicast",
    show_default=True,
    help="asciicast: version 2, for players; asciicast3: version 3. html: one page with a player in it, which "
    "loads nothing. text: what a terminal of the recorded size showed. "
    "screens: the same as JSON, with times, and the screen at every Enter. json: every event, one a "
    "line. raw: the exact bytes of one stream.",
)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), metavar="FILE", help="Default: standard output."
)
@click.option("--channel", type=int, metavar="N", help="Which channel; for json, only this one.")
@click.option(
    "--all", "whole", is_flag=True, help="For asciicast, html and text: all channels, in the order of time."
)
@click.option(
    "--stream",
    type=click.Choice(list(_STREAMS)),
    default="stdout",
    show_default=True,
    help="For raw: which stream.",
)
@click.option("--times", is_flag=True, help="For text: each line begins with the seconds of its last change.")
@click.option("--target-only", is_flag=True, help="For raw: without the text that the gateway itself put in.")
@click.option(
    "--unfiltered", is_flag=True, help="For asciicast: keep sequences that make a terminal act or answer."
)
@click.option("--unmasked", is_flag=True, help="Show what was typed while the target showed nothing of it.")
@unredacted_option
def export(
    session: str,
    config: Path | None,
    recordings: Path | None,
    form: str,
    output: Path | None,
    channel: int | None,
    whole: bool,
    stream: str,
    times: bool,
    target_only: bool,
    unfiltered: bool,
    unmasked: bool,
    unredacted: bool,
) -> None:
    """Write session ID (or a unique beginning of it) in another form.

    What was not kept of a transfer is noted in the output; for raw it is told on standard error, and the exit
    code is 3. Input is there only when the gateway was told to record it; what was typed unseen (passwords) is
    masked, as far as that can be told, and so are secrets that [redact] knows. Raw has the exact bytes, and needs
    --unredacted where there is a configuration. Channels beside the one that is written are named too, on standard
    error.

    Example: bastion export k3v2 --format text
    """
    _refuse(form, output, whole, channel)
    redaction = _redaction(config, form, unredacted)
    store = open_store(config, recordings)
    entry = find_session(store, session, config)
    missing = ""
    wanted = _Wanted(form, channel, whole, stream, not target_only, not unfiltered, times)
    try:
        with store.open(entry, kind=reading(redaction, unmasked)) as reader:
            pieces, skipped = wanted.pieces(reader)
            with _opened(output) as out:
                for piece in pieces:
                    out.write(piece)
            if form == "raw":
                missing = _missing(reader, skipped)
            elif wanted.page is not None and wanted.page.cut:
                missing = "it is longer than a page may be; the page says where it ends"
    except (FormatError, ChannelNotChosen) as error:
        fail(f"{entry.path.stem}: {error.text}", 3 if isinstance(error, FormatError) else 1)
    except BrokenPipeError:
        leave_quietly()
    except OSError as error:
        # of the file that is written, by its name: the call is wrong; of the recording: not all of it is there
        fail(f"{error.filename or entry.path}: {error.strerror}", 2 if error.filename == str(output) else 3)
    _conclude(entry, missing)


def _refuse(form: str, output: Path | None, whole: bool, channel: int | None) -> None:
    """Options that exclude each other."""
    if whole and (channel is not None or form == "raw"):
        fail("--all excludes --channel and --format raw: raw is one stream of one channel")
    if form == "raw" and output is None and is_terminal():
        fail("raw bytes would control this terminal: give -o FILE or a pipe")


def _conclude(entry: SessionEntry, missing: str) -> None:
    if missing:
        fail(f"{entry.path.stem}: not all of it is there: {missing}", 3)


def _redaction(config: Path | None, form: str, unredacted: bool) -> Redaction:
    """What is masked; exact bytes are never, and asked for as such where there are roles."""
    redaction = redaction_of(config, unredacted)
    if form != "raw" or not redaction.patterns:
        return redaction
    if config is not None:
        fail("raw is the exact bytes, with the secrets that [redact] masks: give --unredacted")
    click.echo("bastion: raw is the exact bytes: no secret in it is masked", err=True)
    return NOTHING


def _tell_others(channels: Survey, shown: int) -> None:
    others = channels.others(shown)
    if others:
        click.echo(printable(f"bastion: {others}; --channel N exports one, --all all"), err=True)


@dataclass(slots=True)
class _Wanted:
    """What the options ask for."""

    form: str
    channel: int | None
    whole: bool
    stream: str
    injected: bool
    filtered: bool
    times: bool
    page: Page | None = None

    def pieces(self, reader: Reader) -> tuple[Iterator[bytes], int]:
        """The output, and how many bytes of the channel were not kept. Other channels are named on standard error."""
        channels = survey(reader)
        if self.form == "json":
            return _lines(json_lines(reader, channels, self.channel)), 0
        chosen = choose_channel(channels.channels, self.channel, only=self.form == "raw")
        if not self.whole:
            _tell_others(channels, chosen.id)
        if self.form == "raw":
            return raw(reader, chosen.id, *_STREAMS[self.stream], self.injected), chosen.skipped
        if self.form in _CASTS:
            version = _CASTS[self.form]
            lines = asciicast(
                reader, channels, chosen, whole=self.whole, filtered=self.filtered, version=version
            )
            return _lines(lines), chosen.skipped
        if self.form == "html":
            self.page = Page(reader, channels, chosen, self.whole, _player())
            return (piece.encode("ascii") for piece in self.page.pieces()), chosen.skipped
        if self.form == "screens":
            return _lines(screen_lines(reader, channels, chosen, whole=self.whole)), chosen.skipped
        texts = plain_text(reader, channels, chosen, whole=self.whole, times=self.times)
        return (text.encode("utf-8", "replace") for text in texts), chosen.skipped


def _player() -> tuple[str, str]:
    folder = resources.files("bastion").joinpath("data", "player")
    return folder.joinpath("player.js").read_text("utf-8"), folder.joinpath("player.css").read_text("utf-8")


def _missing(reader: Reader, skipped: int) -> str:
    texts = [f"at byte {damage.offset}: {damage.text}" for damage in reader.damage]
    if skipped:
        texts.append(f"{skipped} bytes of bulk on this channel were not kept")
    if not texts and reader.totals is None:
        click.echo("bastion: the recording has no end mark; all that was recorded is there", err=True)
    return printable("; ".join(texts))


def _lines(lines: Iterator[str]) -> Iterator[bytes]:
    return (line.encode("ascii") + b"\n" for line in lines)


@contextmanager
def _opened(path: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file for its owner only: a recording is as secret as the session was."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as out:
        yield out

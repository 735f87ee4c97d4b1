"""`bastion replay`: a session played in this terminal (L4).

Invariant: nothing that was recorded can make this terminal do more than show (bastion/recording/screen.py),
and however the playing ends, the terminal is as it was before.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

import click

from bastion.cli.output import fail, is_terminal, leave_quietly, printable, time_text
from bastion.cli.recordings import EXIT_CODES, find_session, open_store, recordings_options
from bastion.cli.redaction import redaction_of, unredacted_option
from bastion.clock import SystemClock
from bastion.recording.channels import ChannelNotChosen, ChannelSummary, Survey, choose_channel, survey
from bastion.recording.format import FormatError
from bastion.recording.frames import Frame, frames
from bastion.recording.listing import SessionEntry
from bastion.recording.reader import Reader
from bastion.recording.redacted import masked_text, reading
from bastion.recording.render import Showing, strings_text

# Seconds of one wait: select(2) takes no more than its clock can count, and a damaged file may ask for any time.
LONGEST_WAIT = 3600.0

# How long `--follow` waits before it looks for more: no eye sees a delay.
FOLLOW_SECONDS = 0.1

_OFFSET = re.compile(r"(?:(?:(\d{1,4}):)?(\d{1,4}):)?(\d{1,7}(?:\.\d{1,6})?)")


@click.command(epilog=EXIT_CODES)
@click.argument("session")
@recordings_options
@click.option(
    "--speed", type=click.FloatRange(0, 1000), default=1.0, show_default=True, help="0: all at once."
)
@click.option("--idle-limit", type=click.FloatRange(0), metavar="SECONDS", help="Wait no longer than this.")
@click.option("--channel", type=int, metavar="N", help="Which channel, when there are several.")
@click.option("--all", "whole", is_flag=True, help="All channels, in the order of time.")
@click.option("--at", metavar="OFFSET", help="Begin at this time: 90, 1:30 or 1:02:03.")
@click.option(
    "--follow", "-f", is_flag=True, help="Show what there is at once, and go on while the session runs."
)
@unredacted_option
def replay(
    session: str,
    config: Path | None,
    recordings: Path | None,
    speed: float,
    idle_limit: float | None,
    channel: int | None,
    whole: bool,
    at: str | None,
    follow: bool,
    unredacted: bool,
) -> None:
    """Play session ID (or a unique beginning of it) in this terminal.

    Space pauses and goes on, q and Ctrl-C end it. What the gateway itself said, and what was not kept of a
    transfer, stands in reverse video. Channels that move files are shown as the list of what they did. Secrets that
    [redact] knows are masked.

    Example: bastion replay k3v2 --idle-limit 2
    """
    if whole and channel is not None:
        fail("--all and --channel exclude each other")
    start = 0.0 if at is None else parse_offset(at)
    redaction = redaction_of(config, unredacted)
    store = open_store(config, recordings)
    entry = find_session(store, session, config)
    try:
        with store.open(entry, reading(redaction, unmasked=True)) as reader:
            channels = survey(reader)
            chosen = choose_channel(channels.channels, channel)
            said = [strings_text(reader, channels, None if whole else chosen.id), masked_text(reader)]
            _introduce(entry, channels, chosen, whole, [text for text in said if text])
            with Terminal() as terminal:
                player = Player(terminal, 0 if follow else speed, idle_limit, start)
                if follow:
                    reader.more = lambda: player.wait_for_more(reader)
                player.play(frames(reader, None if whole else chosen.id))
            _conclude(reader)
    except (FormatError, ChannelNotChosen) as error:
        fail(f"{entry.path.stem}: {error.text}", 3 if isinstance(error, FormatError) else 1)
    except OSError as error:
        fail(f"{entry.path}: {error.strerror}", 3)


def parse_offset(text: str) -> float:
    """`90`, `1:30` or `1:02:03` as seconds."""
    match = _OFFSET.fullmatch(text.strip())
    if match is None:
        fail(f"--at {text}: give seconds, 1:30 or 1:02:03")
    hours, minutes, seconds = match.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)


def _introduce(
    entry: SessionEntry, channels: Survey, channel: ChannelSummary, whole: bool, said: list[str]
) -> None:
    """On standard error: what is not in the picture, always; the rest where somebody looks."""
    others = "" if whole else channels.others(channel.id)
    if sys.stderr.isatty():
        header = entry.header
        who = f"{header.identity} as {header.login} on {header.target}"
        click.echo(printable(f"-- {who}, {time_text(header.started_at)}; space pauses, q ends --"), err=True)
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


def _conclude(reader: Reader) -> None:
    if sys.stderr.isatty() and reader.totals is not None:
        click.echo(printable(f"-- ended: {reader.totals.reason} --"), err=True)


class Terminal:
    """This process's terminal: single keys in, text out. Restored on the way out, whatever the way.

    Without a terminal on standard input it only waits; SIGTERM and SIGHUP end the playing like Ctrl-C.
    """

    def __init__(self) -> None:
        self._input = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
        self._output = sys.stdout
        self._saved: list[Any] | None = None
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup_before = -1
        self._signals: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGHUP):
            self._signals[number] = signal.signal(number, _interrupt)
        # Without this a signal just before select is noticed only when select ends.
        self._wakeup_before = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        if self._input is not None:
            self._saved = termios.tcgetattr(self._input)
            tty.setcbreak(self._input)  # keys at once and unechoed; Ctrl-C still interrupts
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._input is not None and self._saved is not None:
            termios.tcsetattr(self._input, termios.TCSADRAIN, self._saved)
        for number, before in self._signals.items():
            signal.signal(number, before)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._woken)
        os.close(self._wake)

    def key(self, seconds: float | None) -> str:
        """The next key pressed within `seconds` (None: however long), or "" when none was."""
        sources = [self._woken] if self._input is None else [self._woken, self._input]
        ready, _, _ = select.select(sources, [], [], seconds)
        if self._woken in ready:
            os.read(self._woken, 4096)  # the signal itself is Python's to deliver, before the next line
        if self._input is None or self._input not in ready:
            return ""
        try:
            return os.read(self._input, 1).decode("latin-1") or "q"  # end of input: nobody is there any more
        except OSError:
            return "q"

    def write(self, text: str) -> None:
        """Show `text`, in the encoding of the terminal."""
        self._output.buffer.write(text.encode(self._output.encoding or "ascii", "replace"))
        self._output.buffer.flush()


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


class Player:
    """Shows frames when they are due. Stops early when `quit` becomes true (the q key)."""

    def __init__(
        self,
        terminal: Terminal,
        speed: float,
        idle_limit: float | None,
        start: float,
        monotonic: Callable[[], float] = SystemClock.monotonic,
    ) -> None:
        self.quit = False
        self._terminal = terminal
        self._speed = speed
        self._idle_limit = idle_limit
        self._start = start
        self._monotonic = monotonic
        self._showing = Showing()
        self._live = True

    def play(self, shown: Iterable[Frame]) -> None:
        """Show everything, then bring the terminal back to normal; also after Ctrl-C and a closed pipe."""
        try:
            self._play(shown)
        except KeyboardInterrupt:
            self.quit = True
        except BrokenPipeError:
            leave_quietly()
        finally:
            if is_terminal():
                self._terminal.write(self._showing.undo() + "\r\n")

    def _play(self, shown: Iterable[Frame]) -> None:
        position = self._start
        due = self._monotonic()
        for frame in shown:
            pause = frame.time - position
            if pause > 0 and self._speed:
                if self._idle_limit is not None:
                    pause = min(pause, self._idle_limit)
                due = self._wait(due + pause / self._speed)
                if self.quit:
                    return
            position = max(position, frame.time)
            text = self._showing.text(frame)
            if text:
                self._terminal.write(text)

    def _wait(self, due: float) -> float:
        """Wait until `due`, obeying keys; returns when it was really due (later after a pause)."""
        while True:
            left = due - self._monotonic()
            if left <= 0:
                return due
            key = self._terminal.key(min(left, LONGEST_WAIT))
            if key == " ":
                paused = self._monotonic()
                while (key := self._terminal.key(None)) not in (" ", "q", "Q"):
                    pass
                due += self._monotonic() - paused
            if key in ("q", "Q"):
                self.quit = True
                return due

    def wait_for_more(self, reader: Reader) -> bool:
        """Wait a little for the file to grow, obeying keys; false when nobody writes it any more, or after q."""
        if self.quit or not self._live:
            return False
        self._live = reader.live  # asked first: what its writer wrote before it left is read once more
        if self._live:
            self._wait(self._monotonic() + FOLLOW_SECONDS)
        return not self.quit

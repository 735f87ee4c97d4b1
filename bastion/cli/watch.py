"""`bastion watch`: a session as it happens, in this terminal (L4).

Invariant: as with `bastion replay`, nothing that is shown can make this terminal do more than show, and however the
watching ends, the terminal is as it was before. Nothing that is typed here reaches the session.
"""

from __future__ import annotations

import base64
import binascii
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from bastion.cli.control_client import Asked, ControlClient
from bastion.cli.live import find_one
from bastion.cli.output import fail, is_terminal, leave_quietly, printable, time_text
from bastion.cli.playing import Terminal
from bastion.cli.runtime import config_option
from bastion.control.orders import WatchSession
from bastion.recording.blocks import Blocks
from bastion.recording.format import FormatError, Kind, Recorded
from bastion.recording.frames import Frame, FrameKind
from bastion.recording.render import notice_text
from bastion.recording.screen import DisplayFilter
from bastion.sides import Side

KEYS: Final = 0.05
"""Seconds between two looks for the q key."""


@click.command(
    epilog="Exit 0: the session has ended, or you left; 1: none of that name, or you may not; 3: no gateway."
)
@config_option
@click.argument("session")
@click.option("--channel", type=int, metavar="N", help="This channel only.")
@click.option("--reason", default="", help="It stands in the audit log.")
def watch(config_file: Path, session: str, channel: int | None, reason: str) -> None:
    """Watch session ID (or a unique beginning of it) as it happens; q and Ctrl-C end it.

    It begins with the last screens of the recording. The session waits for nobody: what this terminal is too slow for
    is left out, and said. Who watches stands in the audit log. The rules that opened the session say whether it may be
    watched and whether its engineer reads of it (`watch` of a rule); it is said here which.

    Example: bastion watch --config /etc/bastion/bastion.toml k3v2
    """
    with ControlClient(config_file) as client:
        row = find_one(client, session)
        if row.kind != "session":
            fail(f"{row.id} ({row.kind}): only sessions that run can be watched", 1)
        if sys.stderr.isatty():
            who = f"{row.user} as {row.login} on {row.target}, since {time_text(row.started_at)}"
            click.echo(printable(f"-- {who}; q ends --"), err=True)
        with Terminal() as terminal:
            _Screen(terminal, channel).run(client, WatchSession(row.id, reason))


class _Screen:
    """What comes, shown."""

    def __init__(self, terminal: Terminal, channel: int | None) -> None:
        self._terminal = terminal
        self._channel = channel
        self._shown: int | None = None  # the channel that was shown last
        self._display = DisplayFilter()
        self._blocks: Blocks | None = None

    def run(self, client: ControlClient, request: WatchSession) -> None:
        """Until the session ends, or a key, or Ctrl-C; then the terminal is as it was."""
        number = client.begin(request)
        words = ""
        try:
            words = self._follow(client, number, request)
        except KeyboardInterrupt:
            pass
        except BrokenPipeError:
            leave_quietly()
        except Asked as refusal:
            client.refused(refusal)
        finally:
            if is_terminal():
                self._terminal.write(self._display.undo() + "\r\n")
        if words and sys.stderr.isatty():
            click.echo(printable(f"-- {words} --"), err=True)

    def _follow(self, client: ControlClient, number: int, request: WatchSession) -> str:
        while True:
            while not client.readable(KEYS):
                if self._terminal.key(0.0) in ("q", "Q"):
                    return ""
            for frame in client.arrived():
                event = frame.get("event")
                if frame.get("id") != number:
                    continue
                if not isinstance(event, dict):
                    done = client.result(frame, request, [])
                    left_out = f", {done.dropped} blocks were not shown" if done.dropped else ""
                    return done.text + left_out
                self._show(event)
                client.credit(number, event["size"])

    def _show(self, event: Mapping[str, Any]) -> None:
        try:
            data = base64.b64decode(str(event.get("blocks", "")), validate=True)
            if "sync" in event:
                self._blocks = Blocks(bytes.fromhex(str(event["sync"])))
        except (binascii.Error, ValueError):
            fail("the gateway's answer cannot be read, is it of another version?", 3)
        if "told" in event:
            told = "is told" if event["told"] else "is not told"
            click.echo(f"-- the engineer {told} that somebody watches --", err=True)
        if event.get("dropped") or event.get("skipped"):
            count = event.get("dropped")
            self._notice(
                f"{count} blocks were not shown, this terminal was too slow" if count else "not all is shown"
            )
        if self._blocks is None:
            return
        try:
            for recorded in self._blocks.events(data):
                self._one(recorded)
        except FormatError as fault:
            self._notice(fault.text)

    def _one(self, event: Recorded) -> None:
        if event.channel == 0 or (self._channel is not None and event.channel != self._channel):
            return
        for frame in frames_of(event):
            if event.channel != self._shown:
                if self._shown is not None:
                    self._notice(f"channel {event.channel}")
                self._shown = event.channel
            if frame.kind is FrameKind.OUTPUT:
                self._terminal.write(self._display.feed(frame.data))
            else:
                self._display.skip()
                self._terminal.write(notice_text(frame))

    def _notice(self, text: str) -> None:
        self._display.skip()
        self._terminal.write(notice_text(Frame(0.0, FrameKind.NOTICE, text.encode())))


def frames_of(event: Recorded) -> Iterator[Frame]:
    """What of an event is shown: output, our own words, and how much bulk was left out."""
    if event.kind is Kind.DATA and event.side is Side.TARGET:
        yield Frame(0.0, FrameKind.OUTPUT, event.payload)
    elif event.kind is Kind.INJECTED:
        yield Frame(0.0, FrameKind.INJECTED, event.payload)
    elif event.kind is Kind.GAP and event.side is Side.TARGET and event.gap.size:
        yield Frame(0.0, FrameKind.NOTICE, f"{event.gap.size} bytes of bulk output not kept".encode())

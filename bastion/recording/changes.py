"""What terminals showed as changes of their rows (L1, pure): for a player that is no terminal itself.

Invariant: applied in order to empty screens, the changes up to a time give the screens of that time, to
`PICTURE_SECONDS`. Only text comes out, safe to show; memory is that of the screens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from bastion.recording.channels import DEFAULT_SIZE, Survey
from bastion.recording.controls import ControlParser
from bastion.recording.frames import OURS, Frame, FrameKind, frames
from bastion.recording.grid import Spent
from bastion.recording.reader import Reader
from bastion.recording.redacted import RedactedReader
from bastion.recording.redacted_lines import masked_rows
from bastion.recording.redacting import NOTHING, Redaction
from bastion.recording.screen import DisplayFilter
from bastion.recording.terminal import Terminal
from bastion.recording.transcript import Hidden, safe

# Output that comes faster is one change: no eye follows more pictures.
PICTURE_SECONDS = 0.04

# Terminals drawn at once, at most 1000 x 500 cells each; a session may hold some ten channels open.
MOST_SCREENS = 64


@dataclass(frozen=True, slots=True)
class Change:
    """One step. `time` in seconds; `rows` are those that changed, number -> text; `size` (columns, rows) when it is
    another, `cursor` (characters of the row's text before it, row). `note` is something of ours, beside the screen.
    """

    time: float
    channel: int
    rows: dict[int, str] = field(default_factory=dict)
    cursor: tuple[int, int] | None = None
    size: tuple[int, int] | None = None
    note: str = ""


def changes(reader: Reader, channels: Survey, only: int | None) -> Iterator[Change]:
    """What one channel (None: each) showed, in the order of time."""
    shown: dict[int, ChannelScreen] = {}
    redaction = reader.redaction if isinstance(reader, RedactedReader) else NOTHING
    for frame in frames(reader, only):
        screen = shown.get(frame.channel)
        if screen is None and frame.channel and frame.kind is not FrameKind.NOTICE:
            if len(shown) >= MOST_SCREENS:
                oldest = next(iter(shown))
                yield from shown.pop(oldest).picture()
            known = channels.channels.get(frame.channel)
            screen = shown[frame.channel] = ChannelScreen(
                frame.channel, known.size if known else DEFAULT_SIZE, redaction
            )
        if frame.kind in OURS:
            for other in shown.values():
                yield from other.picture()
            yield from (Change(frame.time, frame.channel, note=text) for text in words_of(frame))
        if screen is not None and frame.kind in (FrameKind.OUTPUT, FrameKind.RESIZE):
            yield from screen.frame(frame)
    for screen in sorted(shown.values(), key=lambda one: one.time):
        yield from screen.picture()


def words_of(frame: Frame) -> list[str]:
    """What a frame of ours says, as lines of text alone."""
    text = DisplayFilter().feed(frame.data)
    return [
        "".join(token.body for token in ControlParser().feed(line.encode()) if token.kind == "text")
        for line in text.replace("\r", "").split("\n")
        if line
    ]


class Pictures:
    """What a terminal shows, as changes to what was given out before: the first has all of it."""

    def __init__(self, channel: int, redaction: Redaction) -> None:
        self._channel, self._redaction = channel, redaction
        self._given: list[str] = []
        self._size: tuple[int, int] | None = None
        self._cursor: tuple[int, int] | None = None

    def of(self, terminal: Terminal, time: float) -> Change | None:
        """What has changed since the one before, None when nothing has."""
        size, x = (terminal.cols, terminal.rows), min(terminal.x, terminal.cols - 1)
        cells = terminal.screen[terminal.y].cells
        cursor = (len(safe("".join(cells[:x]))) + max(0, x - len(cells)), terminal.y)
        texts = [safe(row.text) for row in terminal.screen]
        now = list(masked_rows(texts, size[0], self._redaction, Counter()))
        given = self._given[: len(now)] + [""] * (len(now) - len(self._given))
        rows = {at: text for at, (text, before) in enumerate(zip(now, given, strict=True)) if text != before}
        same = not rows and size == self._size and cursor == self._cursor
        change = Change(time, self._channel, rows, cursor, size if size != self._size else None)
        self._given, self._size, self._cursor = now, size, cursor
        return None if same else change


class ChannelScreen:
    """One channel's terminal, and what of it was given out. What comes within `every` seconds is one change, if nobody
    asks for a `picture` before."""

    def __init__(
        self, channel: int, size: tuple[int, int], redaction: Redaction, every: float = PICTURE_SECONDS
    ) -> None:
        self._every = every
        self.time = 0.0  # of the newest output
        self._channel = channel
        self._terminal: Terminal | None = Terminal(*size, lambda row, lost: None)
        self._hidden = Hidden()
        self._pictures = Pictures(channel, redaction)
        self._since: float | None = None  # what was not yet given out began then

    def frame(self, frame: Frame) -> Iterator[Change]:
        """Output or another size: changes that are due."""
        terminal = self._terminal
        if terminal is None:
            return
        if self._since is not None and frame.time - self._since >= self._every:
            yield from self.picture()
        if self._since is None:
            self._since = frame.time
        self.time = frame.time
        try:
            if frame.kind is FrameKind.RESIZE:
                cols, rows = frame.data.split(b"x")
                terminal.resize(int(cols), int(rows))
                return
            data = frame.data if frame.terminal else frame.data.replace(b"\n", b"\r\n")
            tokens = terminal.feed(data, frame.time)
        except Spent:
            yield from self.picture()
            self._terminal = None
            note = "made to cost too much to draw: the screen stands still from here on"
            yield Change(frame.time, self._channel, note=note)
            return
        for token in tokens:
            if text := self._hidden.add(token):
                yield from self.picture()
                yield Change(frame.time, self._channel, note=text)

    def picture(self) -> Iterator[Change]:
        """What has changed since the one before, if anything."""
        terminal = self._terminal
        if terminal is None or self._since is None:
            return
        self._since = None
        change = self._pictures.of(terminal, self.time)
        if change is not None:
            yield change

"""Parts of what one channel showed (L1, pure), for a player that asks for one after the other.

A part begins with the whole screen of its begin; then come its changes (changes.py) and the lines that left the screen.
Invariants: parts that follow each other, each asked for where the one before says that it ends, show every picture once
and leave out no line (behind a keyframe one comes again that was given out before and stood still); a part is bounded
in time, in what is drawn for it and in what it holds, but for what came at one and the same moment; of what is masked
in the whole recording nothing stands in a part, whichever line its edge cuts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from bastion.recording.changes import PICTURE_SECONDS, Change, Pictures, words_of
from bastion.recording.channels import DEFAULT_SIZE, ChannelSummary
from bastion.recording.frames import OURS, Frame, FrameKind, frames
from bastion.recording.reader import Place, Reader
from bastion.recording.redacted import RedactedReader
from bastion.recording.redacted_lines import redacted
from bastion.recording.redacting import NOTHING, Redaction
from bastion.recording.render import records_of
from bastion.recording.seeking import Stored
from bastion.recording.snapshots import KeptTerminal
from bastion.recording.transcript import Line, Mark, PlainLines, Record, ScreenLines, safe

MOST_LINES: Final = 5000
"""Lines of one part; more are counted."""

AROUND: Final = 50
"""Lines before a part, and rows of the screen behind it, that are looked at when its lines are masked."""

STANDS_STILL: Final = "made to cost too much to draw: the screen stands still from here on"


class Limits(NamedTuple):
    """Of one part: seconds of the recording, bytes of output that are drawn for it, characters that it holds."""

    seconds: float
    drawn: int
    held: int


USUAL: Final = Limits(180.0, 2 << 20, 1 << 20)
BRIEF: Final = Limits(20.0, 64 << 10, 256 << 10)
"""What is shown first behind a seek: drawn in a moment."""


@dataclass(slots=True)
class Segment:
    """From `begin` up to `until`, in seconds: there the next one begins. `ended`: there is none. `more` lines were
    left out."""

    begin: float
    until: float = 0.0
    ended: bool = False
    changes: list[Change] = field(default_factory=list)
    lines: list[Line | Mark] = field(default_factory=list)
    more: int = 0


class Cutter:
    """Cuts parts of `channel`, one behind the other from `begin` on. `stored` gives keyframes; without one that fits
    the recording is read from its first block."""

    def __init__(
        self, reader: Reader, channel: ChannelSummary, begin: float = 0.0, stored: Stored | None = None
    ) -> None:
        terminal, place = _opened(reader, channel, begin, stored)
        self._reader, self._channel = reader, channel
        self._redaction: Redaction = reader.redaction if isinstance(reader, RedactedReader) else NOTHING
        self._frames: Iterator[Frame] = frames(reader, channel.id, None if place is None else channel)
        self._next: Frame | None = None
        self._stuck = place is not None and terminal is None
        self._screen = ScreenLines(channel.size if channel.has_pty else DEFAULT_SIZE, terminal=terminal)
        self._screen.heard = lambda text: self._note(self._now, text)
        is_drawn = channel.has_pty and not self._stuck
        self._told: ScreenLines | PlainLines = self._screen if is_drawn else PlainLines()
        self._before: deque[Record] = deque(maxlen=AROUND)
        self._now = 0.0
        self._start(begin)

    def _start(self, begin: float) -> None:
        self._part = Segment(begin)
        self._pictures = Pictures(self._channel.id, self._redaction)
        self._lines: list[Record] = []
        self._since: float | None = None
        self._shown = False  # the first picture is there
        self._drawn = self._held = 0

    def next(self, limits: Limits = USUAL) -> Segment:
        """The next part. Behind one that `ended` there is none to ask for."""
        part = self._part
        while (frame := self._next or next(self._frames, None)) is not None:
            self._next = None
            if frame.time > part.begin and not self._shown:
                self._begin()
            if self._shown and frame.time > self._now and self._is_full(frame.time, limits):
                part.until, self._next = frame.time, frame
                self._end()
                self._start(part.until)
                return part
            self._step(frame)
        if not self._shown:
            self._begin()
        part.until, part.ended = max(part.begin, self._now, self._reader.tail().time_us / 1e6), True
        self._end()
        return part

    def _is_full(self, time: float, limits: Limits) -> bool:
        passed = time - self._part.begin
        return passed >= limits.seconds or self._drawn >= limits.drawn or self._held >= limits.held

    def _step(self, frame: Frame) -> None:
        if self._since is not None and frame.time - self._since >= PICTURE_SECONDS:
            self._picture()
        if frame.time >= self._part.begin > self._now:
            self._settle()
        self._now = frame.time
        if frame.kind in OURS:
            self._picture()
            for text in words_of(frame):
                self._note(frame.time, text)
        elif frame.kind is FrameKind.OUTPUT:
            self._drawn += len(frame.data) if self._shown else 0
            if self._told is not self._screen and not self._stuck:
                self._draw(frame)
        self._give(records_of(self._told, frame, True))
        if frame.kind in (FrameKind.OUTPUT, FrameKind.RESIZE) and self._shown and self._since is None:
            self._since = frame.time
        if not self._stuck and self._screen.terminal is None:
            self._stuck = True
            self._note(frame.time, STANDS_STILL)

    def _draw(self, frame: Frame) -> None:
        """On the screen alone: lines of output without a terminal are those that came."""
        data = frame.data if frame.terminal else frame.data.replace(b"\n", b"\r\n")
        self._screen.output(data, frame.time)

    def _give(self, records: Iterable[Record]) -> None:
        for record in records:
            if self._now < self._part.begin:
                self._before.append(record)
            elif len(self._lines) < MOST_LINES:
                self._lines.append(record)
                self._held += len(record.text) if isinstance(record, Line | Mark) else 0
            else:
                self._part.more += 1

    def _settle(self) -> None:
        """What has left the screen until now is no line of this part."""
        self._before.extend(self._told.scrolled())

    def _note(self, time: float, text: str) -> None:
        if time >= self._part.begin:
            self._part.changes.append(Change(time, self._channel.id, note=text))
            self._held += len(text)

    def _begin(self) -> None:
        """The screen of the begin."""
        begin = self._part.begin
        if self._now < begin:
            self._settle()
            self._now = begin
        self._shown, self._since = True, begin
        if self._stuck:
            self._note(begin, STANDS_STILL)
        self._picture()

    def _picture(self) -> None:
        terminal, since, self._since = self._screen.terminal, self._since, None
        if since is None or terminal is None or not self._shown:
            return
        change = self._pictures.of(terminal, self._now)
        if change is not None:
            self._part.changes.append(change)
            self._held += 40 + sum(map(len, change.rows.values()))

    def _end(self) -> None:
        part = self._part
        self._picture()
        self._give(self._told.finish() if part.ended else self._told.scrolled())
        # 0: it stands since before the keyframe, and when it changed is not known
        part.lines = [
            replace(one, time=one.time or part.begin)
            for one in self._masked()
            if isinstance(one, Line | Mark)
        ]
        self._before.extend(self._lines[-AROUND:])

    def _masked(self) -> list[Record]:
        """The lines without their secrets, those too that begin before the part or end behind it."""
        if self._redaction is NOTHING:
            return self._lines
        terminal, behind = self._told.terminal, list[Record]()
        if terminal is not None and not self._part.ended:
            rows = terminal.main[:AROUND]
            behind = [Line(self._now, safe(row.text), row.wrapped) for row in rows]
        number, cols = self._channel.id, self._told.cols
        every = [(number, one, cols) for one in (*self._before, *self._lines, *behind)]
        masked = [record for _, record in redacted(every, self._redaction)]
        return masked[len(self._before) : len(self._before) + len(self._lines)]


def _opened(
    reader: Reader, channel: ChannelSummary, begin: float, stored: Stored | None
) -> tuple[KeptTerminal | None, Place | None]:
    """The terminal at the last keyframe before, and where that is: the reader begins there; without one at its first
    block."""
    found = stored(channel.id, begin) if stored is not None and channel.has_pty else None
    if found is not None:
        _, place, packed = found
        try:
            # b"": it costs too much to draw; None: nothing was shown yet
            terminal = KeptTerminal.unpack(packed) if packed else None
            if packed is None:
                terminal = KeptTerminal(*channel.size, lambda row, lost: None)
            if reader.begin_at(place):
                return terminal, place
        except ValueError:
            pass
    reader.begin_at(None)
    return None, None

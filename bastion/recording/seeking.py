"""A recording as it is played: step by step, and from any time on (L1, pure).

Invariant: behind a seek the reader's terminal shows what stood on the screen then, whether the way there led over a
keyframe or from the beginning; the file is opened in the middle at a block that is where the keyframe says. Memory is
bounded (REMEMBERED).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Final

from bastion.recording.channels import ChannelSummary
from bastion.recording.controls import ControlParser
from bastion.recording.frames import OURS, Frame, FrameKind, frames
from bastion.recording.grid import Spent
from bastion.recording.keyframes import Keyframe, Keyframes
from bastion.recording.reader import Place, Reader
from bastion.recording.render import Showing, notice_text
from bastion.recording.snapshots import KeptTerminal

REMEMBERED: Final = 64 << 20
"""Bytes of screens that were drawn on the way and are kept to come back to; then every second one goes."""

_UNDRAWN: Final = (
    "\x1b[?47l\x1b[0m\x1b[?6l\x1b[r\x1b[?7h\x1b[?25h\x1b[H\x1b[2J"
    "\x1b[7m[bastion: made to cost too much to draw: the screen is not shown]\x1b[27m\r\n"
)


Stored = Callable[[int, float], tuple[float, Place, bytes | None] | None]
"""Gives keyframes that somebody has made (indexing/playing.py): the last of a channel up to a time, as its time, its
place, and the packed terminal there, None for one that had shown nothing. None when there is none."""


class Film:
    """What is played: one channel, or `whole` all of them. Ask for the `next` step, `show` it; or `seek`.

    `size` is that of the screen where no terminal was recorded. With `drawn` the screen is known at any time, so that
    it can be painted again; it costs drawing all that is shown. `opened_at` is the time of the keyframe at which the
    file was opened last, None when it was read from its beginning.
    """

    def __init__(
        self,
        reader: Reader,
        channel: ChannelSummary,
        whole: bool = False,
        *,
        size: tuple[int, int] = (80, 24),
        stored: Stored | None = None,
        drawn: bool = False,
    ) -> None:
        self.time = 0.0
        self.opened_at: float | None = None
        self._reader, self._channel, self._whole = reader, channel, whole
        self._single = channel.has_pty and not whole
        self._size = channel.size if self._single else size
        self._stored, self._drawn = stored, drawn
        self._memory = _Memory()
        self._showing = Showing()
        self._next: Frame | None = None
        reader.begin_at(None)
        self._open(None, None)

    # -- step by step

    def next(self) -> Frame | None:
        """The step that is shown next, None at the end."""
        if self._next is None:
            self._next = next(self._frames, None)
        return self._next

    def show(self) -> str:
        """The next step as text for the reader's terminal; it is over then."""
        frame = self.next()
        if frame is None:
            return ""
        text = self._showing.text(frame)
        if self._drawn:
            self._draw(frame, text)
        else:
            self._known = False
        self._pass(frame)
        return text

    def _pass(self, frame: Frame) -> None:
        self.time, self._next = max(self.time, frame.time), None

    def undo(self) -> str:
        """Brings the reader's terminal back to normal."""
        return self._showing.undo()

    # -- from any time on

    def seek(self, seconds: float, lines: int | None = None) -> str:
        """Go to this time: the screen as it was then, for a terminal of so many lines."""
        found = self._keyframe(seconds)
        if not self._known or seconds < self.time or (found is not None and found[0] > self.time):
            if found is None or not self._reader.begin_at(found[1]):
                found = None
                self._reader.begin_at(None)
            self._open(found, None if found is None else found[0])
        while (frame := self.next()) is not None and frame.time <= seconds:
            self._draw(frame, self._showing.text(frame) if self._whole else "")
            self._pass(frame)
        self.time = seconds
        return self.painted(lines)

    def painted(self, lines: int | None = None) -> str:
        """The screen as it is now, in place of whatever the reader's terminal shows; "" when it is not known."""
        if not self._known:
            return ""
        terminal = self._terminal
        text = _UNDRAWN if terminal is None else terminal.paint(lines)
        if self._single and terminal is not None:
            return self._showing.resume(self._channel.id, text, terminal.going_on())
        return self._showing.resume(
            0 if self._whole else self._channel.id, text, ControlParser().kept(), self._whole
        )

    def _open(self, found: tuple[float, Place, KeptTerminal | None] | None, time: float | None) -> None:
        """Begin to read, at the beginning or at a keyframe."""
        self.opened_at, self.time = time, time or 0.0
        only = None if self._whole else self._channel.id
        self._frames: Iterator[Frame] = frames(self._reader, only, None if found is None else self._channel)
        self._next = None
        self._terminal = found[2] if found is not None else KeptTerminal(*self._size, lambda row, lost: None)
        self._known = True
        self._keyframes = Keyframes(self._reader, self._memory.add) if self._single else None
        if self._whole:
            self._showing = Showing()

    def _keyframe(self, seconds: float) -> tuple[float, Place, KeptTerminal | None] | None:
        """The best there is: those of terminals alone, as nothing else is known in the middle."""
        if not self._single:
            return None
        stored = None if self._stored is None else self._stored(self._channel.id, seconds)
        own = self._memory.last(self._channel.id, seconds)
        best = max((one for one in (stored, own) if one is not None), key=lambda one: one[0], default=None)
        if best is None:
            return None
        time, place, packed = best
        if packed is None:
            return time, place, KeptTerminal(*self._size, lambda row, lost: None)
        try:
            return time, place, KeptTerminal.unpack(packed) if packed else None
        except ValueError:
            return None

    def _draw(self, frame: Frame, text: str) -> None:
        """What this step does to the screen. With several channels that is what their filters let through."""
        if self._keyframes is not None:
            self._keyframes.before(frame, lambda channel: self._terminal)
        terminal = self._terminal
        if terminal is None:
            return
        try:
            if self._whole:
                terminal.feed(text.encode("utf-8", "replace"), frame.time)
            elif frame.kind is FrameKind.OUTPUT:
                terminal.feed(
                    frame.data if frame.terminal else frame.data.replace(b"\n", b"\r\n"), frame.time
                )
            elif frame.kind is FrameKind.RESIZE:
                cols, rows = frame.data.split(b"x")
                terminal.resize(int(cols), int(rows))
            elif frame.kind in OURS:
                if frame.channel:
                    terminal.skip()
                terminal.feed(notice_text(frame).encode("utf-8", "replace"), frame.time)
        except Spent:
            self._terminal = None


class _Memory:
    """Keyframes that were made on the way, in the order of the file."""

    def __init__(self) -> None:
        self._kept: list[Keyframe] = []
        self._size = 0

    def add(self, one: Keyframe) -> None:
        if self._kept and one.place.offset <= self._kept[-1].place.offset:
            return
        self._kept.append(one)
        self._size += _size(one)
        if self._size > REMEMBERED:
            del self._kept[::2]
            self._size = sum(map(_size, self._kept))

    def last(self, channel: int, seconds: float) -> tuple[float, Place, bytes | None] | None:
        """The last up to this time in which the channel has changed."""
        at = bisect_right(self._kept, seconds, key=lambda one: one.time)
        for one in reversed(self._kept[:at]):
            if channel in one.screens:
                return one.time, one.place, one.screens[channel]
        return None


def _size(one: Keyframe) -> int:
    return 200 + sum(map(len, one.screens.values()))

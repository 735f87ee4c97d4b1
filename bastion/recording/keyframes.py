"""Keyframes (L1, pure): where a recording can be opened in the middle, and the screens of its terminals there.

Invariant: a keyframe stands between two blocks, and has the screens as all blocks before it left them. A terminal's
screen is in a keyframe when it has changed since the one before; else the newest before it holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bastion.recording.frames import Frame, FrameKind
from bastion.recording.reader import Place, Reader
from bastion.recording.snapshots import KeptTerminal

EVERY: Final = 256 << 10
"""Bytes drawn between two keyframes: some 0.1 s of drawing (1 to 8 MB/s), for some KiB in the index."""

FRAME_COST: Final = 64
"""A step of showing costs as much as so many bytes drawn."""

READ_SHARE: Final = 16
"""So many bytes that are read cost as much as one that is drawn."""

CELL_COST: Final = 2
"""Bytes drawn for each cell of the screens to be packed: those of 1000x500 are packed each MiB."""


@dataclass(frozen=True, slots=True)
class Keyframe:
    """`time` in seconds from the session's start: of the first step behind it. `screens`: channel -> packed terminal,
    b"" for one that costs too much to draw.
    """

    time: float
    place: Place
    screens: dict[int, bytes]


class Keyframes:
    """Makes keyframes while a recording is drawn: tell it of each step before it is drawn; `made` gets each.

    `strings`: channel -> how many control strings some terminals show and how many none does, at the end.
    """

    def __init__(self, reader: Reader, made: Callable[[Keyframe], None]) -> None:
        self._made = made
        self.strings: dict[int, tuple[int, int]] = {}
        self._reader = reader
        self._block = self._offset = self._cost = 0
        self._cells = 80 * 24
        self._changed: set[int] = set()

    def before(self, frame: Frame, terminal: Callable[[int], KeptTerminal | None]) -> None:
        """This step is shown next; `terminal` gives that of a channel as it is now."""
        offset, block = self._reader.place
        if block != self._block:
            self._block = block
            self._cost += (offset - self._offset) // READ_SHARE
            self._offset = offset
            if self._cost >= max(EVERY, CELL_COST * self._cells):
                self._make(frame.time, Place(offset, block), terminal)
        self._cost += FRAME_COST
        if frame.terminal and frame.channel:
            self._changed.add(frame.channel)
            if frame.kind is FrameKind.OUTPUT:
                self._cost += len(frame.data)

    def _make(self, time: float, place: Place, terminal: Callable[[int], KeptTerminal | None]) -> None:
        screens: dict[int, bytes] = {}
        self._cells = self._cost = 0
        for channel in sorted(self._changed):
            drawn = terminal(channel)
            screens[channel] = b"" if drawn is None else drawn.pack()
            self._cells += 0 if drawn is None else drawn.cols * drawn.rows
        self._changed.clear()
        self._made(Keyframe(time, place, screens))

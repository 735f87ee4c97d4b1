"""A watched session as its terminals show it (L4, pure): what a gateway sends of it becomes rows of text.

Invariant: no escape, no control and no markup of a target leaves this module, only characters of cells, as in a
recording that is played (`recording.changes`), with secrets masked; what is kept are the screens, at most MOST_SCREENS
of LARGEST cells, and a few words of ours.
"""

from __future__ import annotations

import base64
import binascii
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from bastion.recording.blocks import Blocks
from bastion.recording.changes import Change, ChannelScreen, words_of
from bastion.recording.channels import DEFAULT_SIZE, ChannelSummary
from bastion.recording.format import FormatError
from bastion.recording.frames import OURS, Frame, FrameKind, Steps
from bastion.recording.redacting import Redaction

LARGEST: Final = (500, 200)
"""Columns and rows that are drawn: a window that fills a large display."""

MOST_SCREENS: Final = 4
"""Channels of one session that are drawn: those that were written to last."""

MOST_WORDS: Final = 8
"""Lines of ours that wait for the next picture: the newest."""

LONGEST_WORDS: Final = 300


class LiveScreens:
    """One session that is watched."""

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction
        self._steps = Steps("the target", False)
        self._blocks: Blocks | None = None
        self._screens: dict[int, ChannelScreen] = {}
        self._said: deque[Change] = deque(maxlen=MOST_WORDS)
        self._gone: list[int] = []
        self.told: bool | None = None  # does the engineer know? None: the gateway has not said

    def take(self, event: Mapping[str, Any]) -> None:
        """An event of `control.watching`."""
        try:
            data = base64.b64decode(str(event.get("blocks", "")), validate=True)
            if "sync" in event:
                self._begin(event)
        except (binascii.Error, ValueError, TypeError):
            self._say("the gateway's words cannot be read, is it of another version?")
            return
        dropped = event.get("dropped")
        if dropped or event.get("skipped"):
            what = f"{dropped} blocks were" if dropped else "some of it was"
            self._say(
                f"{what} too much at once, and left out: the screen may be wrong until it is drawn anew"
            )
        if self._blocks is None:
            return
        closed = self._blocks.closed
        try:
            for recorded in self._blocks.events(data):
                for frame in self._steps.of(recorded):
                    self._show(frame)
        except FormatError as fault:
            self._say(fault.text)
        if self._blocks.closed > closed:
            self._say("what was shown before is encrypted: the screen begins with what comes now")

    def _begin(self, event: Mapping[str, Any]) -> None:
        """The first event: how blocks begin, whether the engineer is told, and how large terminals are."""
        self._blocks = Blocks(bytes.fromhex(str(event["sync"])))
        self.told = bool(event.get("told"))
        for channel, (cols, rows) in dict(event.get("terminals") or {}).items():
            summary = ChannelSummary(int(channel), has_pty=True, size=_bounded(int(cols), int(rows)))
            self._steps.channels[summary.id] = summary

    def changes(self) -> tuple[list[Change], list[int]]:
        """What has changed since the last time, and which channels are drawn no longer."""
        found, gone = list(self._said), self._gone
        self._said.clear()
        self._gone = []
        for screen in self._screens.values():
            found += screen.picture()
        return found, gone

    def _show(self, frame: Frame) -> None:
        if frame.kind in OURS:
            for text in words_of(frame):
                self._say(text, frame.channel)
        if frame.kind is FrameKind.INJECTED or not frame.channel:
            return
        if frame.kind is FrameKind.RESIZE:
            cols, rows = _bounded(*map(int, frame.data.split(b"x")))
            frame = replace(frame, data=f"{cols}x{rows}".encode())
        elif frame.kind is not FrameKind.OUTPUT:
            return
        self._said.extend(self._screen(frame.channel).frame(frame))

    def _screen(self, channel: int) -> ChannelScreen:
        """Its screen; the newest in use are last."""
        screen = self._screens.pop(channel, None)
        if screen is None:
            if len(self._screens) >= MOST_SCREENS:
                oldest = next(iter(self._screens))
                del self._screens[oldest]
                self._gone.append(oldest)
            known = self._steps.channels.get(channel)
            size = _bounded(*known.size) if known is not None else DEFAULT_SIZE
            screen = ChannelScreen(channel, size, self._redaction, float("inf"))
        self._screens[channel] = screen
        return screen

    def _say(self, text: str, channel: int = 0) -> None:
        shown = self._redaction.mask(text)[:LONGEST_WORDS]
        self._said.append(Change(0.0, channel, note=shown))


def _bounded(cols: int, rows: int) -> tuple[int, int]:
    return max(1, min(cols, LARGEST[0])), max(1, min(rows, LARGEST[1]))

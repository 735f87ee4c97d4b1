"""A recording as steps of showing it (L1, pure): one channel, or all of them in the order of time.

Invariant: what the gateway itself said, what was not kept, what was asked of a channel and how it ended are frames of
their own, marked as ours; a channel that moves files is a list of operations. Memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from bastion.recording.channels import ChannelSummary, Survey, size_of
from bastion.recording.format import Kind, Recorded
from bastion.recording.operations import CopyCommand, copy_command, sftp_line
from bastion.recording.reader import Reader
from bastion.sides import Side
from bastion.wire.printable import banner_lines, printable


class FrameKind(Enum):
    OUTPUT = "o"
    INPUT = "i"
    RESIZE = "r"
    INJECTED = "injected"
    NOTICE = "notice"
    BANNER = "banner"


OURS = frozenset({FrameKind.NOTICE, FrameKind.INJECTED, FrameKind.BANNER})
"""What is not output of a channel, and is shown marked."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One step of showing a channel. `time` is seconds from the session's start; `data` is bytes for output,
    input and injected text, text of ours for a notice (in UTF-8, nothing in it acts), `COLSxROWS` for a resize, lines
    for the target's login banner, which belongs to every channel. `terminal`: the channel has one, so that line ends
    are as they came.
    """

    time: float
    kind: FrameKind
    data: bytes
    channel: int = 0
    terminal: bool = True


class _View:
    """One channel that is shown: what was left out of it, and what its bytes mean."""

    def __init__(self, summary: ChannelSummary) -> None:
        self.summary = summary
        self.gap = 0
        self.gap_open = False
        self.copy: CopyCommand | None = None


def frames(reader: Reader, channel: int | None, resumed: ChannelSummary | None = None) -> Iterator[Frame]:
    """What happened on one channel (None: on all), in order. Gaps and the end of a file become notices.

    `resumed` is what is known of a terminal's channel, where the reader does not begin at the first block.
    """
    steps = Steps(reader.header.target, reader.header.input, channel, resumed)
    for event in reader:
        yield from steps.of(event)
    yield from steps.conclude(reader)


class Steps:
    """The same for events that come one by one. `target` and `typed` are the header's: where the session leads, and
    whether what the engineer sent is in it. `only` and `resumed` as in `frames`."""

    def __init__(
        self, target: str, typed: bool, only: int | None = None, resumed: ChannelSummary | None = None
    ) -> None:
        self._target, self._typed = target, typed
        self._only = only
        self._survey = Survey()
        self._views: dict[int, _View] = {}
        self._last = 0.0
        self._shown = 0  # the channel of the newest frame, when all are shown
        if resumed is not None:
            self._survey.channels[resumed.id] = replace(resumed)

    @property
    def channels(self) -> dict[int, ChannelSummary]:
        """What is known of those that are open."""
        return self._survey.channels

    def of(self, event: Recorded) -> Iterator[Frame]:
        """What the next event shows."""
        self._last = event.time_us / 1e6
        if event.channel == 0:
            yield from self._of_connection(event)
            if self._only is None:
                self._survey.add(event)
        elif self._only in (None, event.channel):
            yield from self._of_channel(event)

    def _of_connection(self, event: Recorded) -> Iterator[Frame]:
        if event.kind is not Kind.NOTE:
            return
        note = event.note
        yield from _banner(self._last, note, self._target)
        if self._only is None and note.get("event") == "channel_refused":
            yield self._notice(
                None, f"refused: {printable(str(note.get('kind')))}, {printable(str(note.get('reason')))}"
            )

    def _of_channel(self, event: Recorded) -> Iterator[Frame]:
        self._survey.add(event)
        summary = self._survey.channels.get(event.channel)
        if summary is None:
            return
        view = self._views.setdefault(event.channel, _View(summary))
        for frame in self._frames(view, event):
            if self._only is None and frame.kind is not FrameKind.NOTICE and frame.channel != self._shown:
                self._shown = frame.channel
                yield self._notice(None, f"channel {summary.id}: {summary.what}")
            yield frame

    def _frames(self, view: _View, event: Recorded) -> Iterator[Frame]:
        if event.kind is Kind.NOTE:
            yield from self._note(view, event.note)
        elif event.kind is Kind.INJECTED:
            yield self._frame(view, FrameKind.INJECTED, event.payload)
        elif event.kind is Kind.DATA:
            yield from self._data(view, event)
        elif event.kind is Kind.GAP:
            yield from self._gap(view, event)

    def _data(self, view: _View, event: Recorded) -> Iterator[Frame]:
        data = event.payload
        if view.copy is not None and event.stream == 0:
            lines, data = view.copy.data(event.side, data)
            for line in lines:
                yield self._notice(view, line)
        if view.summary.followed and event.stream == 0:
            return  # the notes tell what is said on it
        if event.side is not Side.TARGET:
            yield self._frame(view, FrameKind.INPUT, event.payload)
        elif data:
            if view.gap:  # within a gap, or behind it: what was left out came before these bytes
                yield self._left_out(view)
            yield self._frame(view, FrameKind.OUTPUT, data)

    def _gap(self, view: _View, event: Recorded) -> Iterator[Frame]:
        gap = event.gap
        if view.copy is not None:
            view.copy.missing(event.side, gap.size)
            return
        if event.side is not Side.TARGET or (view.summary.followed and event.stream == 0):
            return
        view.gap, view.gap_open = view.gap + gap.size, gap.open
        if view.gap and not view.gap_open:
            yield self._left_out(view)

    def _left_out(self, view: _View) -> Frame:
        size, view.gap = view.gap, 0
        return self._notice(view, f"{size} bytes of bulk output not kept")

    def _note(self, view: _View, note: dict[str, Any]) -> Iterator[Frame]:
        summary, name = view.summary, note.get("event")
        if name == "window_changed":
            size = size_of(note)
            if size:
                yield self._frame(view, FrameKind.RESIZE, f"{size[0]}x{size[1]}".encode())
        elif name == "request_forwarded" and note.get("name") in ("shell", "exec", "subsystem"):
            view.copy = copy_command(summary, self._typed)
            if self._only is None or not summary.has_pty:
                yield self._notice(view, summary.what)
            if view.copy is not None and view.copy.opening:
                yield self._notice(view, view.copy.opening)
        elif name == "request_refused" and note.get("name") in ("shell", "exec", "subsystem"):
            yield self._notice(view, f"refused: {summary.refused[-1] if summary.refused else summary.what}")
        elif name == "channel_closed":
            yield from self._closed(view)
            self._survey.channels.pop(summary.id, None)
            self._views.pop(summary.id, None)
        elif line := sftp_line(note):
            yield self._notice(view, line)

    def _closed(self, view: _View) -> Iterator[Frame]:
        """How it ended. A terminal's own screen is not written into, when it is all that is shown."""
        summary = view.summary
        if view.copy is not None:
            if view.copy.kind == "rsync":
                yield self._notice(view, f"{view.copy.unshown} bytes of rsync's protocol are not shown")
            yield self._notice(view, view.copy.summary(summary))
        if self._only is None or not summary.has_pty:
            yield self._notice(view, summary.outcome)

    def conclude(self, reader: Reader) -> Iterator[Frame]:
        """What is to be said at the end of the file."""
        for view in self._views.values():
            if view.gap_open:
                yield self._notice(view, f"at least {view.gap} bytes of bulk output not kept")
        for damage in reader.damage:
            yield self._notice(None, f"damaged at byte {damage.offset}: {damage.text}")
        if reader.totals is None:
            yield self._notice(None, unfinished(reader))

    def _frame(self, view: _View, kind: FrameKind, data: bytes) -> Frame:
        return Frame(self._last, kind, data, view.summary.id, view.summary.has_pty)

    def _notice(self, view: _View | None, text: str) -> Frame:
        if view is None:
            return Frame(
                self._last, FrameKind.NOTICE, text.encode("utf-8", "backslashreplace"), self._only or 0
            )
        if self._only is None:
            text = f"channel {view.summary.id}: {text}"
        return self._frame(view, FrameKind.NOTICE, text.encode("utf-8", "backslashreplace"))


def unfinished(reader: Reader) -> str:
    """What is to be said where a file has no end."""
    if reader.live:
        return "still running; replay --follow goes on"
    return "incomplete: the recording ends here without an end mark"


def _banner(time: float, note: dict[str, Any], target: str) -> Iterator[Frame]:
    """The target's words before its login, as they were shown to the engineer."""
    text, missing = note.get("text"), note.get("missing")
    if note.get("event") == "target_banner" and isinstance(text, str) and isinstance(missing, int):
        lines = banner_lines(target, text, missing)
        yield Frame(time, FrameKind.BANNER, "\n".join(lines).encode("utf-8", "backslashreplace"))

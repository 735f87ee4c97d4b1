"""A recording to look at (L1, pure): as asciicast, text or raw bytes; all of it as JSON.

Invariant: what the gateway itself said, and what was not kept, is marked as such in every form that people
read; the raw form is exactly what the client received on one stream. Every form names every channel.
"""

from __future__ import annotations

import codecs
import json
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from bastion.recording.channels import ChannelSummary, Survey
from bastion.recording.format import Kind, Recorded
from bastion.recording.frames import OURS, Frame, FrameKind, frames
from bastion.recording.reader import Reader
from bastion.recording.screen import DisplayFilter, PlainText
from bastion.sides import Side
from bastion.wire.printable import printable

STREAM_NAMES = {
    (Side.TARGET, 0): "stdout",
    (Side.TARGET, 1): "stderr",
    (Side.CLIENT, 0): "stdin",
    (Side.CLIENT, 1): "stdin-extended",
}


def notice_text(frame: Frame) -> str:
    """A notice or injected text as it is shown among output: in reverse video, named as the gateway's. The lines of a
    banner are marked already.
    """
    text = frame.data.decode("utf-8", "replace")
    if frame.kind is FrameKind.BANNER:
        return DisplayFilter().feed(frame.data).replace("\n", "\r\n") + "\r\n"
    if frame.kind is FrameKind.NOTICE:
        return f"\r\n\x1b[7m[bastion: {text}]\x1b[27m\r\n"
    return f"\x1b[7m[bastion] {DisplayFilter().feed(frame.data)}\x1b[27m"


class Showing:
    """Frames as text for a terminal: each channel through a filter of its own (screen.py), ours in reverse video."""

    def __init__(self) -> None:
        self._displays: dict[int, DisplayFilter] = {}

    def text(self, frame: Frame) -> str:
        """What of a frame may be shown; "" for input, which is on the screen as far as it was echoed, and for sizes."""
        display = self._displays.get(frame.channel)
        if frame.kind is FrameKind.OUTPUT:
            if display is None:
                display = self._displays[frame.channel] = DisplayFilter()
            return display.feed(frame.data if frame.terminal else frame.data.replace(b"\n", b"\r\n"))
        if frame.kind not in OURS:
            return ""
        if display is not None:
            display.skip()
        return notice_text(frame)

    def undo(self) -> str:
        """Brings the terminal back to normal."""
        return "".join(display.undo() for display in self._displays.values()) or DisplayFilter().undo()


def asciicast(
    reader: Reader, channels: Survey, channel: ChannelSummary, *, whole: bool = False, filtered: bool = True
) -> Iterator[str]:
    """Lines of an asciicast v2 file. `whole`: all channels. `filtered`: only what may be shown in any terminal."""
    header = reader.header
    others = "" if whole else channels.others(channel.id)
    document = {
        "version": 2,
        "width": channel.size[0],
        "height": channel.size[1],
        "timestamp": int(header.started_at),
        "duration": round(reader.tail().time_us / 1e6, 6),
        "title": f"{header.identity}: {header.login}@{header.target} ({header.session_id}); {channel.label}"
        + (f"; {others}" if others else ""),
        "env": {"TERM": channel.term},
    }
    yield json.dumps(document)
    showing = Showing()
    decoders = {kind: codecs.getincrementaldecoder("utf-8")("replace") for kind in FrameKind}
    for frame in frames(reader, None if whole else channel.id):
        code = "o"
        if frame.kind in OURS or (frame.kind is FrameKind.OUTPUT and filtered):
            text = showing.text(frame)
        else:
            text, code = decoders[frame.kind].decode(frame.data), frame.kind.value
            if frame.kind is FrameKind.OUTPUT and not frame.terminal:
                text = text.replace("\n", "\r\n")
        if text:
            yield json.dumps([round(frame.time, 6), code, text])


def plain_text(
    reader: Reader, channels: Survey, channel: ChannelSummary, *, whole: bool = False
) -> Iterator[str]:
    """What was shown as text, without escapes; the gateway's own words on lines of their own, in brackets."""
    yield from heading(reader, channels, channel, whole)
    lines = PlainText()
    for frame in frames(reader, None if whole else channel.id):
        if frame.kind is FrameKind.OUTPUT:
            yield lines.feed(frame.data)
        elif frame.kind is FrameKind.BANNER:
            yield PlainText().feed(frame.data, final=True)
        elif frame.kind in OURS:
            lines.skip()
            yield lines.feed(b"", final=True)
            for line in PlainText().feed(frame.data, final=True).splitlines():
                yield f"[bastion: {line}]\n"
    yield lines.feed(b"", final=True)


def heading(reader: Reader, channels: Survey, channel: ChannelSummary, whole: bool) -> Iterator[str]:
    """The first lines of a text: who and where, which channel this is, and which others there are."""
    header = reader.header
    who = printable(f"{header.session_id}: {header.identity} as {header.login} on {header.target}", 1024)
    yield f"[bastion: {who}, from {time_text(header.started_at)}]\n"
    if not whole:
        yield f"[bastion: channel {channel.label}]\n"
        others = channels.others(channel.id)
        if others:
            yield f"[bastion: {others}; --channel N shows one, --all shows all]\n"


def time_text(timestamp: float) -> str:
    """Seconds since 1970 as UTC, to the second."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def raw(reader: Reader, channel: int, side: Side, stream: int, injected: bool = True) -> Iterator[bytes]:
    """The bytes of one stream as they passed, for the target's streams with the gateway's own unless told."""
    for event in reader:
        if event.channel != channel or event.side is not side or event.stream != stream:
            continue
        if event.kind is Kind.DATA or (event.kind is Kind.INJECTED and injected):
            yield event.payload


def json_lines(reader: Reader, channels: Survey, channel: int | None = None) -> Iterator[str]:
    """Everything in the file, one JSON object a line: header, what each channel was, events, and the end if any."""
    yield json.dumps({"kind": "header", "header": reader.header.document()})
    for summary in channels.channels.values():
        yield json.dumps({"kind": "channel", "channel": summary.id, "summary": summary.document()})
    for event in reader:
        if channel is None or event.channel == channel:
            yield json.dumps(_event(event))
    for damage in reader.damage:
        yield json.dumps({"kind": "damage", "offset": damage.offset, "text": damage.text})
    if reader.totals is not None:
        yield json.dumps({"kind": "end", "end": reader.totals.document()})
    elif reader.live:
        yield json.dumps({"kind": "live", "offset": reader.torn_at})
    else:
        yield json.dumps({"kind": "truncated", "offset": reader.torn_at})


def _event(event: Recorded) -> dict[str, Any]:
    document: dict[str, Any] = {"time": event.time_us / 1e6, "kind": event.kind.name.lower()}
    document["channel"] = event.channel
    if event.kind is Kind.NOTE:
        return {**document, "note": event.note}
    document["from"] = "gateway" if event.kind is Kind.INJECTED else event.side.name.lower()
    document["stream"] = STREAM_NAMES[event.side, event.stream]
    if event.kind is Kind.GAP:
        gap = event.gap
        times = {"from_time": gap.from_us / 1e6, "until_time": gap.until_us / 1e6}
        return {**document, "size": gap.size, "messages": gap.messages, **times, "goes_on": gap.open}
    document["data"] = b64encode(event.payload).decode("ascii")
    document["text"] = event.payload.decode("utf-8", "replace")
    return document

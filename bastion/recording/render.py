"""A recording to look at (L1, pure): as asciicast, text or raw bytes; all of it as JSON.

Invariant: what the gateway itself said, and what was not kept, is marked as such in every form that people
read; the raw form is exactly what the client received on one stream. Every form names every channel.
"""

from __future__ import annotations

import codecs
import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from bastion.recording.channels import DEFAULT_SIZE, ChannelSummary, Survey
from bastion.recording.controls import ControlParser
from bastion.recording.format import Kind, Recorded
from bastion.recording.frames import OURS, Frame, FrameKind, frames
from bastion.recording.keyframes import Keyframes
from bastion.recording.reader import Reader
from bastion.recording.redacted import RedactedReader, masked_text
from bastion.recording.redacted_lines import Shown, redacted
from bastion.recording.screen import DisplayFilter
from bastion.recording.snapshots import KeptTerminal
from bastion.recording.transcript import (
    PlainLines,
    Record,
    ScreenLines,
    as_text,
    is_enter,
    typed_enter,
)
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
        """What of a frame may be shown; "" for input, which is on the screen as far as it was echoed, and for
        sizes.
        """
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

    def resume(self, channel: int, screen: str, half_read: list[Any], beside: bool = False) -> str:
        """A screen painted in place of all before (snapshots.py): the channel goes on behind it. `beside`: the other
        channels go on where they were.
        """
        before = self.undo()
        if not beside:
            self._displays.clear()
        display = self._displays[channel] = DisplayFilter()
        return before + display.painted(screen, half_read)

    def undo(self) -> str:
        """Brings the terminal back to normal."""
        return "".join(display.undo() for display in self._displays.values()) or DisplayFilter().undo()


def asciicast(
    reader: Reader,
    channels: Survey,
    channel: ChannelSummary,
    *,
    whole: bool = False,
    filtered: bool = True,
    version: int = 2,
) -> Iterator[str]:
    """Lines of an asciicast file (docs.asciinema.org/manual/asciicast/v2 and v3). `whole`: all channels. `filtered`:
    only what may be shown in any terminal.
    """
    yield json.dumps(_cast_header(reader, channels, channel, whole, version))
    showing = Showing()
    decoders = {kind: codecs.getincrementaldecoder("utf-8")("replace") for kind in FrameKind}
    before = 0.0
    for frame in frames(reader, None if whole else channel.id):
        code = "o"
        if frame.kind in OURS or (frame.kind is FrameKind.OUTPUT and filtered):
            text = showing.text(frame)
        else:
            text, code = decoders[frame.kind].decode(frame.data), frame.kind.value
            if frame.kind is FrameKind.OUTPUT and not frame.terminal:
                text = text.replace("\n", "\r\n")
        if text:
            now = round(frame.time, 6)
            yield json.dumps([round(now - before, 6) if version == 3 else now, code, text])
            before = now
    status = channel.exit.removeprefix("exit ")
    if version == 3 and not whole and status.isdecimal():
        yield json.dumps([0, "x", status])


def _cast_header(
    reader: Reader, channels: Survey, channel: ChannelSummary, whole: bool, version: int
) -> dict[str, Any]:
    header, (cols, rows) = reader.header, channel.size
    others = "" if whole else channels.others(channel.id)
    strings = strings_text(reader, channels, None if whole else channel.id)
    title = f"{header.identity}: {header.login}@{header.target} ({header.session_id}); {channel.label}"
    document: dict[str, Any] = {
        "version": version,
        "timestamp": int(header.started_at),
        "title": title + "".join(f"; {part}" for part in (others, strings, masked_text(reader)) if part),
        "env": {"TERM": channel.term},
    }
    if version == 3:
        return {**document, "term": {"cols": cols, "rows": rows, "type": channel.term}}
    return {**document, "width": cols, "height": rows, "duration": round(reader.tail().time_us / 1e6, 6)}


def plain_text(
    reader: Reader, channels: Survey, channel: ChannelSummary, *, whole: bool = False, times: bool = False
) -> Iterator[str]:
    """What terminals of the recorded sizes showed, as lines; the gateway's own words on lines of their own, in
    brackets.

    `whole`: all channels. `times`: each line begins with the seconds at which it changed last.
    """
    yield from heading(reader, channels, channel, whole)
    yield from as_text(transcript(reader, channels, None if whole else channel.id, screens=False), times)


def screen_lines(
    reader: Reader, channels: Survey, channel: ChannelSummary, *, whole: bool = False
) -> Iterator[str]:
    """The same as JSON, an object a line: lines with their times, our words, and the screen at every Enter."""
    for line in heading(reader, channels, channel, whole):
        yield json.dumps({"kind": "mark", "time": 0.0, "text": line.strip("[]\n")})
    for record in transcript(reader, channels, None if whole else channel.id, screens=True):
        yield json.dumps({"kind": type(record).__name__.lower(), **asdict(record)})


def transcript(reader: Reader, channels: Survey, only: int | None, *, screens: bool) -> Iterator[Record]:
    """What was shown on one channel (None: on all) as lines, marks and, with `screens`, screens."""
    for _, record in by_channel(reader, channels, only, screens=screens):
        yield record


def by_channel(
    reader: Reader, channels: Survey, only: int | None, *, screens: bool, keyframes: Keyframes | None = None
) -> Iterator[tuple[int, Record]]:
    """The same, each with the channel that it was shown on; 0 for what belongs to none. `keyframes` are made on the
    way.
    """
    found = _by_channel(reader, channels, only, screens, keyframes)
    if isinstance(reader, RedactedReader):
        return redacted(found, reader.redaction)
    return ((number, record) for number, record, _ in found)


def _by_channel(
    reader: Reader, channels: Survey, only: int | None, screens: bool, keyframes: Keyframes | None
) -> Iterator[Shown]:
    shown: dict[int, PlainLines | ScreenLines] = {}
    current = only or 0

    def terminal(number: int) -> KeptTerminal | None:
        return shown[number].terminal

    for frame in frames(reader, only):
        if keyframes is not None:
            keyframes.before(frame, terminal)
        number = current if frame.kind is FrameKind.NOTICE and not frame.channel else frame.channel
        lines = shown.get(number)
        if lines is None:
            size = channels.channels[number].size if number in channels.channels else DEFAULT_SIZE
            lines = shown[number] = ScreenLines(size, screens) if frame.terminal and number else PlainLines()
        if number != current and current in shown:
            yield from ((current, record, shown[current].cols) for record in shown[current].settle())
        current = number
        yield from ((number, record, lines.cols) for record in records_of(lines, frame, reader.header.input))
    for number, lines in shown.items():
        yield from ((number, record, lines.cols) for record in lines.finish())
        if keyframes is not None:
            keyframes.strings[number] = lines.strings


def records_of(lines: PlainLines | ScreenLines, frame: Frame, input_kept: bool) -> Iterator[Record]:
    """What a step of showing gives out. `input_kept`: what was typed comes too, so that Enter is known by it."""
    kind, data, now = frame.kind, frame.data, frame.time
    if isinstance(lines, ScreenLines):
        if kind is FrameKind.RESIZE:
            cols, rows = data.split(b"x")
            yield from lines.resize((int(cols), int(rows)), now)
        elif typed_enter(data) if kind is FrameKind.INPUT else not input_kept and is_enter(data):
            yield from lines.entered(now)
    if kind is FrameKind.OUTPUT:
        yield from lines.output(data, now)
    elif kind in OURS:
        text = "".join(DisplayFilter().feed(data).splitlines(keepends=True)).replace("\r", "")
        for line in text.splitlines():
            yield from lines.mark(_without_sequences(line), now, missing=bool(frame.channel))


def _without_sequences(text: str) -> str:
    """Words of ours, or that the gateway put in, as text alone."""
    return "".join(token.body for token in ControlParser().feed(text.encode()) if token.kind == "text")


def heading(reader: Reader, channels: Survey, channel: ChannelSummary, whole: bool) -> Iterator[str]:
    """The first lines of a text: who and where, which channel this is, and which others there are."""
    header = reader.header
    strings = strings_text(reader, channels, None if whole else channel.id)
    who = printable(f"{header.session_id}: {header.identity} as {header.login} on {header.target}", 1024)
    yield f"[bastion: {who}, from {time_text(header.started_at)}]\n"
    if not whole:
        yield f"[bastion: channel {channel.label}]\n"
        others = channels.others(channel.id)
        if others:
            yield f"[bastion: {others}; --channel N shows one, --all shows all]\n"
    for text in (strings, masked_text(reader)):
        if text:
            yield f"[bastion: {text}]\n"


def strings_text(reader: Reader, channels: Survey, only: int | None) -> str:
    """How many control strings there are, of those that some terminals show and of those that none does; "" for
    none.
    """
    parsers: dict[int, ControlParser] = {}
    if any(one.strings for one in channels.channels.values() if only in (None, one.id)):
        for frame in frames(reader, only):
            if frame.kind is FrameKind.OUTPUT:
                parsers.setdefault(frame.channel, ControlParser()).feed(frame.data)
    hidden = sum(parser.hidden for parser in parsers.values())
    swallowed = sum(parser.swallowed for parser in parsers.values())
    return strings_words(hidden, swallowed)


def strings_words(hidden: int, swallowed: int) -> str:
    """Such counts in words."""
    parts = [f"{hidden} strings that some terminals show, marked here"] if hidden else []
    parts += [f"{swallowed} titles and device strings that none shows, not shown here"] if swallowed else []
    return "; ".join(parts)


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
    if isinstance(reader, RedactedReader) and reader.tally:
        yield json.dumps({"kind": "redacted", "secrets": dict(reader.tally)})
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

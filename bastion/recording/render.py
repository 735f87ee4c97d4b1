"""A recording to look at (L1, pure): one channel as frames, asciicast, text or raw bytes; all of it as JSON.

Invariant: what the gateway itself said, and what was not kept, is marked as such in every form that people
read; the raw form is exactly what the client received on one stream.
"""

from __future__ import annotations

import codecs
import json
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from bastion.errors import BastionError
from bastion.recording.format import Kind, Recorded
from bastion.recording.reader import Reader
from bastion.recording.screen import DisplayFilter, PlainText
from bastion.sides import Side
from bastion.wire.printable import banner_lines

DEFAULT_SIZE = (80, 24)

# The peer's word for its terminal's size is taken within these bounds (cells), or a player allocates by it.
LARGEST_SIZE = (1000, 500)

STREAM_NAMES = {
    (Side.TARGET, 0): "stdout",
    (Side.TARGET, 1): "stderr",
    (Side.CLIENT, 0): "stdin",
    (Side.CLIENT, 1): "stdin-extended",
}


class ChannelNotChosen(BastionError):
    """Which channel to show is not clear or there is no such one. `text` lists those there are."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(slots=True)
class ChannelSummary:
    """What one channel was. `size` is that of the terminal asked for; `program` what was asked to run."""

    id: int
    kind: str = ""
    has_pty: bool = False
    term: str = ""
    size: tuple[int, int] = DEFAULT_SIZE
    program: str = ""
    bytes_out: int = 0
    bytes_in: int = 0
    skipped: int = 0

    @property
    def label(self) -> str:
        """One line for a list to choose from."""
        what = self.program or self.kind or "channel"
        return f"{self.id}: {what}{' (terminal)' if self.has_pty else ''}, {self.bytes_out} bytes shown"


def survey(events: Iterable[Recorded]) -> dict[int, ChannelSummary]:
    """Every channel of a recording, by id."""
    channels: dict[int, ChannelSummary] = {}
    for event in events:
        if event.channel == 0:
            continue
        channel = channels.setdefault(event.channel, ChannelSummary(event.channel))
        if event.kind is Kind.NOTE:
            _learn(channel, event.note)
        elif event.kind is Kind.GAP:
            channel.skipped += event.gap.size
        elif event.side is Side.TARGET:
            channel.bytes_out += len(event.payload)
        else:
            channel.bytes_in += len(event.payload)
    return channels


def _learn(channel: ChannelSummary, note: dict[str, Any]) -> None:
    name, detail = note.get("event"), note.get("detail")
    detail = detail if isinstance(detail, dict) else {}
    if name == "channel_opened":
        channel.kind = str(note.get("kind", ""))
    elif name == "request_forwarded":
        request = note.get("name")
        if request == "pty-req":
            channel.has_pty, channel.term = True, str(detail.get("term", ""))
            channel.size = _size(detail) or channel.size
        elif request in ("shell", "exec", "subsystem"):
            argument = detail.get("command", detail.get("subsystem", ""))
            channel.program = f"{request} {argument}".strip()


def _size(detail: dict[str, Any]) -> tuple[int, int] | None:
    cols, rows = detail.get("cols"), detail.get("rows")
    if type(cols) is not int or type(rows) is not int or cols < 1 or rows < 1:
        return None
    return min(cols, LARGEST_SIZE[0]), min(rows, LARGEST_SIZE[1])


def choose_channel(channels: dict[int, ChannelSummary], wanted: int | None) -> ChannelSummary:
    """The channel asked for, or the only one with a terminal, or the only one that showed anything.

    Raises ChannelNotChosen.
    """
    if wanted is not None:
        if wanted not in channels:
            raise ChannelNotChosen(f"there is no channel {wanted}{_list(channels.values())}")
        return channels[wanted]
    for group in (
        [channel for channel in channels.values() if channel.has_pty],
        [channel for channel in channels.values() if channel.bytes_out or channel.skipped],
        list(channels.values()),
    ):
        if len(group) == 1:
            return group[0]
        if group:
            raise ChannelNotChosen(f"several channels, name one with --channel{_list(group)}")
    raise ChannelNotChosen("the recording has no channel")


def _list(channels: Iterable[ChannelSummary]) -> str:
    return "".join(f"\n  {channel.label}" for channel in channels)


class FrameKind(Enum):
    OUTPUT = "o"
    INPUT = "i"
    RESIZE = "r"
    INJECTED = "injected"
    NOTICE = "notice"
    BANNER = "banner"


OURS = frozenset({FrameKind.NOTICE, FrameKind.INJECTED, FrameKind.BANNER})
"""What `notice_text` makes readable: no output of a channel."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One step of showing a channel. `time` is seconds from the session's start; `data` is bytes for output,
    input and injected text, ASCII text of ours for a notice, `COLSxROWS` for a resize, lines for the target's
    login banner, which belongs to every channel."""

    time: float
    kind: FrameKind
    data: bytes


def frames(reader: Reader, channel: int) -> Iterator[Frame]:
    """What happened on one channel, in order. Gaps and the end of a cut-off file become notices."""
    gap, gap_open = 0, False
    last = 0.0
    for event in reader:
        last = event.time_us / 1e6
        if event.channel != channel:
            if event.channel == 0 and event.kind is Kind.NOTE:
                yield from _banner(last, event.note, reader.header.target)
            continue
        if event.kind is Kind.DATA:
            shown = event.side is Side.TARGET
            if gap and shown:  # within a gap, or behind it: what was left out came before these bytes
                yield Frame(last, FrameKind.NOTICE, f"{gap} bytes of bulk output not kept".encode())
                gap = 0
            yield Frame(last, FrameKind.OUTPUT if shown else FrameKind.INPUT, event.payload)
        elif event.kind is Kind.INJECTED:
            yield Frame(last, FrameKind.INJECTED, event.payload)
        elif event.kind is Kind.GAP and event.side is Side.TARGET:
            gap, gap_open = gap + event.gap.size, event.gap.open
            if gap and not gap_open:
                yield Frame(last, FrameKind.NOTICE, f"{gap} bytes of bulk output not kept".encode())
                gap = 0
        elif event.kind is Kind.NOTE:
            size = _resized(event.note)
            if size:
                yield Frame(last, FrameKind.RESIZE, f"{size[0]}x{size[1]}".encode())
    if gap_open:
        yield Frame(last, FrameKind.NOTICE, f"at least {gap} bytes of bulk output not kept".encode())
    for damage in reader.damage:
        yield Frame(last, FrameKind.NOTICE, f"damaged at byte {damage.offset}: {damage.text}".encode())
    if reader.totals is None:
        yield Frame(last, FrameKind.NOTICE, b"the recording ends here without an end mark")


def _banner(time: float, note: dict[str, Any], target: str) -> Iterator[Frame]:
    """The target's words before its login, as they were shown to the engineer."""
    text, missing = note.get("text"), note.get("missing")
    if note.get("event") == "target_banner" and isinstance(text, str) and isinstance(missing, int):
        lines = banner_lines(target, text, missing)
        yield Frame(time, FrameKind.BANNER, "\n".join(lines).encode("utf-8", "backslashreplace"))


def _resized(note: dict[str, Any]) -> tuple[int, int] | None:
    return _size(note) if note.get("event") == "window_changed" else None


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


def asciicast(reader: Reader, channel: ChannelSummary, filtered: bool = True) -> Iterator[str]:
    """Lines of an asciicast v2 file. `filtered`: only what may be shown in any terminal (screen.py)."""
    header = reader.header
    duration = reader.tail().time_us / 1e6
    document = {
        "version": 2,
        "width": channel.size[0],
        "height": channel.size[1],
        "timestamp": int(header.started_at),
        "duration": round(duration, 6),
        "title": f"{header.identity}: {header.login}@{header.target} ({header.session_id})",
        "env": {"TERM": channel.term},
    }
    yield json.dumps(document)
    display = DisplayFilter()
    decoders = {kind: codecs.getincrementaldecoder("utf-8")("replace") for kind in FrameKind}
    for frame in frames(reader, channel.id):
        code = "o"
        data = frame.data if channel.has_pty else frame.data.replace(b"\n", b"\r\n")
        if frame.kind in OURS:
            display.skip()
            text = notice_text(frame)
        elif frame.kind is FrameKind.OUTPUT and filtered:
            text = display.feed(data)
        else:
            text, code = decoders[frame.kind].decode(data), frame.kind.value
        if text:
            yield json.dumps([round(frame.time, 6), code, text])


def plain_text(reader: Reader, channel: int) -> Iterator[str]:
    """What was shown on a channel as text, without escapes; the gateway's own words on lines of their own."""
    lines = PlainText()
    for frame in frames(reader, channel):
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


def raw(reader: Reader, channel: int, side: Side, stream: int, injected: bool = True) -> Iterator[bytes]:
    """The bytes of one stream as they passed, for the target's streams with the gateway's own unless told."""
    for event in reader:
        if event.channel != channel or event.side is not side or event.stream != stream:
            continue
        if event.kind is Kind.DATA or (event.kind is Kind.INJECTED and injected):
            yield event.payload


def json_lines(reader: Reader, channel: int | None = None) -> Iterator[str]:
    """Everything in the file, one JSON object a line: header, events, then end, or how the file stops."""
    yield json.dumps({"kind": "header", "header": reader.header.document()})
    for event in reader:
        if channel is None or event.channel == channel:
            yield json.dumps(_event(event))
    for damage in reader.damage:
        yield json.dumps({"kind": "damage", "offset": damage.offset, "text": damage.text})
    if reader.totals is not None:
        yield json.dumps({"kind": "end", "end": reader.totals.document()})
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

"""The recorder of one session (L1, pure): takes what passes, gives back blocks to write before forwarding.

The order of a burst: every `data` and `event` of it, then one `take`, whose buffers go to one writev(2),
then the burst is forwarded. `data` is the hot path: plain ints and list appends; channel bytes are kept by
reference and never copied here, so they must stay unchanged until the buffers of `take` are written.

Invariant: what the client receives is in the blocks handed out before it, unless the rate rule (bulk.py)
skipped it, and then a gap record says so. Nothing here waits or writes; the clock is an argument.
"""

from __future__ import annotations

import re
import secrets
import struct
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum, IntEnum
from typing import Any, Final

from bastion.clock import Clock
from bastion.errors import RecorderFailed, RecorderReason
from bastion.recording.bulk import (
    PROGRESS_SECONDS,
    SAMPLE_BYTES,
    SETTLE_SECONDS,
    Bytes,
    Flow,
    Mode,
    OpenGap,
    RecordingPolicy,
)
from bastion.recording.format import (
    EVENT_HEAD,
    EVENT_HEAD_SIZE,
    SYNC_SIZE,
    BlockType,
    Gap,
    Header,
    Kind,
    Totals,
    encode_block,
    encode_json,
    encode_preamble,
)
from bastion.sides import Side
from bastion.wire.requests import printable

# A block is closed at this size even when the burst goes on. A burst is one read (at most 512 KiB), so only a
# caller that never calls `take` meets this.
CUT_BYTES = 1 << 20

# Above this number of buffers a block is joined: writev takes 1024 (IOV_MAX), and many means small. Then what can be
# one event is made one.
JOIN_OVER = 512

MAX_DELTA_US = 0xFFFFFFFF  # what the event's time field holds: 71 minutes within one block

# Plain ints and the bound call, for the hot path.
_DATA: Final = int(Kind.DATA)
_EVENTS: Final = int(BlockType.EVENTS)
_HEAD = EVENT_HEAD.pack
_KEY_SIZE = 8  # bytes of an event's head that say whose it is: kind, side, stream, channel
_KEY = struct.Struct(">BBBxI").unpack

# What is kept of [the client's, the target's] bytes: the same few pairs for all recorders.
_KEEPS = {pair: pair for pair in ((False, False), (False, True), (True, True))}

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Recorder:
    """Turns one session's bytes and events into blocks. One per session, used from one thread.

    `seen` (bytes in, bytes out), `skipped`, `events`, `blocks`, `channels` are plain ints, readable any time.
    `opaque` counts the channels that nobody can replay; whoever knows kinds of channels counts them.
    The header is written and not kept: an idle session holds no more than the next block needs.
    """

    __slots__ = (
        "_base_us",
        "_burst",
        "_flows",
        "_gapped",
        "_keeps",
        "_limited",
        "_monotonic",
        "_parts",
        "_rate",
        "_ready",
        "_size",
        "_start",
        "_started_at",
        "_sync",
        "_terminal_rate",
        "_terminals",
        "blocks",
        "channels",
        "events",
        "finished",
        "opaque",
        "owed",
        "seen",
        "skipped",
    )

    def __init__(
        self,
        header: Header,
        clock: Clock,
        policy: RecordingPolicy | None = None,
        sync: bytes | None = None,
    ) -> None:
        policy = policy or RecordingPolicy()
        self.seen = [0, 0]  # channel bytes by Side, kept or not
        self.skipped = 0  # bytes in gap records so far
        self.events = 0
        self.blocks = 0
        self.channels = 0
        self.opaque = 0
        self.finished = False
        self._started_at = header.started_at
        self._monotonic = clock.monotonic
        self._start = clock.monotonic()
        kept = policy.mode is not Mode.OFF
        self._keeps = _KEEPS[kept and policy.input, kept]
        self._limited = policy.mode is Mode.DEFAULT
        self._burst = policy.burst_bytes
        self._rate = policy.sustained_bytes
        self._terminal_rate = policy.terminal_bytes
        self._terminals: tuple[Flow, Flow] | None = None  # by Side, once a channel has a terminal
        self.owed: dict[Side, float] | None = None  # seconds not to read that side, for what terminals sent
        self._flows: dict[int, Flow] = {}
        self._gapped: dict[Flow, OpenGap] = {}
        self._parts: list[Bytes] = []
        self._size = 0
        self._base_us = 0
        self._sync = secrets.token_bytes(SYNC_SIZE) if sync is None else sync
        self._ready: list[Bytes] = [encode_preamble(self._sync)]
        document = encode_json({**header.document(), "mode": policy.mode.value, "input": policy.input})
        self._emit(BlockType.HEADER, 0, [document], len(document))

    @property
    def sync(self) -> bytes:
        """What every block of this file begins with."""
        return self._sync

    # -- the hot path

    def data(self, channel_id: int, side: Side, stream: int, data: Bytes) -> None:
        """Channel bytes that are about to be forwarded. Raises RecorderFailed after `finish`.

        `side` sent them; `stream` 0 is data, 1 extended data.
        """
        if self.finished:
            raise RecorderFailed(RecorderReason.WRITE_FAILED, "the recording has already ended")
        size = len(data)
        if stream > 1:  # RFC 4254 section 5.2 names type 1 (stderr) only; others are kept beside it
            stream = 1
        self.seen[side] += size
        if not self._keeps[side]:
            return
        now = self._monotonic()
        if self._limited:
            flow = self._flows.get(channel_id << 1 | side)
            if flow is None:
                flow = self._flows[channel_id << 1 | side] = Flow(channel_id, side, now, self._rate)
            if flow.omitted and not stream:
                flow.at = now
                self._skip(flow, stream, data, size, now)
                return
            level = flow.level - (now - flow.at) * flow.rate
            if level < 0.0:
                level = 0.0
            flow.at = now
            if level + size > self._burst:
                if not flow.whole:
                    flow.level = self._burst
                    self._skip(flow, stream, data, size, now)
                    return
                self.owed = self.owed or {}
                self.owed[side] = (level + size - self._burst) / flow.rate
            flow.level = level + size
            if flow.gap:
                self._end_gap(flow, flow.gap, int(self._burst - flow.level), now)
        self._append(_DATA, channel_id, side, stream, data, now)

    def _append(self, kind: int, channel_id: int, side: int, stream: int, payload: Bytes, now: float) -> None:
        offset = int((now - self._start) * 1e6)
        if not self._parts:
            self._base_us = offset
        elif offset - self._base_us > MAX_DELTA_US:
            self._cut()
            self._base_us = offset
        size = len(payload)
        self._parts += (_HEAD(kind, side, stream, channel_id, offset - self._base_us, size), payload)
        self._size += EVENT_HEAD_SIZE + size
        self.events += 1
        if self._size > CUT_BYTES:
            self._cut()

    def omit(self, channel_id: int, omitted: bool = True) -> None:
        """From here on keep nothing of the channel's main stream but gap records with its counts.

        For data whose meaning the events tell. In mode full it is kept all the same.
        """
        if not self._limited:
            return
        for side in Side:
            key = channel_id << 1 | side
            flow = self._flows.setdefault(key, Flow(channel_id, side, self._monotonic(), self._rate))
            flow.omitted = omitted and not flow.whole

    def terminal(self, channel_id: int) -> None:
        """The channel has a terminal, or asks for one: from here on all of it is kept, see `bulk`."""
        if not self._limited:
            return
        now = self._alive()
        if self._terminals is None:
            client, target = (Flow(0, side, now, self._terminal_rate, whole=True) for side in Side)
            self._terminals = client, target
        for side, whole in enumerate(self._terminals):
            key = channel_id << 1 | side
            flow = self._flows.get(key)
            if flow is not None and flow.gap:
                self._end_gap(flow, flow.gap, flow.gap.tail_size, now)
            self._flows[key] = whole

    # -- everything else that happens

    def event(self, event: object) -> None:
        """One of the relay's events, or any dataclass: noted under its class name in snake case.

        A `channel_closed` ends the channel's flows; `Injected` becomes an event kind of its own.
        """
        name, places = _SHAPES.get(type(event)) or _shape(type(event))
        detail = {place: getattr(event, place) for place in places}
        channel_id: int = detail.pop("channel_id", 0)
        if name == "injected":
            text = detail.get("text", b"")
            data = text.encode("utf-8", "replace") if isinstance(text, str) else bytes(text)
            self.injected(channel_id, data, int(detail.get("stream", 0)))
            return
        self.note(name, channel_id, detail)

    def note(self, name: str, channel_id: int = 0, detail: Mapping[str, Any] | None = None) -> None:
        """Something that happened, with JSON-like detail; `channel_id` 0 is the connection itself."""
        if name == "channel_confirmed":
            self.channels += 1
        elif name == "channel_closed":
            self._close_channel(channel_id)
        document: dict[str, Any] = {"event": name}
        side: int = Side.TARGET
        for key, value in detail.items() if detail else ():
            if key == "by" and value in (0, 1):
                side = value
            document[key] = value if type(value) in _AS_IT_IS else _plain(value)
        self._append(Kind.NOTE, channel_id, side, 0, encode_json(document), self._alive())

    def injected(self, channel_id: int, text: bytes, stream: int = 0) -> None:
        """The gateway's own bytes to the client on a channel."""
        self._append(Kind.INJECTED, channel_id, Side.TARGET, stream, text, self._alive())

    def _alive(self) -> float:
        if self.finished:
            raise RecorderFailed(RecorderReason.WRITE_FAILED, "the recording has already ended")
        return self._monotonic()

    # -- blocks

    def take(self) -> list[Bytes] | None:
        """The blocks of this burst as buffers for one writev, or None when nothing is to be written."""
        if self._gapped:
            self.settle()
        if self._parts:
            self._cut()
        if not self._ready:
            return None
        ready, self._ready = self._ready, []
        return ready

    @property
    def unsettled(self) -> bool:
        """True while a gap is open: the newest skipped bytes are held in memory.

        A session calls `take` again a second later when this is true after a burst, so that the end of a
        transfer reaches the disk even when nothing follows it.
        """
        return bool(self._gapped)

    def collect(self) -> dict[Side, float] | None:
        """How many seconds a side is not to be read now, so that terminals stay at their rate; owed once."""
        owed, self.owed = self.owed, None
        return owed

    def settle(self) -> None:
        """Close the gaps of flows that have been silent for SETTLE_SECONDS."""
        now = self._monotonic()
        for flow, gap in list(self._gapped.items()):
            if now - flow.at >= SETTLE_SECONDS:
                flow.level = max(0.0, flow.level - (now - flow.at) * flow.rate)
                flow.at = now
                self._end_gap(flow, gap, int(self._burst - flow.level), now)

    def finish(self, reason: str) -> list[Bytes]:
        """End the recording: every gap closed, then the end block. The last buffers to be written."""
        now = self._alive()
        for flow, gap in list(self._gapped.items()):
            self._end_gap(flow, gap, gap.tail_size, now)
        self._flows.clear()
        if self._parts:
            self._cut()
        duration = int((now - self._start) * 1e6)
        totals = Totals(
            reason=str(reason),
            ended_at=self._started_at + (now - self._start),  # whatever the clock was set to meanwhile
            duration_us=duration,
            blocks=self.blocks + 1,
            events=self.events,
            channels=self.channels,
            bytes_in=self.seen[0],
            bytes_out=self.seen[1],
            skipped=self.skipped,
            opaque=self.opaque,
        )
        document = encode_json(totals.document())
        self._emit(BlockType.END, duration, [document], len(document))
        self.finished = True
        ready, self._ready = self._ready, []
        return ready

    def _cut(self) -> None:
        parts, size = self._parts, self._size
        self._parts, self._size = [], 0
        if len(parts) > JOIN_OVER:
            whole, fewer = _merged(parts)
            parts, size = [whole], len(whole)
            self.events -= fewer
        self._emit(_EVENTS, self._base_us, parts, size)

    def _emit(self, kind: int, time_us: int, parts: list[Bytes], size: int) -> None:
        self._ready += encode_block(
            self._sync, kind, self.blocks, time_us, self.seen[0] + self.seen[1], parts, size
        )
        self.blocks += 1

    # -- gaps

    def _skip(self, flow: Flow, stream: int, data: Bytes, size: int, now: float) -> None:
        gap = flow.gap
        if gap is None:
            gap = flow.gap = self._gapped[flow] = OpenGap(now)
            self._append_gap(flow, gap, 0, True, now, now)
        if flow.omitted:
            gap.skip(stream, data, size, now, hold=False)
            if now - gap.reported >= PROGRESS_SECONDS:
                self._report(flow, gap, True, now, now)
            return
        if now - gap.reported >= PROGRESS_SECONDS:
            self._sample_end(flow, gap, now)
        if now - flow.sampled >= PROGRESS_SECONDS:  # the first of a new second
            flow.sampled = now
            self._append(_DATA, flow.channel, flow.side, stream, data[:SAMPLE_BYTES], now)
            data, size = data[SAMPLE_BYTES:], max(size - SAMPLE_BYTES, 0)
        if size:
            gap.skip(stream, data, size, now, hold=True)

    def _sample_end(self, flow: Flow, gap: OpenGap, now: float) -> None:
        """A second of a gap is over: its count, then its last bytes, in the order in which they passed."""
        kept = gap.release(SAMPLE_BYTES)
        self._report(flow, gap, True, now, now)
        for stream, data in kept:
            self._append(_DATA, flow.channel, flow.side, stream, data, now)

    def _end_gap(self, flow: Flow, gap: OpenGap, room: int, now: float) -> None:
        kept = gap.release(room)
        self._report(flow, gap, False, gap.until, now)
        flow.gap = None
        self._gapped.pop(flow, None)
        for stream, data in kept:
            flow.level += len(data)
            self._append(Kind.DATA, flow.channel, flow.side, stream, data, now)

    def _report(self, flow: Flow, gap: OpenGap, goes_on: bool, until: float, now: float) -> None:
        """Gap records for what was lost since the last: one for each stream, only the last one closing."""
        streams = [stream for stream in (0, 1) if gap.lost[stream]] or [0]
        for stream in streams:
            self._append_gap(flow, gap, stream, goes_on or stream != streams[-1], until, now)
        gap.since = gap.reported = now

    def _append_gap(
        self, flow: Flow, gap: OpenGap, stream: int, goes_on: bool, until: float, now: float
    ) -> None:
        record = Gap(
            open=goes_on,
            size=gap.lost[stream],
            messages=gap.lost_messages[stream],
            from_us=int((gap.since - self._start) * 1e6),
            until_us=int((until - self._start) * 1e6),
        )
        self.skipped += record.size
        gap.lost[stream] = gap.lost_messages[stream] = 0
        self._append(Kind.GAP, flow.channel, flow.side, stream, record.encode(), now)

    def _close_channel(self, channel_id: int) -> None:
        now = self._monotonic()
        for side in Side:
            flow = self._flows.pop(channel_id << 1 | side, None)
            if flow is not None and flow.gap:
                self._end_gap(flow, flow.gap, flow.gap.tail_size, now)


def _merged(parts: list[Bytes]) -> tuple[bytes, int]:
    """`parts`, heads and payloads in turn, as one buffer, and how many events it holds less.

    Data of one stream that follows itself is one event: a peer that sends messages of one byte would write 17 for each.
    The parts are those of one turn of the reactor, so that no time is lost that anybody could see.
    """
    merged: list[Bytes] = []
    run: list[Bytes] = []
    key, delta, events = b"", 0, 0
    for at in range(0, len(parts), 2):
        head, payload = bytes(parts[at]), parts[at + 1]
        if head[:_KEY_SIZE] == key:
            run.append(payload)
            continue
        _end_run(merged, key, delta, run)
        if head[0] == _DATA:
            key, delta, run = head[:_KEY_SIZE], EVENT_HEAD.unpack(head)[4], [payload]
        else:
            key, run = b"", []
            merged += (head, payload)
        events += 1
    _end_run(merged, key, delta, run)
    return b"".join(merged), len(parts) // 2 - events


def _end_run(merged: list[Bytes], key: bytes, delta: int, run: list[Bytes]) -> None:
    if run:
        kind, side, stream, channel_id = _KEY(key)
        merged += (_HEAD(kind, side, stream, channel_id, delta, sum(map(len, run))), *run)


_SHAPES: dict[type, tuple[str, tuple[str, ...]]] = {}  # as many as there are kinds of events


def _shape(kind: type) -> tuple[str, tuple[str, ...]]:
    """An event's class as its name in the recording, and its fields."""
    if not is_dataclass(kind):
        raise TypeError("an event is a dataclass instance")
    shape = _CAMEL.sub("_", kind.__name__).lower(), tuple(place.name for place in fields(kind))
    _SHAPES[kind] = shape
    return shape


_AS_IT_IS: Final = frozenset((str, int, bool, float, type(None)))


def _plain(value: Any) -> Any:
    """`value` as JSON: enums by name or text, bytes with what is not UTF-8 escaped."""
    kind = type(value)
    if kind in _AS_IT_IS:  # nearly all there is, and never a subclass such as an enum
        return value
    if kind is dict:
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, IntEnum):
        return value.name.lower()
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, bytes | bytearray | memoryview):
        return printable(bytes(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)

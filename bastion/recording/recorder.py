"""The recorder of one session (L1, pure): takes what passes, gives back blocks to write before forwarding.

The order of a burst: every `data` and `event` of it, then one `take`, whose buffers go to one writev(2),
then the burst is forwarded. `data` is the hot path: plain ints and list appends; channel bytes are kept by
reference, so they must stay unchanged until the buffers of `take` are written; a block copies them once.

Invariant: what the client receives is in the blocks handed out before it, unless the rate rule (bulk.py)
skipped it, and then a gap record says so. Nothing here waits or writes; the clock is an argument.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
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
from bastion.recording.chain import Chain
from bastion.recording.channels import size_of
from bastion.recording.events import AS_IT_IS, SHAPES, merged_parts, plain, shape_of
from bastion.recording.format import (
    EVENT_HEAD,
    EVENT_HEAD_SIZE,
    SYNC_SIZE,
    BlockType,
    Gap,
    Header,
    Kind,
    Sums,
    Totals,
    encode_json,
)
from bastion.recording.keys import Sealing
from bastion.sides import Side

# A block is closed at this size even when the burst goes on. A burst is one read (at most 512 KiB), so only a
# caller that never calls `take` meets this.
CUT_BYTES = 1 << 20

# Above this number of buffers a block is joined: writev takes 1024 (IOV_MAX), and many means small. Then what can be
# one event is made one.
JOIN_OVER = 512

MAX_DELTA_US = 0xFFFFFFFF  # what the event's time field holds: 71 minutes within one block

# Plain ints and the bound call, for the hot path.
_DATA: Final = int(Kind.DATA)
_CLIENT: Final = int(Side.CLIENT)
_EVENTS: Final = int(BlockType.EVENTS)
_INPUT: Final = int(BlockType.INPUT)
_HEAD = EVENT_HEAD.pack

# What is kept of [the client's, the target's] bytes: the same few pairs for all recorders.
_KEEPS = {pair: pair for pair in ((False, False), (False, True), (True, True))}

# The longest time that blocks wait for a signature over them, and from when on one is made when a block is written
# anyway, or when somebody looks (`due`).
CHECKPOINT_SECONDS = 10.0
CHECKPOINT_US = 7_500_000


class Recorder:
    """Turns one session's bytes and events into blocks. One per session, used from one thread.

    `seen` (bytes in, bytes out), `skipped`, `events`, `channels` are plain ints, readable any time.
    `opaque` counts the channels that nobody can replay; whoever knows kinds of channels counts them.
    The header is written and not kept: an idle session holds no more than the next block needs.
    """

    __slots__ = (
        "_base_us",
        "_burst",
        "_chain",
        "_flows",
        "_gapped",
        "_is_input",
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
        "_unsigned_us",
        "channels",
        "events",
        "finished",
        "opaque",
        "owed",
        "seen",
        "sizes",
        "skipped",
    )

    def __init__(
        self,
        header: Header,
        clock: Clock,
        policy: RecordingPolicy | None = None,
        sync: bytes | None = None,
        sealing: Sealing | None = None,
    ) -> None:
        """Without `sealing` nobody vouches for the recording."""
        policy = policy or RecordingPolicy()
        self.seen = [0, 0]  # channel bytes by Side, kept or not
        self.skipped = 0  # bytes in gap records so far
        self.events = 0
        self.channels = 0
        self.opaque = 0
        self.finished = False
        self.sizes: dict[int, tuple[int, int]] | None = None  # channel -> columns and rows of its terminal
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
        self._is_input = False  # what the parts are
        self._unsigned_us = -1  # time of the first block without a signature behind it
        self._sync = secrets.token_bytes(SYNC_SIZE) if sync is None else sync
        self._chain = Chain(self._sync)
        document = {**header.document(), "mode": policy.mode.value, "input": policy.input}
        self._ready: list[Bytes] = self._chain.begin(document, sealing or Sealing.alone(), policy.input)

    @property
    def sync(self) -> bytes:
        """What every block of this file begins with."""
        return self._sync

    @property
    def blocks(self) -> int:
        """How many there are, that of the keys not counted."""
        return self._chain.blocks

    @property
    def link(self) -> bytes:
        """The chain behind the last block: stands for all that was written."""
        return self._chain.link

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
        is_input = side == _CLIENT and kind == _DATA
        if not self._parts:
            self._base_us = offset
            self._is_input = is_input
        elif is_input is not self._is_input:
            self._cut()
            self._base_us = offset
            self._is_input = is_input
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
        name, places = SHAPES.get(type(event)) or shape_of(type(event))
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
        elif detail and name in ("request_forwarded", "window_changed"):
            self._resized(channel_id, detail)
        document: dict[str, Any] = {"event": name}
        side: int = Side.TARGET
        for key, value in detail.items() if detail else ():
            if key == "by" and value in (0, 1):
                side = value
            document[key] = value if type(value) in AS_IT_IS else plain(value)
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
            if self._base_us - self._unsigned_us >= CHECKPOINT_US:
                self._checkpoint(self._base_us)
        if not self._ready:
            return None
        self._chain.give()
        ready, self._ready = self._ready, []
        return ready

    def due(self) -> bool:
        """Have blocks waited long enough for a signature? Then the next `take` has one, though nothing else came."""
        if self._unsigned_us < 0 or self.finished:
            return False
        now_us = int((self._monotonic() - self._start) * 1e6)
        if now_us - self._unsigned_us < CHECKPOINT_US:
            return False
        if self._parts:
            self._cut()
        self._checkpoint(now_us)
        return True

    def _checkpoint(self, time_us: int) -> None:
        sums = Sums(self.events, self.channels, self.seen[0], self.seen[1], self.skipped, self.opaque)
        self._ready += self._chain.checkpoint(time_us, sum(self.seen), encode_json(sums.document()))
        self._unsigned_us = -1

    def clear(self, buffers: Sequence[Bytes]) -> Sequence[Bytes]:
        """Blocks of `take` and `finish`, not encrypted, until `forget`: for whoever watches."""
        return self._chain.clear(buffers)

    def forget(self) -> None:
        """The recording has ended, and those who watch have seen it: its keys go."""
        self._chain.forget()

    def rewind(self) -> None:
        """What `take` gave last has not been written, and will not be: call it before `finish`."""
        self._chain.rewind()

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
            blocks=self._chain.blocks + 1,
            events=self.events,
            channels=self.channels,
            bytes_in=self.seen[0],
            bytes_out=self.seen[1],
            skipped=self.skipped,
            opaque=self.opaque,
        )
        self._ready += self._chain.end(duration, sum(self.seen), encode_json(totals.document()))
        self.finished = True
        ready, self._ready = self._ready, []
        return ready

    def _cut(self) -> None:
        parts, size, seen = self._parts, self._size, self.seen
        self._parts, self._size = [], 0
        if len(parts) > JOIN_OVER:
            whole, fewer = merged_parts(parts)
            parts, size = [whole], len(whole)
            self.events -= fewer
        kind = _INPUT if self._is_input else _EVENTS
        self._ready += self._chain.events(kind, self._base_us, seen[0] + seen[1], parts, size)
        if self._unsigned_us < 0:
            self._unsigned_us = self._base_us

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

    def _resized(self, channel_id: int, detail: Mapping[str, Any]) -> None:
        """A terminal is asked for, or its window has another size."""
        asked = detail.get("detail") if detail.get("name") == "pty-req" else detail
        size = size_of(asked) if isinstance(asked, dict) else None
        if size is not None:
            self.sizes = {**(self.sizes or {}), channel_id: size}

    def _close_channel(self, channel_id: int) -> None:
        if self.sizes:
            self.sizes.pop(channel_id, None)
        now = self._monotonic()
        for side in Side:
            flow = self._flows.pop(channel_id << 1 | side, None)
            if flow is not None and flow.gap:
                self._end_gap(flow, flow.gap, flow.gap.tail_size, now)

"""The rate rule for bulk (L1, pure): which bytes of a flow are kept when somebody moves a disk image.

A flow is one channel in one direction. Its bucket holds `burst_bytes` and drains at `sustained_bytes` a
second. A message that fits is kept and charged. One that does not fit is skipped, and the bucket then stands
full: the skipped bytes are charged too. So a flow faster than the sustained rate leaves gap records, and the first
message after it has slowed down fits again at once. That is a hiding place: whoever keeps a flow above the
sustained rate, on average, leaves of it no more than samples, the first and the last SAMPLE_BYTES of every second.

Therefore not where people work: what channels with a terminal carry is kept in full at any speed. All of a session
in one direction are one flow, which drains at `terminal_bytes` a second; beyond the burst it is not what is kept that
gives way but the speed, see `Recorder.owed`.

The end of a burst often arrives in the same read as what follows it (`head -c 100M /dev/zero; exec bash -i`
behind a slow client: the prompt stands right behind the zeros). Therefore the last TAIL_BYTES of what was
skipped are held and recorded when the gap ends, as far as the bucket has room.

A flow may be omitted as a whole: nothing of its main stream is kept or held, whatever its rate, because
events tell what passed (sftp).

Invariant: for every flow and stream, kept bytes + bytes of its gap records + bytes held = bytes that passed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from bastion.sides import Side

# Held per flow in a gap. A screen of prompt, menu or error text is a few KiB; at most one SSH message more
# than this stays referenced (the reader's maximum packet, 256 KiB), and only while the gap lasts.
TAIL_BYTES = 16 << 10

# A progress record at most this often while a gap lasts, so that a cut-off file still tells how much passed.
PROGRESS_SECONDS = 1.0

# Kept of the begin and of the end of every second of a gap, uncharged: 2 KiB a second and flow.
SAMPLE_BYTES = 1 << 10

# A flow silent for this long has ended its burst: its gap is closed without waiting for the next message.
# At the sustained default this leaves room for far more than the tail.
SETTLE_SECONDS = 0.2


Bytes = bytes | memoryview


class Mode(StrEnum):
    """What is kept of channel bytes. Events, counts and the gateway's own text are kept in every mode."""

    OFF = "off"
    DEFAULT = "default"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class RecordingPolicy:
    """How much is recorded. `input`: also what the client sends. Sizes in bytes, and bytes a second.

    `terminal_bytes`: how fast a session's terminals go on beyond the burst. It is what one session may write to the
    disk for ever: 1 MiB/s are 13,000 full lines a second and 42 GiB in 12 h.
    """

    mode: Mode = Mode.DEFAULT
    input: bool = False
    burst_bytes: int = 64 << 20
    sustained_bytes: int = 1 << 20
    terminal_bytes: int = 1 << 20


class Flow:
    """The bucket of what one side sends on one channel, and its gap while one is open. Times are monotonic seconds.

    `whole`: nothing is ever skipped; it is then the flow of all terminals of a session, and its level may pass the
    burst.
    """

    __slots__ = ("at", "channel", "gap", "level", "omitted", "rate", "sampled", "side", "whole")

    def __init__(self, channel: int, side: Side, now: float, rate: float, whole: bool = False) -> None:
        self.rate = rate  # bytes a second that drain
        self.whole = whole
        self.sampled = now - PROGRESS_SECONDS  # when the last sample was taken of what begins
        self.channel = channel
        self.side = side
        self.level = 0.0  # bytes charged and not yet drained
        self.at = now  # when `level` was true
        self.omitted = False
        self.gap: OpenGap | None = None


class OpenGap:
    """What is skipped of a flow, from the first message that did not fit until one fits again.

    Of its own, because hardly any flow of an idle session ever has one.
    """

    __slots__ = ("lost", "lost_messages", "reported", "since", "tail", "tail_size", "until")

    def __init__(self, now: float) -> None:
        self.since = now  # where the next gap record begins
        self.until = now  # when the newest skipped message passed
        self.reported = now
        self.lost = [0, 0]  # bytes, by stream, not yet in a gap record
        self.lost_messages = [0, 0]
        self.tail: deque[tuple[int, Bytes, int]] = deque()  # stream, bytes, size: the newest skipped messages
        self.tail_size = 0

    def skip(self, stream: int, data: Bytes, size: int, now: float, hold: bool) -> None:
        """Count a message that is not kept. With `hold`, keep the newest in memory and let go of what is older
        than the tail."""
        self.until = now
        if not hold:
            self.lost[stream] += size
            self.lost_messages[stream] += 1
            return
        if not isinstance(data, bytes):
            view = memoryview(data)
            data = view if view.readonly else bytes(view)
        tail = self.tail
        tail.append((stream, data, size))
        held = self.tail_size + size
        while held - tail[0][2] >= TAIL_BYTES:
            oldest, _, gone = tail.popleft()
            held -= gone
            self.lost[oldest] += gone
            self.lost_messages[oldest] += 1
        self.tail_size = held

    def release(self, room: int) -> list[tuple[int, Bytes]]:
        """Empty the tail: its last `room` bytes (at most TAIL_BYTES) are to be kept, the rest is lost."""
        room = min(room, TAIL_BYTES)
        kept: list[tuple[int, Bytes]] = []
        for stream, data, size in reversed(self.tail):
            taken = min(size, room)
            room -= taken
            if taken:
                kept.append((stream, memoryview(data)[size - taken :] if taken < size else data))
            if taken < size:
                self.lost[stream] += size - taken
                self.lost_messages[stream] += 1
        self.tail.clear()
        self.tail_size = 0
        kept.reverse()
        return kept

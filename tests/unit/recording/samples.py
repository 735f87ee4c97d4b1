"""Recordings made in memory, for the tests of this room."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field

from bastion.clock import FixedClock
from bastion.recording.bulk import Mode, RecordingPolicy
from bastion.recording.format import Header, Recorded
from bastion.recording.reader import Reader
from bastion.recording.recorder import Recorder
from bastion.sides import Side

SESSION = "abcdefghijklmnop"
SYNC = b"\xf0sync\x00\x01\x02"
CLIENT, TARGET = Side.CLIENT, Side.TARGET


def header(session_id: str = SESSION, **changes: object) -> Header:
    """A header with everything in it."""
    values: dict[str, object] = {
        "session_id": session_id,
        "identity": "alice",
        "uid": "1001",
        "target": "web1",
        "login": "deploy",
        "started_at": 1_800_000_000.0,
        "host": "10.0.0.5",
        "port": 22,
        "auth_methods": ("publickey",),
        "source_address": "192.0.2.7",
        "rules": ("web",),
    }
    values.update(changes)
    return Header(**values)  # type: ignore[arg-type]


@dataclass
class Tape:
    """A recorder with a clock that is moved by hand, and the file that its blocks make."""

    policy: RecordingPolicy = field(default_factory=RecordingPolicy)
    about: Header = field(default_factory=lambda: header())

    def __post_init__(self) -> None:
        self.clock = FixedClock()
        self.recorder = Recorder(self.about, self.clock, self.policy, SYNC)
        self.file = b"".join(self.recorder.take() or [])

    def out(self, data: bytes, channel: int = 1, stream: int = 0) -> None:
        """The target says something, in a burst of its own."""
        self.recorder.data(channel, TARGET, stream, data)
        self.burst()

    def burst(self) -> None:
        self.file += b"".join(self.recorder.take() or [])

    def end(self, reason: str = "client_closed") -> Tape:
        self.file += b"".join(self.recorder.finish(reason))
        return self

    def reader(self) -> Reader:
        return Reader(io.BytesIO(self.file), SESSION)

    def events(self) -> list[Recorded]:
        return list(self.reader())


def full(**changes: object) -> RecordingPolicy:
    return RecordingPolicy(mode=Mode.FULL, **changes)  # type: ignore[arg-type]


def joined(events: Iterable[Recorded], channel: int, side: Side, stream: int) -> bytes:
    """The kept bytes of one stream."""
    return b"".join(
        event.payload
        for event in events
        if (event.channel, event.side, event.stream) == (channel, side, stream) and event.kind == 1
    )

"""Recordings of terminals with known output."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

from bastion.clock import FixedClock
from bastion.recording.format import Header
from bastion.recording.recorder import Recorder
from bastion.recording.store import Store
from tests.support.world import poll

START = 1_800_000_000.0
ID = "seekseekseekseek"


def some_output(count: int) -> list[bytes]:
    """Pieces of what programs print: lines with colours, an editor's screen, cut anywhere."""
    chance = random.Random(1)
    pieces = []
    for number in range(count):
        kind = chance.random()
        if kind < 0.7:
            line = b"line %d \x1b[3%dmof text\x1b[m\r\n" % (number, chance.randrange(8))
            pieces.append(line * 9)
        elif kind < 0.9:
            pieces.append(b"\x1b[?1049h\x1b[44m\x1b[2J\x1b[%d;5Hin an editor\x1b[3" % chance.randrange(1, 20))
            pieces.append("1m你好\x1b[m".encode())
        else:
            pieces.append(b"\x1b[?1049l")
    return pieces


def recorded_terminal(
    folder: Path, pieces: Iterable[bytes], *, other: bool = False, resized: bool = False
) -> Path:
    """A shell on channel 1 that shows a piece each second, in a block of its own, `resized` half way; with `other` a
    second one on channel 2 whose output comes between, and an exec on channel 3 at 2.5 s."""
    about = Header(ID, "alice", "u", "web1", "deploy", START)
    store, clock, pieces = Store(folder, disk_floor_bytes=0, sync_seconds=5), FixedClock(), list(pieces)
    writer, recorder = store.create(about), Recorder(about, clock)
    pty = {"name": "pty-req", "detail": {"term": "xterm", "cols": 80, "rows": 24}}
    for channel in (1, 2) if other else (1,):
        recorder.note("channel_opened", channel, {"kind": "session"})
        recorder.note("request_forwarded", channel, pty)
        recorder.note("request_forwarded", channel, {"name": "shell", "detail": {}})
    writer.write(recorder.take())
    for number, piece in enumerate(pieces):
        clock.advance(1)
        if other and 5 < number % 20 < 10:
            recorder.data(2, 1, 0, piece)
        else:
            recorder.data(1, 1, 0, piece)
        if other and number == 1:
            clock.advance(0.5)
            recorder.note("channel_opened", 3, {"kind": "session"})
            recorder.note("request_forwarded", 3, {"name": "exec", "detail": {"command": "uptime"}})
            recorder.data(3, 1, 0, b"up 5 days\n")
            recorder.note("channel_closed", 3, {})
        if resized and number == len(pieces) // 2:
            recorder.note("window_changed", 1, {"cols": 70, "rows": 20})
        writer.write(recorder.take())
    writer.close(recorder.finish("client_closed"))
    poll(lambda: writer.closed, text="the file was never closed")
    assert store.close()
    return writer.path

"""Recordings with known lines and commands."""

from __future__ import annotations

from pathlib import Path

from bastion.clock import FixedClock
from bastion.recording.format import Header
from bastion.recording.recorder import Recorder
from bastion.recording.store import Store
from tests.support.world import poll

START = 1_800_000_000.0
IDS = tuple(letter * 16 for letter in "abcdefgh")


def recorded(folder: Path, place: int, text: str, command: str = "", end: bool = True) -> Path:
    """A session of a shell that shows `text`, and of one exec; its file."""
    about = Header(IDS[place], f"user{place}", "u", f"web{place}", "deploy", START + 1000 * place)
    store = Store(folder, disk_floor_bytes=0, sync_seconds=0.05)
    clock = FixedClock()
    writer = store.create(about)
    recorder = Recorder(about, clock)
    recorder.note("channel_opened", 1, {"kind": "session"})
    recorder.note(
        "request_forwarded", 1, {"name": "pty-req", "detail": {"term": "xterm", "cols": 80, "rows": 24}}
    )
    recorder.note("request_forwarded", 1, {"name": "shell", "detail": {}})
    clock.advance(10)
    recorder.data(1, 1, 0, text.replace("\n", "\r\n").encode())
    if command:
        recorder.note("channel_opened", 2, {"kind": "session"})
        recorder.note("request_forwarded", 2, {"name": "exec", "detail": {"command": command}})
        recorder.note("exit_status", 2, {"status": 3})
        recorder.note("channel_closed", 2, {})
    writer.write(recorder.take())
    writer.close(recorder.finish("client_closed") if end else None)
    poll(lambda: writer.closed, text="the file was never closed")
    assert store.close()
    return writer.path

"""Recordings made for the commands on them, and a way to call those."""

from __future__ import annotations

from pathlib import Path

import click
from click.testing import CliRunner, Result

from bastion.clock import FixedClock
from bastion.recording.bulk import RecordingPolicy
from bastion.recording.format import Header
from bastion.recording.recorder import Recorder
from bastion.recording.store import Store
from bastion.sides import Side
from tests.support.world import poll

FIRST, SECOND, THIRD = "aaaabbbbccccdddd", "aaaazzzzccccdddd", "bbbbbbbbccccdddd"
START = 1_800_000_000.0
PTY = {"name": "pty-req", "detail": {"term": "xterm", "cols": 80, "rows": 24}}


def record(store: Store, header: Header, end: bool = True, policy: RecordingPolicy | None = None) -> None:
    """A shell on channel 1 that shows text, an answer-provoking escape, stderr and a warning of ours."""
    clock = FixedClock()
    writer = store.create(header)
    recorder = Recorder(header, clock, policy)
    recorder.note("channel_opened", 1, {"kind": "session"})
    recorder.note("request_forwarded", 1, PTY)
    recorder.note("request_forwarded", 1, {"name": "shell", "detail": {}})
    recorder.data(1, 1, 0, b"\x1b[?1049h\x1b[32mhello\x1b[0m\x1b[6n\x1b]52;c;cm0=\x07\r\n")
    clock.advance(0.05)
    recorder.data(1, 1, 1, b"oops\r\n")
    recorder.injected(1, b"bye soon")
    clock.advance(0.05)
    recorder.data(1, 1, 0, b"done\r\n")
    writer.write(recorder.take())
    writer.close(recorder.finish("client_closed") if end else None)
    poll(lambda: writer.closed, text="the file was never closed")


def start_and_end(store: Store, header: Header) -> None:
    """A recording as the store makes them: sealed as it says, and in its ledger."""
    recorder, writer = store.start(header)
    recorder.data(1, Side.TARGET, 0, b"hello\r\n")
    writer.write(recorder.take())
    writer.close(recorder.finish("client_closed"), recorder.link)


def header(session_id: str, identity: str, target: str, started_at: float = START) -> Header:
    return Header(session_id, identity, "1", target, "deploy", started_at)


def run(command: click.Command, recordings: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, ["--recordings", str(recordings), *arguments])

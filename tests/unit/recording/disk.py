"""Recordings on the disk, for the tests of this room."""

from __future__ import annotations

from bastion.recording.recorder import Recorder
from bastion.recording.writer import Writer
from tests.support.world import poll
from tests.unit.recording.samples import TARGET

OTHER = "zzzzzzzzzzzzzzzz"
SOON = 0.05  # seconds between passes over the files, so that no test waits for one


def finish(recorder: Recorder, writer: Writer, reason: str = "client_closed") -> None:
    writer.close(recorder.finish(reason))
    poll(lambda: writer.closed, text="the file was never closed")


def say(recorder: Recorder, writer: Writer, data: bytes) -> None:
    recorder.data(1, TARGET, 0, data)
    writer.write(recorder.take())

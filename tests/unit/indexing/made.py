"""Recordings with known lines and commands."""

from __future__ import annotations

from pathlib import Path

from bastion.clock import FixedClock
from bastion.indexing.pages import Page
from bastion.indexing.store import IndexFile
from bastion.indexing.words import Question
from bastion.recording.commands import Command
from bastion.recording.format import Header
from bastion.recording.listed import Listed
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


ONE = Listed("a" * 16, "ended", 100.0, "alice", "deploy", "web1", 60.0, 5, "2027-01-15/a.rec")
TWO = ONE._replace(id="b" * 16, started_at=900.0, identity="bob")


def put(file: IndexFile, one: Listed, *lines: str, end: bool = True) -> int:
    number = file.begin(one, "u", "10.0.0.1", 10, 20)
    page = Page(1)
    for place, line in enumerate(lines):
        page.add(float(place), line)
    file.add(number, 0, [page])
    if end:
        file.end(number, [Command(one.id, 2, "exec", "rm x", 5.0, 105.0, 5.0, exit_status=0)], "[]", "")
    return number


def found(file: IndexFile, words: str, context: int = 0) -> list[tuple[str, float, str]]:
    hits = file.search(Question.of(words), file.sessions(), context)
    return [(hit.session.id[0], hit.time, hit.text) for hit in hits]

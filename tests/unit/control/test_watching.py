"""Watching a session on a whole gateway in memory: what is shown, what is dropped, who is told, and how it ends."""

from __future__ import annotations

import json
from base64 import b64decode

import pytest
from pyrage import x25519

from bastion.control.asking import WINDOW, By, Stream
from bastion.control.node import Kill, LiveAsked, Selection, StatusAsked
from bastion.control.orders import Watched, WatchSession
from bastion.control.watching import READ_ON, Watching
from bastion.errors import ControlReason
from bastion.observe.audit import AuditFailed
from bastion.observe.meters import WATCH_DROPPED, WATCHERS
from bastion.recording.blocks import Blocks
from bastion.recording.format import HEAD_SIZE, BlockType, parse_head
from tests.hostile import memory_gateway as gate
from tests.hostile.memory_gateway import MemoryGateway

SEC = By(1000, "sec")


class Room:
    """A session with a terminal, and somebody who may watch it."""

    def __init__(self, folder, patch, recording=""):
        self.memory = MemoryGateway(folder, patch, recording=recording)
        self.gateway, self.folder = self.memory.gateway, folder
        self.local = self.memory.program.local
        self.threads = []
        self.local.watching = Watching(self.gateway, self.threads.append)
        self.local._table[WatchSession] = self.local.watching.watch
        self.engineer = self.memory.connect()
        gate.log_in(self.engineer)
        self.target = self.memory.target()
        gate.let_in(self.target)
        self.engineer.read_until(52)
        self.engineer.send(gate.open_session())
        self.target.read_until(90)
        self.target.send(gate.confirm(0, 0))
        self.engineer.read_until(91)
        self.engineer.send(gate.ask_channel(0, b"pty-req", gate.PTY))
        self.target.read_until(98)
        self.target.send(b"\x63" + (0).to_bytes(4, "big"))
        self.engineer.read_until(99)
        (self.session,) = self.gateway.live

    def say(self, text):
        self.target.send(gate.data(0, text))

    def watch(self, read=True, by=SEC):
        """(events, stream, how it ended) of one watcher."""
        events, ended = [], []
        stream = Stream(lambda event, size: events.append(event))
        watching = self.local.ask(WatchSession(self.session.session_id, "look", by), stream)
        watching.addBoth(ended.append)
        if read:
            self.read()
        return events, stream, ended, watching

    def read(self):
        while self.threads:
            self.threads.pop()()
            self.memory.clock.threads.get(timeout=10)()

    def audit(self, event):
        lines = (self.folder / "audit.jsonl").read_text().splitlines()
        return [found for found in map(json.loads, lines) if found["event"] == event]


@pytest.fixture
def room(tmp_path, monkeypatch):
    made = Room(tmp_path, monkeypatch)
    yield made
    made.memory.close()


def shown(events):
    blocks = Blocks(bytes.fromhex(events[0]["sync"]))
    return b"".join(
        one.payload
        for event in events
        for one in blocks.events(b64decode(event["blocks"]))
        if one.channel and one.kind in (1, 3)
    )


def test_the_last_screens_and_then_what_happens(room):
    room.say(b"before ")
    events, *_ = room.watch()
    room.say(b"after ")
    text = shown(events)
    assert text.startswith(b"before ") and text.endswith(b"after ")
    assert b"somebody of the security team watches this session" in text
    assert b"somebody of the security team watches" in b"".join(room.engineer.read_all())


def test_whom_an_account_speaks_for_is_named_to_the_engineer_and_in_the_log(room):
    room.watch(by=By(990, "console", "ada"))
    assert b"bastion: ada of the security team watches this session" in b"".join(room.engineer.read_all())
    (started,) = room.audit("watch_started")
    assert (started["who"], started["who_uid"], started["person"]) == ("console", 990, "ada")


def test_the_sizes_of_the_terminals_of_now_come_first(room):
    events, *_ = room.watch()
    assert [*events[0]["terminals"].values()] == [[80, 24]]


@pytest.mark.parametrize("encrypted", [False, True])
def test_what_is_typed_leaves_for_nobody_though_it_is_recorded(tmp_path, monkeypatch, encrypted):
    recording = "input = true\n"
    identity = x25519.Identity.generate()
    if encrypted:
        (tmp_path / "readers.txt").write_text(f"{identity.to_public()}\n")
        recording += 'recipients = "readers.txt"\n'
    room = Room(tmp_path, monkeypatch, recording)
    try:
        room.say(b"Password: ")
        room.engineer.send(gate.data(0, b"typed-before\r"))
        events, *_ = room.watch(read=False)
        room.engineer.send(gate.data(0, b"typed-meanwhile\r"))
        room.read()
        room.engineer.send(gate.data(0, b"typed-later\r"))
        room.say(b"welcome ")
        sent = b"".join(b64decode(event["blocks"]) for event in events)
        assert b"typed" not in sent and b"welcome" in shown(events)
        assert encrypted or b"Password: " in shown(events)
        file = room.session.recording()[0].read_bytes()
        assert encrypted or all(
            word in file for word in (b"typed-before", b"typed-meanwhile", b"typed-later")
        )
        kinds = {head.type for head in heads_of(file, bytes.fromhex(events[0]["sync"]))}
        assert BlockType.INPUT in kinds
        assert BlockType.INPUT not in {head.type for head in heads_of(sent, bytes.fromhex(events[0]["sync"]))}
    finally:
        room.memory.close()


def heads_of(data, sync):
    """The heads of all blocks in it."""
    found, at = [], data.find(sync)
    while at >= 0:
        head = parse_head(data[at : at + HEAD_SIZE], sync)
        found += [head] if head is not None else []
        at = data.find(sync, at + 1)
    return found


def test_what_is_said_while_the_file_is_read_is_shown_once(room):
    room.say(b"one ")
    events, *_ = room.watch(read=False)
    room.say(b"two ")
    room.read()
    room.say(b"three ")
    text = shown(events)
    assert (
        text.count(b"one ") == text.count(b"two ") == text.count(b"three ") == 1 and not events[0]["skipped"]
    )


def test_much_that_is_said_while_the_file_is_read_is_a_gap_that_is_told(room):
    events, *_ = room.watch(read=False)
    for _ in range(2):
        room.say(b"x" * (READ_ON // 2))
    room.read()
    assert events[0]["skipped"] and b"xx" not in shown(events)


@pytest.mark.parametrize(("watched", "told"), [("told", True), ("silent", False)])
def test_the_rules_say_whether_the_engineer_is_told(room, watched, told):
    room.session.watched = watched
    room.engineer.read_all()
    events, *_, watching = room.watch()
    watching.cancel()
    assert (b"watch" in b"".join(room.engineer.read_all())) is told
    assert events[0]["told"] is told and room.audit("watch_started")[0]["told"] is told


def test_the_rules_say_that_nobody_watches(room):
    room.session.watched = "no"
    room.engineer.read_all()
    events, _, ended, _ = room.watch()
    assert ended[0].value.reason is ControlReason.BY_POLICY and events == []
    assert room.audit("watch_started") == [] and room.local.watching.count() == 0
    assert room.engineer.read_all() == []


def test_a_watcher_that_takes_nothing_drops_and_holds_nobody_up(room):
    events, stream, *_ = room.watch()
    for _ in range(100):
        room.say(b"y" * 20_000)
        room.engineer.read_all()
        room.engineer.send(b"\x5d" + (0).to_bytes(4, "big") + (20_000).to_bytes(4, "big"))
    taken = sum(len(b64decode(event["blocks"])) for event in events)
    assert taken <= WINDOW and room.gateway.meters.value(WATCH_DROPPED) > 80
    assert sum(room.session.counts()[1:]) >= 100 * 20_000
    stream.grant(WINDOW)
    room.say(b"again")
    assert events[-1]["dropped"] == room.gateway.meters.value(WATCH_DROPPED)
    room.say(b"and again")
    assert events[-1]["dropped"] == 0


def test_a_session_that_nobody_watches_writes_as_before(room):
    before = room.session._tap._writer
    first = room.watch()[3]
    second = room.watch()[3]
    assert room.session._tap._writer is not before
    first.cancel()
    assert room.session._tap._writer is not before
    second.cancel()
    assert room.session._tap._writer is before
    assert room.local.watching.count() == 0 == room.gateway.meters.value(WATCHERS)


def test_watchers_are_seen(room):
    room.watch()
    room.watch()
    rows = room.local.ask(LiveAsked()).result.rows
    assert [row.watchers for row in rows] == [2] and room.gateway.meters.value(WATCHERS) == 2
    assert room.local.ask(StatusAsked()).result.nodes[0].watchers == 2


def test_the_end_of_the_session_is_shown_and_ends_it(room):
    events, _, ended, _ = room.watch()
    room.local.ask(Kill(Selection(everything=True), "enough", SEC))
    assert ended == [Watched("ended", "the session has ended", 0)]
    assert b"ended by the security team: enough" in shown(events)
    blocks = Blocks(bytes.fromhex(events[0]["sync"]))
    for event in events:
        list(blocks.events(b64decode(event["blocks"])))
    assert blocks.ended


def test_who_watched_and_for_how_long_stands_in_the_audit_log(room):
    *_, watching = room.watch()
    room.memory.clock.advance(2.0)
    watching.cancel()
    (started,), (ended,) = room.audit("watch_started"), room.audit("watch_ended")
    assert started["session"] == ended["session"] == room.session.session_id
    assert (started["who"], started["who_uid"], started["why"]) == ("sec", 1000, "look")
    assert (ended["who"], ended["seconds"]) == ("sec", 2.0)


def test_nobody_watches_without_the_line_that_must_be_there(room, monkeypatch):
    def refuse(*_):
        raise AuditFailed("full")

    monkeypatch.setattr(room.gateway.audit, "emit", refuse)
    *_, ended, _ = room.watch()
    assert ended[0].value.reason is ControlReason.FAILED and room.local.watching.count() == 0


def test_what_cannot_be_watched(room, monkeypatch):
    got = []
    room.local.ask(WatchSession("none", "", SEC), Stream(lambda *_: None)).addErrback(got.append)
    room.local.ask(WatchSession(room.session.session_id, "", SEC)).addErrback(got.append)
    monkeypatch.setattr("bastion.control.watching.MOST_WATCHERS", 0)
    room.local.ask(WatchSession(room.session.session_id, "", SEC), Stream(lambda *_: None)).addErrback(
        got.append
    )
    assert [one.value.reason for one in got] == ["not_found", "not_found", "too_many"]
    assert room.audit("watch_started") == []


@pytest.mark.parametrize("who", ["session", "watcher"])
def test_an_end_while_the_file_is_read(room, who):
    events, _, ended, watching = room.watch(read=False)
    if who == "session":
        room.engineer.hang_up()
    else:
        watching.cancel()
    room.read()
    assert events == [] and len(ended) == 1 and len(room.audit("watch_ended")) == 1
    assert room.local.watching.count() == 0


def test_a_recording_that_cannot_be_read_is_watched_from_now_on(room):
    room.say(b"before ")
    events, *_ = room.watch(read=False)
    path = room.session.recording()[0]
    path.rename(path.with_suffix(".gone"))
    room.read()
    room.say(b"after ")
    assert shown(events) == b"after "
    path.with_suffix(".gone").rename(path)

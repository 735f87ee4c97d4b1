"""What passes a session is written down at once: in the recording, in lines, in the meters."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyrage
import pytest

from bastion.age import recipients_of
from bastion.clock import FixedClock
from bastion.errors import EndReason, PolicyReason, RecorderFailed, RecorderReason
from bastion.observe.audit import AuditLog
from bastion.observe.audit_chain import NAMES
from bastion.observe.events import About
from bastion.observe.families.recordings import (
    RECORDER_BLOCKS,
    RECORDER_BYTES,
    RECORDER_FAILURES,
    RECORDER_GAP_BYTES,
    RECORDINGS_LIVE,
    RECORDINGS_SEALED,
    RECORDINGS_UNSEALED,
)
from bastion.observe.meters import BYTES, CHANNELS, CHANNELS_LIVE, REQUESTS, Meters
from bastion.recording.blocks import Blocks
from bastion.recording.bulk import RecordingPolicy
from bastion.recording.data_keys import DataKeyStock
from bastion.recording.format import Header, Kind, Recorded
from bastion.recording.store import Store
from bastion.relay import events as e
from bastion.relay.channels import Channel
from bastion.session.ending import End
from bastion.session.tap import SessionTap
from bastion.session.watching import Watcher
from bastion.sides import Side

SESSION = "k3v2m5q7p2r4t6wa"


class World:
    """A tap that writes into a folder, and what can be read there afterwards."""

    def __init__(
        self, folder: Path, keys: DataKeyStock | None = None, policy: RecordingPolicy | None = None
    ) -> None:
        self.meters, self.clock = Meters(), FixedClock()
        clock = self.clock
        self._log = folder / "audit"
        self.audit = AuditLog(str(self._log), clock, self.meters)
        self.store = Store(folder / "recordings", disk_floor_bytes=0, clock=clock)
        self.store.use(keys)
        header = Header(SESSION, "alice", "u-1", "web1", "root", clock.time())
        recorder, writer = self.store.start(header, policy)
        self.tap = SessionTap(recorder, writer, self.audit, self.meters, About(SESSION, SESSION[:6]))

    def whole_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def opened(self, channel: int = 1, kind: str = "session", **detail: Any) -> Channel:
        self.tap.event(e.ChannelOpened(channel, kind, Side.CLIENT, detail, "ops"))
        return Channel(channel, kind, Side.CLIENT)

    def lines(self) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self._log.read_text().splitlines()]
        assert all((line["session"], line["ref"]) == (SESSION, SESSION[:6]) for line in found)
        return [
            {k: v for k, v in line.items() if k not in {"ts", "session", "ref", *NAMES}} for line in found
        ]

    def recorded(self) -> list[Any]:
        with self.store.open(SESSION) as reader:
            return list(reader)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()
    made.audit.close()


def test_data_is_in_the_file_once_it_was_committed(world: World) -> None:
    channel = world.opened()
    world.tap.data(channel, Side.CLIENT, 0, b"ls\r")
    world.tap.data(channel, Side.TARGET, 0, b"a  b\r\n")
    assert world.tap.commit() is False
    data = [bytes(event.payload) for event in world.recorded() if event.kind is Kind.DATA]
    assert b"a  b\r\n" in data
    assert world.tap.moved == 9
    assert world.meters.value(BYTES, "session", "to_target") == 3
    assert world.meters.value(BYTES, "session", "to_client") == 6
    assert world.meters.value(RECORDER_BLOCKS) == 1 and world.meters.value(RECORDER_BYTES) > 9


def test_the_first_word_of_the_target_is_told_once_and_everything_is_counted(world: World) -> None:
    told: list[int] = []
    world.tap.on_first_output = lambda: told.append(world.meters.value(BYTES, "session", "to_client"))
    first, second = world.opened(1), world.opened(2)
    world.tap.data(first, Side.CLIENT, 0, b"ls\r")
    assert told == []
    world.tap.data(second, Side.TARGET, 1, b"no\n")
    world.tap.data(first, Side.TARGET, 0, b"a  b\r\n")
    world.tap.data(second, Side.TARGET, 0, b"more")
    third = world.opened(3)
    world.tap.data(third, Side.TARGET, 0, b"x")
    assert told == [3]
    assert world.meters.value(BYTES, "session", "to_client") == 14
    assert world.meters.value(BYTES, "session", "to_target") == 3


def test_an_end_is_counted_as_sealed_and_one_that_the_disk_did_not_take_as_not(
    world: World, tmp_path: Path
) -> None:
    world.tap.ended(End(EndReason.CLIENT_CLOSED, "bye"))
    assert world.meters.value(RECORDINGS_SEALED, "session") == 1
    other = tmp_path / "other"
    other.mkdir()
    full = World(other)
    writer: Any = full.tap._writer
    full.opened()
    writer._space.free, writer._space.low = 0, 1
    with pytest.raises(RecorderFailed) as failed:
        full.tap.commit()
    os.close(writer._fd)
    writer._fd = os.open("/dev/full", os.O_WRONLY)
    full.tap.broken(failed.value)
    assert full.meters.value(RECORDINGS_UNSEALED, "session") == 1
    assert full.meters.value(RECORDINGS_SEALED, "session") == 0
    full.store.close()
    full.audit.close()


def test_bulk_that_is_left_out_is_counted(tmp_path: Path) -> None:
    made = World(tmp_path, policy=RecordingPolicy(burst_bytes=1000, sustained_bytes=1))
    channel = made.opened()
    for _ in range(20):
        made.tap.data(channel, Side.TARGET, 0, bytes(32 << 10))
        made.clock.advance(0.5)
        made.tap.commit()
    made.tap.ended(End(EndReason.CLIENT_CLOSED, "bye"))
    assert 0 < made.meters.value(RECORDER_GAP_BYTES) < made.meters.value(BYTES, "session", "to_client")
    made.store.close()
    made.audit.close()


def test_a_turn_in_which_nothing_happened_writes_nothing(world: World) -> None:
    world.tap.commit()
    before = world.meters.value(RECORDER_BLOCKS)
    world.tap.commit()
    assert world.meters.value(RECORDER_BLOCKS) == before


def test_a_channel_has_a_line_at_each_end(world: World) -> None:
    world.opened(1, "direct-tcpip", host="db1", port=5432)
    assert world.meters.value(CHANNELS_LIVE, "direct-tcpip") == 1
    world.tap.event(e.ChannelClosed(1, "direct-tcpip", 5, 6))
    assert world.lines() == [
        {
            "event": "channel_opened",
            "channel": 1,
            "kind": "direct-tcpip",
            "by": "client",
            "rule": "ops",
            "host": "db1",
            "port": 5432,
        },
        {"event": "channel_closed", "channel": 1, "kind": "direct-tcpip", "bytes_in": 5, "bytes_out": 6},
    ]
    assert world.meters.value(CHANNELS_LIVE, "direct-tcpip") == 0
    assert world.meters.value(CHANNELS, "direct-tcpip", PolicyReason.ALLOWED) == 1


@pytest.mark.parametrize(
    ("event", "family", "labels"),
    [
        (
            e.ChannelRefused("x11", Side.TARGET, PolicyReason.VERB_NOT_ALLOWED, "no", "ops"),
            CHANNELS,
            ("x11", PolicyReason.VERB_NOT_ALLOWED),
        ),
        (
            e.RequestRefused(1, Side.CLIENT, "env", PolicyReason.ENV_NOT_ALLOWED, "no", "ops"),
            REQUESTS,
            ("env", PolicyReason.ENV_NOT_ALLOWED),
        ),
    ],
)
def test_a_refusal_is_a_line_and_a_count(
    world: World, event: Any, family: Any, labels: tuple[str, str]
) -> None:
    world.tap.event(event)
    (line,) = world.lines()
    assert (line["event"], line["reason"], line["by"]) == ("refused", labels[1], event.by.name.lower())
    assert world.meters.value(family, *labels) == 1


def test_a_command_line_is_in_the_recording_and_not_in_the_log(world: World) -> None:
    world.opened()
    world.tap.event(e.RequestForwarded(1, Side.CLIENT, "exec", {"command": "secret"}, "ops"))
    assert "secret" not in json.dumps(world.lines())
    world.tap.commit()
    assert any("secret" in json.dumps(event.note) for event in world.recorded() if event.kind is Kind.NOTE)


def test_the_first_channel_that_hides_something_is_said_once(world: World) -> None:
    for channel in (1, 2):
        world.opened(channel, "direct-tcpip", host="db1", port=1)
        world.tap.event(e.ChannelConfirmed(channel))
    assert [line["event"] for line in world.lines()].count("session_opaque") == 1


def test_the_end_closes_the_file_and_says_all_that_was_counted(world: World) -> None:
    channel = world.opened()
    world.tap.event(e.ChannelConfirmed(1))
    world.tap.data(channel, Side.CLIENT, 0, b"ls\r")
    world.tap.ended(End(EndReason.IDLE, "no data for 10 min"))
    line = world.lines()[-1]
    assert (line["event"], line["reason"], line["bytes_in"], line["channels"]) == (
        "session_ended",
        "idle",
        3,
        1,
    )
    assert world.meters.value(CHANNELS_LIVE, "session") == world.meters.value(RECORDINGS_LIVE) == 0
    assert world.recorded()[-1].kind is not Kind.DATA
    assert world.tap.commit() is False, "nothing more is written"


def test_a_recording_that_breaks_is_given_up_and_nothing_more_is_recorded(world: World) -> None:
    world.opened()
    world.tap.broken(RecorderFailed(RecorderReason.WRITE_FAILED, "no space"))
    assert world.meters.value(RECORDER_FAILURES, RecorderReason.WRITE_FAILED) == 1
    assert world.lines()[-1]["event"] == "recorder_failed"
    assert world.tap.failure is None and not world.tap.unsettled and world.tap.commit() is False
    world.tap.ended(End(EndReason.RECORDER_FAILED, "no space"))
    assert world.meters.value(RECORDINGS_LIVE) == 0


def test_nobody_owes_a_rest_who_kept_to_the_rate(world: World) -> None:
    world.tap.data(world.opened(), Side.TARGET, 0, b"x")
    assert world.tap.owed() == {}


@pytest.mark.parametrize("breaks", [False, True])
def test_who_watches_an_encrypted_session_sees_its_end(tmp_path: Path, breaks: bool) -> None:
    anna = str(pyrage.x25519.Identity.generate().to_public())
    world = World(tmp_path, DataKeyStock(recipients_of([anna]), 1))
    blocks, seen = Blocks(world.tap.recording()[2]), list[Recorded]()
    over: list[bool] = []
    assert world.tap.watch(
        Watcher(lambda shown: seen.extend(blocks.events(b"".join(shown))), lambda: over.append(True))
    )
    world.tap.data(world.opened(), Side.TARGET, 0, b"first")
    world.tap.commit()
    world.tap.data(world.opened(), Side.TARGET, 0, b"last")
    if breaks:
        world.tap.broken(RecorderFailed(RecorderReason.AUDIT_FAILED, "no log"))
    else:
        world.tap.ended(End(EndReason.CLIENT_CLOSED, "bye"))
    assert [event.payload for event in seen if event.kind is Kind.DATA] == [b"first", b"last"]
    assert blocks.ended and not blocks.closed and over == [True]
    assert breaks or seen[-1].note["event"] == "session_ended"
    world.store.close()
    world.store.use(None)
    world.audit.close()
    (file,) = tmp_path.glob("recordings/*/*.rec")
    assert b"first" not in file.read_bytes() and b"session_ended" not in file.read_bytes()


def test_every_line_says_whose_session_it_is(world):
    world.tap.about = About(SESSION, SESSION[:6], "", "alice", "192.0.2.1", "web1", "root")
    world.opened()
    line = world.whole_lines()[-1]
    assert [line[name] for name in ("user", "source", "target", "login")] == [
        "alice",
        "192.0.2.1",
        "web1",
        "root",
    ]

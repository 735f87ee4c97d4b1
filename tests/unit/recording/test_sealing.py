"""Recordings whose writer died, ended by another: whole blocks stay, sums are right, others' files are left alone."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bastion.clock import FixedClock
from bastion.recording.bulk import Mode, RecordingPolicy
from bastion.recording.format import Header, Kind
from bastion.recording.keys import Sealing
from bastion.recording.listing import Recordings
from bastion.recording.reader import Reader
from bastion.recording.recorder import Recorder
from bastion.recording.sealing import seal
from bastion.recording.store import Store
from bastion.relay.events import ChannelConfirmed, ChannelOpened
from bastion.sides import Side

NOW = 1_800_000_000.0
ID = "k3v2m5q7p2r4t6wa"
TEXT = "the gateway's process died"
NODE = Sealing.alone()
KEPT = Path(__file__).with_name("kept.rec")


def unfinished(folder: Path, clock: FixedClock, policy: RecordingPolicy | None = None) -> Path:
    """A recording of two channels whose process was killed: nothing ends it, and its lock is gone."""
    store = Store(folder, disk_floor_bytes=0, clock=clock)
    header = Header(ID, "alice", "u-1", "web1", "root", clock.time(), door="direct")
    recorder, writer = store.start(header, policy)
    for channel, kind in ((1, "session"), (2, "direct-tcpip")):
        recorder.event(ChannelOpened(channel, kind, Side.CLIENT, {}))
        recorder.event(ChannelConfirmed(channel))
    clock.advance(2.0)
    recorder.data(1, Side.CLIENT, 0, b"id\n")
    recorder.data(1, Side.TARGET, 0, b"uid=0(root)\n")
    recorder.data(1, Side.TARGET, 1, b"oops")
    writer.write(recorder.take())
    store.close()
    return writer.path


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


def test_a_file_without_an_end_gets_one(tmp_path: Path, clock: FixedClock) -> None:
    path = unfinished(tmp_path, clock)
    before = path.read_bytes()
    sealed = seal(path, "worker_died", TEXT, NODE)
    assert sealed.problem == "" and sealed.header.identity == "alice"
    assert path.read_bytes().startswith(before), "whole blocks stay as they were"
    (entry,) = Recordings(tmp_path, clock).sessions()
    assert (entry.state, entry.reason, entry.duration, entry.bytes, entry.opaque) == (
        "ended",
        "worker_died",
        2.0,
        19,
        1,
    )
    with path.open("rb") as source:
        reader = Reader(source, ID)
        events = list(reader)
    assert reader.state == "complete" and reader.damage == []
    assert events[-1].kind is Kind.NOTE and events[-1].note["reason"] == "worker_died"
    totals = reader.totals
    assert totals is not None and totals == sealed.totals and sealed.size == path.stat().st_size
    assert (totals.bytes_in, totals.bytes_out, totals.channels, totals.skipped) == (3, 16, 2, 0)
    assert (totals.events, totals.ended_at) == (
        len(events) - 1,
        NOW + 2.0,
    )  # the note stands in the end block
    assert (totals.incomplete, totals.text, totals.counted_until) == (True, TEXT, 1)
    assert totals.node_key == NODE.signer.public.line()


def test_an_older_format_gets_the_end_of_that_format(tmp_path: Path, clock: FixedClock) -> None:
    whole = KEPT.read_bytes()
    with KEPT.open("rb") as source:
        reader = Reader(source)
        kept = list(reader)
        size = int.from_bytes(whole[-4:], "big")
        theirs = reader.totals
    path = tmp_path / f"{ID}.rec"
    path.write_bytes(whole[:-size])
    assert seal(path, "worker_died", TEXT, NODE).problem == ""
    with path.open("rb") as source:
        reader = Reader(source)
        *events, last = reader
    assert reader.version == 1 and reader.state == "complete" and events == kept
    assert last.note == {"event": "session_ended", "reason": "worker_died", "text": TEXT}
    assert reader.totals is not None and theirs is not None
    assert reader.totals.events == len(kept) + 1 and reader.totals.bytes_out == theirs.bytes_out


@pytest.mark.parametrize("left", [1, 30, 200])
def test_half_a_block_is_cut_off(tmp_path: Path, clock: FixedClock, left: int) -> None:
    path = unfinished(tmp_path, clock)
    whole = path.read_bytes()
    with path.open("rb") as source:
        last = whole.rfind(Reader(source).sync)
    path.write_bytes(whole + whole[last : min(last + left, len(whole) - 1)])
    assert seal(path, "worker_died", TEXT, NODE).problem == ""
    (entry,) = Recordings(tmp_path, clock).sessions()
    assert (entry.state, entry.bytes) == ("ended", 19)


def test_what_was_not_kept_is_counted(tmp_path: Path, clock: FixedClock) -> None:
    policy = RecordingPolicy(mode=Mode.DEFAULT, burst_bytes=8, sustained_bytes=1)
    store = Store(tmp_path, disk_floor_bytes=0, clock=clock)
    recorder, writer = store.start(Header(ID, "alice", "u-1", "web1", "root", NOW), policy)
    for _ in range(3):
        recorder.data(1, Side.TARGET, 0, b"x" * 100)
    writer.write(recorder.take())
    clock.advance(60.0)
    writer.write(recorder.take())
    store.close()
    sealed = seal(writer.path, "worker_died", TEXT, NODE)
    assert sealed.totals is not None and sealed.totals.bytes_out == 300 and sealed.totals.skipped > 0
    assert sealed.totals.bytes_in == 0


def test_an_end_that_is_there_stays(tmp_path: Path, clock: FixedClock) -> None:
    store = Store(tmp_path, disk_floor_bytes=0, clock=clock)
    recorder, writer = store.start(Header(ID, "alice", "u-1", "web1", "root", NOW))
    writer.close(recorder.finish("client_closed"))
    store.close()
    before = writer.path.read_bytes()
    sealed = seal(writer.path, "worker_died", TEXT, NODE)
    assert sealed.totals is not None and sealed.totals.reason == "client_closed"
    assert writer.path.read_bytes() == before


def test_what_is_still_written_or_damaged_is_left_alone(tmp_path: Path, clock: FixedClock) -> None:
    store = Store(tmp_path, disk_floor_bytes=0, clock=clock)
    recorder = Recorder(Header(ID, "alice", "u-1", "web1", "root", NOW), clock)
    writer = store.create(Header(ID, "alice", "u-1", "web1", "root", NOW))
    writer.write(recorder.take())
    assert seal(writer.path, "worker_died", TEXT, NODE).problem == "is still being written"
    store.close()
    path = writer.path
    path.write_bytes(path.read_bytes() + b"no block at all" * 20)
    before = path.read_bytes()
    assert "is no block" in seal(path, "worker_died", TEXT, NODE).problem
    assert path.read_bytes() == before


def test_a_block_that_has_changed_is_no_torn_one(tmp_path: Path, clock: FixedClock) -> None:
    path = unfinished(tmp_path, clock)
    whole = bytearray(path.read_bytes())
    whole[-20] ^= 1
    path.write_bytes(whole)
    assert "is no block" in seal(path, "worker_died", TEXT, NODE).problem
    assert path.read_bytes() == whole


def test_many_small_blocks_are_walked_quickly(tmp_path: Path, clock: FixedClock) -> None:
    """A worker may leave hundreds of recordings of a day's keystrokes, and their ends are wanted within seconds."""
    store = Store(tmp_path, disk_floor_bytes=0, clock=clock)
    recorder, writer = store.start(Header(ID, "alice", "u-1", "web1", "root", NOW, door="direct"))
    for _ in range(20_000):
        recorder.data(1, Side.TARGET, 0, b"x")
        writer.write(recorder.take())
    store.close()
    began = time.thread_time()
    sealed = seal(writer.path, "worker_died", TEXT, NODE)
    assert time.thread_time() - began < 1.0
    assert sealed.totals is not None and sealed.totals.bytes_out == 20_000 and sealed.totals.blocks == 20_002


def test_what_is_no_recording(tmp_path: Path, clock: FixedClock) -> None:
    path = tmp_path / f"{ID}.rec"
    assert "cannot be opened" in seal(path, "worker_died", TEXT, NODE).problem
    path.write_bytes(b"")
    assert seal(path, "worker_died", TEXT, NODE).problem
    assert Store(tmp_path, clock=clock).seal(ID, "worker_died", TEXT) is None


def test_a_store_finds_it_by_its_name(tmp_path: Path, clock: FixedClock) -> None:
    unfinished(tmp_path, clock)
    sealed = Store(tmp_path, disk_floor_bytes=0, clock=clock).seal(ID, "worker_died", TEXT)
    assert sealed is not None and sealed.totals is not None

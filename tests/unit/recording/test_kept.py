"""A recording of an earlier version of this program: it plays as ever, and the same session gives the same events."""

from __future__ import annotations

import io
from pathlib import Path

from bastion.recording.bulk import RecordingPolicy
from bastion.recording.format import Kind
from bastion.recording.reader import Reader
from bastion.relay.events import ChannelClosed, ChannelConfirmed, ChannelOpened, EofSent, Injected
from bastion.sides import Side

from .samples import SESSION, Tape

KEPT = Path(__file__).with_name("kept.rec")
CLIENT, TARGET = Side.CLIENT, Side.TARGET


def written() -> bytes:
    """One session of everything that a file can hold: both sides and streams, notes, our own words, a gap, a sample."""
    tape = Tape(RecordingPolicy(input=True, burst_bytes=1000, sustained_bytes=100))
    recorder = tape.recorder
    recorder.event(ChannelOpened(1, "session", CLIENT, {}, "web"))
    recorder.event(ChannelConfirmed(1))
    recorder.event(ChannelOpened(2, "forwarded-tcpip", TARGET, {"host": "localhost", "port": 8080}))
    tape.burst()
    tape.clock.advance(0.25)
    recorder.data(1, CLIENT, 0, b"ls\r")
    recorder.data(1, TARGET, 0, b"a\r\nb\r\n")
    recorder.data(1, TARGET, 1, b"ls: no c\r\n")
    recorder.data(1, CLIENT, 1, b"?")
    tape.burst()
    recorder.event(Injected(1, 0, b"bastion: 5 minutes left\r\n"))
    for _ in range(4):
        tape.clock.advance(0.5)
        tape.out(bytes(range(256)) * 3)
    recorder.data(2, CLIENT, 0, b"GET /\r\n")
    recorder.event(EofSent(1, TARGET))
    recorder.event(ChannelClosed(1, "session", 4, 3088))
    recorder.note("session_ended", detail={"reason": "client_closed", "by": 0})
    return tape.end().file


def test_the_same_session_gives_the_same_events() -> None:
    old, new = Reader(io.BytesIO(KEPT.read_bytes()), SESSION), Reader(io.BytesIO(written()), SESSION)
    assert (old.version, new.version) == (1, 2)
    assert list(old) == list(new)
    assert old.totals is not None and new.totals is not None
    theirs, ours = old.totals.document(), new.totals.document()
    assert theirs.pop("blocks") < ours.pop("blocks") and theirs == ours


def test_every_changed_byte_of_it_is_noticed() -> None:
    kept = KEPT.read_bytes()
    for place in range(len(kept)):
        changed = bytearray(kept)
        changed[place] ^= 0x10
        reader = Reader(io.BytesIO(bytes(changed)), SESSION)
        list(reader)
        assert reader.state == "damaged", place


def test_the_file_is_read_as_it_was() -> None:
    events = list(Reader(io.BytesIO(KEPT.read_bytes()), SESSION))
    data = [(e.channel, e.side, e.stream, bytes(e.payload)) for e in events if e.kind is Kind.DATA]
    assert data[:4] == [
        (1, CLIENT, 0, b"ls\r"),
        (1, TARGET, 0, b"a\r\nb\r\n"),
        (1, TARGET, 1, b"ls: no c\r\n"),
        (1, CLIENT, 1, b"?"),
    ]
    assert data[-1] == (2, CLIENT, 0, b"GET /\r\n")
    assert all(type(event.side) is Side for event in events)
    notes = [(e.side, e.note["event"], e.note.get("by")) for e in events if e.kind is Kind.NOTE]
    assert notes == [
        (CLIENT, "channel_opened", "client"),
        (TARGET, "channel_confirmed", None),
        (TARGET, "channel_opened", "target"),
        (TARGET, "eof_sent", "target"),
        (TARGET, "channel_closed", None),
        (CLIENT, "session_ended", 0),
    ]
    (ours,) = [e for e in events if e.kind is Kind.INJECTED]
    assert (ours.channel, ours.side, ours.payload) == (1, TARGET, b"bastion: 5 minutes left\r\n")
    gaps = {(e.channel, e.side, e.stream) for e in events if e.kind is Kind.GAP}
    assert gaps == {(1, TARGET, 0)}

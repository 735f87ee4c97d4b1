"""Reading back: what went in comes out, and whatever is cut off or changed is noticed."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.recording import format as fmt
from bastion.recording.bulk import RecordingPolicy
from bastion.recording.format import FormatError, Kind, Recorded, UnknownVersion
from bastion.recording.reader import Reader
from tests.support.examples import examples
from tests.unit.recording.samples import SESSION, SYNC, Tape, full

# One step of a session: data, a note, injected text, the end of a burst, time passing.
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("data"), st.integers(1, 3), st.integers(0, 1), st.integers(0, 1), st.binary(max_size=300)
        ),
        st.tuples(st.just("note"), st.integers(0, 3), st.text(max_size=20)),
        st.tuples(st.just("injected"), st.integers(1, 3), st.binary(max_size=40)),
        st.tuples(st.just("take")),
        st.tuples(st.just("wait"), st.floats(0, 100, allow_nan=False)),
    ),
    max_size=30,
)


def play(
    script: list[tuple[object, ...]], policy: RecordingPolicy | None = None
) -> tuple[Tape, list[tuple[object, ...]]]:
    """Run the steps; returns the tape and what a reader must give back: (kind, channel, side, stream, payload)."""
    tape = Tape(policy or full(input=True))
    expected: list[tuple[object, ...]] = []
    for step in script:
        match step:
            case ("data", int(channel), int(side), int(stream), bytes(data)):
                tape.recorder.data(channel, side, stream, data)
                expected.append((Kind.DATA, channel, side, stream, data))
            case ("note", int(channel), str(text)):
                tape.recorder.note("said", channel, {"text": text})
                expected.append((Kind.NOTE, channel, 1, 0, {"event": "said", "text": text}))
            case ("injected", int(channel), bytes(text)):
                tape.recorder.injected(channel, text)
                expected.append((Kind.INJECTED, channel, 1, 0, text))
            case ("take",):
                tape.burst()
            case ("wait", float(seconds)):
                tape.clock.advance(seconds)
    return tape, expected


def seen(event: Recorded) -> tuple[object, ...]:
    payload = event.note if event.kind is Kind.NOTE else event.payload
    return (event.kind, event.channel, event.side, event.stream, payload)


@given(steps)
def test_any_sequence_of_events_round_trips(script: list[tuple[object, ...]]) -> None:
    tape, expected = play(script)
    reader = tape.end("killed").reader()
    events = list(reader)
    assert [seen(event) for event in events] == expected
    assert [event.time_us for event in events] == sorted(event.time_us for event in events)
    assert reader.state == "complete" and not reader.damage and reader.torn_at is None
    assert reader.totals is not None and reader.totals.reason == "killed"
    assert reader.totals.events == len(expected)
    assert reader.totals == reader.tail().totals


@given(steps, st.data())
def test_any_truncation_gives_a_prefix_and_says_where(
    script: list[tuple[object, ...]], data: st.DataObject
) -> None:
    tape, _ = play(script)
    whole = [seen(event) for event in tape.end().reader()]
    cut = data.draw(st.integers(0, len(tape.file) - 1))
    try:
        reader = Reader(io.BytesIO(tape.file[:cut]))
    except FormatError:
        assert cut < len(Tape(full(input=True)).file)  # only the header is too short to be anything
        return
    events = [seen(event) for event in reader]
    assert events == whole[: len(events)]
    assert reader.state == "truncated" and not reader.damage
    assert reader.torn_at is not None and reader.torn_at <= cut
    assert reader.tail().totals is None


@given(steps, st.data())
@examples(200)
def test_any_changed_byte_is_detected_and_nothing_false_comes_out(
    script: list[tuple[object, ...]], data: st.DataObject
) -> None:
    tape, _ = play(script)
    whole = [seen(event) for event in tape.end().reader()]
    place = data.draw(st.integers(0, len(tape.file) - 1))
    change = data.draw(st.integers(1, 255))
    changed = bytearray(tape.file)
    changed[place] ^= change
    reader = Reader(io.BytesIO(bytes(changed)), SESSION)
    events = [seen(event) for event in reader]
    assert reader.damage and reader.state == "damaged"
    assert reader.damage[0].offset <= place
    rest = iter(whole)
    assert all(event in rest for event in events)  # a subsequence of what was recorded


def test_every_single_byte_of_a_small_file_matters() -> None:
    tape = Tape()
    tape.out(b"hello")
    tape.end()
    for place in range(len(tape.file)):
        changed = bytearray(tape.file)
        changed[place] ^= 0xFF
        reader = Reader(io.BytesIO(bytes(changed)), SESSION)
        list(reader)
        assert reader.state == "damaged", place


def test_a_damaged_block_is_left_out_and_the_rest_still_read() -> None:
    tape = Tape()
    tape.out(b"one")
    start = len(tape.file)
    tape.out(b"two")
    end = len(tape.file)
    tape.out(b"three")
    tape.end()
    changed = bytearray(tape.file)
    changed[end - 12] ^= 1
    reader = Reader(io.BytesIO(bytes(changed)))
    assert [event.payload for event in reader] == [b"one", b"three"]
    assert [(damage.offset, damage.text) for damage in reader.damage] == [(start, "block 2 is damaged")]


def test_a_damaged_head_is_skipped_by_looking_for_the_next_block() -> None:
    tape = Tape()
    start = len(tape.file)
    tape.out(b"one")
    tape.out(b"two")
    tape.end()
    changed = bytearray(tape.file)
    changed[start + 12] ^= 1  # the length field
    reader = Reader(io.BytesIO(bytes(changed)))
    assert [event.payload for event in reader] == [b"two"]
    assert reader.damage[0].offset == start


def test_a_block_cut_out_of_the_middle_is_noticed() -> None:
    tape = Tape()
    start = len(tape.file)
    tape.out(b"one")
    end = len(tape.file)
    tape.out(b"two")
    tape.end()
    reader = Reader(io.BytesIO(tape.file[:start] + tape.file[end:]))
    assert [event.payload for event in reader] == [b"two"]
    assert "missing" in reader.damage[0].text


def test_swapped_blocks_are_noticed() -> None:
    tape = Tape()
    a = len(tape.file)
    tape.out(b"one")
    b = len(tape.file)
    tape.out(b"two")
    c = len(tape.file)
    tape.end()
    reader = Reader(io.BytesIO(tape.file[:a] + tape.file[b:c] + tape.file[a:b] + tape.file[c:]))
    list(reader)
    assert len(reader.damage) == 2 and "stands where" in reader.damage[1].text


def test_bytes_after_the_end_block_are_damage() -> None:
    tape = Tape().end()
    reader = Reader(io.BytesIO(tape.file + b"more"))
    assert list(reader) == [] and reader.damage[0].text == "bytes after the end block"


def test_zeros_at_the_end_are_a_torn_tail_as_a_power_loss_leaves_it() -> None:
    tape = Tape()
    tape.out(b"one")
    whole = len(tape.file)
    tape.out(b"two" * 100)
    for file in (tape.file[:whole] + bytes(500), tape.file[:-200] + bytes(200)):
        reader = Reader(io.BytesIO(file))
        assert [event.payload for event in reader] == [b"one"]
        assert reader.torn_at == whole and reader.state == "truncated"


def test_a_recording_printed_inside_a_session_cannot_pose_as_blocks() -> None:
    inner = Tape()
    inner.out(b"false")
    inner.end()
    outer = Tape()
    start = len(outer.file)
    other = inner.file.replace(SYNC, b"anotherS")  # each file has sync bytes of its own
    outer.out(other)
    outer.end()
    changed = bytearray(outer.file)
    changed[start + 3] ^= 1  # the head of the block that holds the printed file
    reader = Reader(io.BytesIO(bytes(changed)))
    assert list(reader) == [] and reader.damage


def test_a_damaged_header_costs_the_header_only() -> None:
    tape = Tape()
    first = len(tape.file)
    tape.out(b"kept")
    tape.end()
    changed = bytearray(tape.file)
    changed[first - 20] ^= 1
    reader = Reader(io.BytesIO(bytes(changed)), SESSION)
    assert [event.payload for event in reader] == [b"kept"]
    assert reader.header.session_id == SESSION and reader.header.identity == "?"
    assert reader.damage[0].text == "the header block is damaged"
    assert [event.payload for event in reader] == [b"kept"] and len(reader.damage) == 1  # a second pass


def test_a_later_version_is_refused_by_name() -> None:
    tape = Tape()
    body = fmt.MAGIC + struct.pack(">HH", 3, 0) + SYNC
    later = body + struct.pack(">I", fmt.crc32(body)) + tape.file[fmt.PREAMBLE_SIZE :]
    with pytest.raises(UnknownVersion, match="version 3"):
        Reader(io.BytesIO(later))


@given(st.binary(max_size=400))
def test_garbage_is_no_recording_and_raises_nothing_else(data: bytes) -> None:
    with pytest.raises(FormatError):
        Reader(io.BytesIO(data))


@given(st.binary(max_size=200), st.booleans())
def test_garbage_behind_a_good_header_raises_nothing(data: bytes, synced: bool) -> None:
    tape = Tape()
    reader = Reader(io.BytesIO(tape.file + (SYNC if synced else b"") + data))
    assert list(reader) == []
    reader.tail()

"""What is kept, what is counted, and that the two always add up."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.errors import PolicyReason, RecorderFailed
from bastion.recording.bulk import SAMPLE_BYTES, TAIL_BYTES, Mode, RecordingPolicy
from bastion.recording.format import EVENT_HEAD_SIZE, HEAD_SIZE, Kind, Recorded
from bastion.recording.recorder import CUT_BYTES, JOIN_OVER
from bastion.relay import events as relay
from bastion.sides import Side
from tests.support.examples import examples
from tests.unit.recording.samples import CLIENT, TARGET, Tape, full, joined

KIB, MIB = 1 << 10, 1 << 20

# A bucket small enough to be emptied at once: 64 KiB, then 1 KiB a second.
SMALL = RecordingPolicy(burst_bytes=64 * KIB, sustained_bytes=KIB)


def gaps(events: list[Recorded]) -> list[tuple[int, int, int]]:
    """(stream, bytes, messages) of every gap record that counts something."""
    return [(e.stream, e.gap.size, e.gap.messages) for e in events if e.kind is Kind.GAP and e.gap.size]


def test_the_header_is_the_first_thing_to_be_written_and_then_nothing_is() -> None:
    tape = Tape()
    assert tape.reader().header.identity == "alice"
    assert tape.recorder.take() is None


def test_a_large_burst_is_copied_once_and_hashed_at_once() -> None:
    tape = Tape()
    tape.recorder.take()
    large = [bytes([letter]) * 2500 for letter in b"abc"]
    for text in large:
        tape.recorder.data(1, TARGET, 0, text)
    buffers = tape.recorder.take()
    assert buffers is not None and len(buffers) == 2  # the block, and its foot
    assert len(buffers[0]) == HEAD_SIZE + 3 * (EVENT_HEAD_SIZE + 2500)
    assert bytes(buffers[0]).find(b"".join(large)[:2500]) == HEAD_SIZE + EVENT_HEAD_SIZE


def test_one_burst_is_one_block_whatever_is_in_it() -> None:
    tape = Tape()
    for text in (b"a", b"b", b"c"):
        tape.recorder.data(1, TARGET, 0, text)
    tape.recorder.note("said", 1)
    before = tape.recorder.blocks
    buffers = tape.recorder.take()
    assert tape.recorder.blocks == before + 1
    assert buffers is not None and len(buffers) == 1  # small: joined, head and foot with them


def test_many_small_messages_are_joined_below_the_limit_of_writev() -> None:
    tape = Tape()
    for number in range(3 * JOIN_OVER):
        tape.recorder.data(1, TARGET, 0, b"%d," % number)
    buffers = tape.recorder.take() or []
    assert len(buffers) == 2
    tape.file += b"".join(buffers)
    assert joined(tape.events(), 1, TARGET, 0) == b"".join(b"%d," % number for number in range(3 * JOIN_OVER))


def test_messages_of_one_byte_cost_one_event_for_a_stretch_of_them() -> None:
    """One event of each would be 17 bytes for one; order and whose they are stay."""
    tape = Tape()
    for _ in range(2 * JOIN_OVER):
        tape.recorder.data(1, TARGET, 0, b"a")
    tape.recorder.note("eof_sent", 1, {"by": 1})
    for _ in range(JOIN_OVER):
        tape.recorder.data(1, TARGET, 0, b"b")
    tape.recorder.data(1, TARGET, 1, b"e" * 100)
    tape.burst()
    assert len(tape.file) < 60 * JOIN_OVER
    assert joined(tape.events(), 1, TARGET, 0) == b"a" * 2 * JOIN_OVER + b"b" * JOIN_OVER
    assert joined(tape.events(), 1, TARGET, 1) == b"e" * 100
    kinds = [event.kind for event in tape.events() if event.channel == 1][:3]
    assert kinds == [Kind.DATA, Kind.NOTE, Kind.DATA]
    assert tape.recorder.events == len(tape.events()) == 4


def test_a_caller_that_forgets_to_take_gets_several_blocks_of_bounded_size() -> None:
    tape = Tape()
    for _ in range(5):
        tape.recorder.data(1, TARGET, 0, bytes(CUT_BYTES // 2))
    tape.burst()
    assert tape.recorder.blocks >= 3
    assert len(joined(tape.events(), 1, TARGET, 0)) == 5 * (CUT_BYTES // 2)


def test_a_block_that_lasts_longer_than_its_time_field_is_cut() -> None:
    tape = Tape()
    tape.recorder.data(1, TARGET, 0, b"a")
    tape.clock.advance(5000)
    tape.recorder.data(1, TARGET, 0, b"b")
    tape.burst()
    assert [event.time_us for event in tape.events()] == [0, 5_000_000_000]


def test_input_is_not_recorded_unless_asked_for_but_counted() -> None:
    tape = Tape()
    tape.recorder.data(1, CLIENT, 0, b"secret\r")
    tape.out(b"ok")
    tape.end()
    assert b"secret" not in tape.file
    totals = tape.reader().tail().totals
    assert totals is not None and (totals.bytes_in, totals.bytes_out, totals.skipped) == (7, 2, 0)


def test_input_is_a_stream_of_its_own_when_asked_for() -> None:
    tape = Tape(RecordingPolicy(input=True))
    tape.recorder.data(1, CLIENT, 0, b"typed")
    tape.out(b"shown")
    events = tape.events()
    assert joined(events, 1, CLIENT, 0) == b"typed" and joined(events, 1, TARGET, 0) == b"shown"


def test_mode_off_keeps_events_and_the_gateways_text_and_no_bytes() -> None:
    tape = Tape(RecordingPolicy(mode=Mode.OFF, input=True))
    tape.out(b"shown")
    tape.recorder.injected(1, b"warned")
    tape.recorder.note("said", 1)
    tape.burst()
    assert [event.kind for event in tape.events()] == [Kind.INJECTED, Kind.NOTE]
    assert tape.reader().header.mode == "off" and tape.recorder.seen == [0, 5]


def test_full_mode_keeps_everything() -> None:
    tape = Tape(full(burst_bytes=1, sustained_bytes=1))
    for _ in range(50):
        tape.out(bytes(32 * KIB))
    assert len(joined(tape.events(), 1, TARGET, 0)) == 50 * 32 * KIB


def test_the_default_bucket_is_64_mib_and_then_a_gap() -> None:
    tape = Tape()
    block = bytes(MIB)
    for _ in range(70):
        tape.recorder.data(1, TARGET, 0, block)
        tape.recorder.take()
    assert tape.recorder.skipped == 0 and tape.recorder.unsettled
    tape.burst()
    assert tape.recorder.seen[1] == 70 * MIB
    last = tape.recorder.finish("done")
    assert tape.recorder.skipped == 6 * MIB - TAIL_BYTES - SAMPLE_BYTES
    assert sum(map(len, last)) < 20 * KIB


def test_a_shell_behind_bulk_is_in_the_recording_even_in_the_same_read() -> None:
    """`head -c 100M /dev/zero; exec bash -i` behind a slow client: zeros and prompt come in one burst."""
    tape = Tape(SMALL)
    for _ in range(20):
        tape.recorder.data(1, TARGET, 0, bytes(32 * KIB))
    tape.recorder.data(1, TARGET, 0, b"web1$ ")
    tape.burst()
    assert tape.recorder.unsettled
    tape.clock.advance(1.0)
    tape.burst()  # the session's timer
    assert joined(tape.events(), 1, TARGET, 0).endswith(b"web1$ ") and not tape.recorder.unsettled
    tape.out(b"ls\r\n")
    tape.clock.advance(2.0)
    tape.out(b"file\r\n")
    kept = joined(tape.events(), 1, TARGET, 0)
    assert kept.endswith(b"web1$ ls\r\nfile\r\n")
    assert len(kept) + tape.recorder.skipped == tape.recorder.seen[1]


def test_a_prompt_a_moment_after_bulk_is_kept_at_once_with_what_stood_before_it() -> None:
    tape = Tape(RecordingPolicy(burst_bytes=MIB))
    for _ in range(64):
        tape.out(bytes(32 * KIB))
    tape.out(b"\x1b[?2004h")
    tape.clock.advance(0.001)  # room for 1 KiB
    tape.out(b"web1$ ")
    assert joined(tape.events(), 1, TARGET, 0).endswith(b"\x1b[?2004hweb1$ ")
    assert not tape.recorder.unsettled


def test_sustained_bulk_leaves_progress_records_and_a_sample_of_every_second() -> None:
    tape = Tape(SMALL)
    for _ in range(1000):  # 10 s at 3.2 MiB/s
        tape.clock.advance(0.01)
        tape.out(bytes(32 * KIB))
    events = tape.events()
    samples = [event.payload for event in events if event.kind is Kind.DATA][2:]
    assert {len(sample) for sample in samples} == {SAMPLE_BYTES} and 17 <= len(samples) <= 21
    records = [event.gap for event in events if event.kind is Kind.GAP]
    assert records[0].size == 0 and all(gap.open for gap in records)
    assert 9 <= len(records) <= 11
    assert [gap.from_us for gap in records[1:]] == [gap.until_us for gap in records[:-1]]


def test_a_rate_below_the_sustained_one_is_never_skipped() -> None:
    tape = Tape(SMALL)
    for _ in range(2000):
        tape.clock.advance(0.1)
        tape.out(bytes(100))
    assert gaps(tape.events()) == [] and tape.recorder.skipped == 0


def test_each_channel_and_direction_has_a_bucket_of_its_own() -> None:
    tape = Tape(RecordingPolicy(burst_bytes=64 * KIB, sustained_bytes=KIB, input=True))
    for channel, side in ((1, TARGET), (1, CLIENT), (2, TARGET)):
        tape.recorder.data(channel, side, 0, bytes(60 * KIB))
    assert not tape.recorder.unsettled
    tape.recorder.data(1, TARGET, 0, bytes(60 * KIB))
    assert tape.recorder.unsettled


def test_stderr_beside_bulk_shares_the_bucket_and_is_counted_apart() -> None:
    tape = Tape(SMALL)
    tape.out(bytes(60 * KIB))
    tape.out(b"e" * 40 * KIB, stream=1)
    tape.out(b"o" * 40 * KIB)
    tape.recorder.note("channel_closed", 1)
    tape.burst()
    events = tape.events()
    assert gaps(events) == [(0, 40 * KIB - TAIL_BYTES, 1), (1, 40 * KIB - SAMPLE_BYTES, 1)]
    assert [event.gap.open for event in events if event.kind is Kind.GAP] == [True, True, False]
    assert joined(events, 1, TARGET, 0).endswith(b"o" * TAIL_BYTES)


def test_tiny_messages_between_bulk_do_not_bring_the_bulk_back() -> None:
    tape = Tape(RecordingPolicy(burst_bytes=MIB))
    for _ in range(2000):
        tape.recorder.data(1, TARGET, 0, bytes(32 * KIB))
        tape.clock.advance(0.00005)
        tape.recorder.data(1, TARGET, 1, b"progress")
        tape.burst()
    assert (
        len(tape.file) < 2 * MIB
    )  # 1 MiB of burst, then a gap record and a few dozen bytes for each message


def test_a_closed_channel_ends_its_gap_and_keeps_the_tail() -> None:
    tape = Tape(SMALL)
    for _ in range(10):
        tape.recorder.data(1, TARGET, 0, bytes(32 * KIB))
    tape.recorder.data(1, TARGET, 0, b"the end")
    tape.recorder.event(relay.ChannelClosed(1, "session", 0, 10))
    tape.burst()
    events = tape.events()
    assert events[-1].note["event"] == "channel_closed"
    assert events[-2].payload == b"the end" and not tape.recorder.unsettled


def test_held_bytes_that_the_caller_may_overwrite_are_copied() -> None:
    tape = Tape(RecordingPolicy(burst_bytes=8))
    shared = bytearray(b"seen by the client" * 100)
    tape.recorder.data(1, TARGET, 0, memoryview(shared))
    tape.burst()
    shared[:] = b"overwritten later!" * 100
    tape.end()
    assert joined(tape.events(), 1, TARGET, 0) == b"seen by the client" * 100


# -- terminals -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_nothing_of_a_terminal_hides_behind_bulk() -> None:
    """200 MB, then noise just above the sustained rate with a line in it now and then: all of it is kept."""
    tape = Tape(RecordingPolicy(burst_bytes=MIB))
    tape.recorder.terminal(1)
    passed = []
    for turn in range(300):
        passed.append(b"%04d the line\r\n" % turn + bytes(32 * KIB))
        tape.out(passed[-1])
        tape.clock.advance(0.02)  # 1.6 MB/s
    assert tape.recorder.skipped == 0 and not tape.recorder.unsettled
    assert joined(tape.events(), 1, TARGET, 0) == b"".join(passed)


def test_a_terminal_beyond_the_burst_is_to_be_read_at_its_rate() -> None:
    tape = Tape(RecordingPolicy(burst_bytes=MIB, terminal_bytes=512 * KIB))
    tape.recorder.terminal(1)
    tape.out(bytes(MIB))
    assert tape.recorder.collect() is None
    tape.out(bytes(256 * KIB))
    assert tape.recorder.collect() == {TARGET: pytest.approx(0.5)}
    assert tape.recorder.collect() is None  # owed once
    tape.clock.advance(0.5)
    tape.out(bytes(64 * KIB))
    assert tape.recorder.collect() == {TARGET: pytest.approx(0.125)}


def test_all_terminals_of_a_session_share_one_rate_and_other_channels_have_theirs() -> None:
    tape = Tape(RecordingPolicy(burst_bytes=MIB))
    for channel in (1, 2):
        tape.recorder.terminal(channel)
        tape.out(bytes(MIB), channel)
    assert tape.recorder.collect() == {TARGET: pytest.approx(1.0)}
    tape.out(bytes(MIB), 3)
    assert not tape.recorder.unsettled and tape.recorder.collect() is None
    tape.out(bytes(MIB), 3)
    assert tape.recorder.unsettled and tape.recorder.collect() is None
    tape.recorder.note("channel_closed", 2)
    tape.out(b"goes on", 1)
    assert tape.recorder.skipped < MIB


def test_a_terminal_that_is_asked_for_late_ends_the_gap_and_sftp_cannot_leave_it_out() -> None:
    tape = Tape(SMALL)
    tape.out(bytes(200 * KIB))
    assert tape.recorder.unsettled
    tape.recorder.terminal(1)
    tape.recorder.omit(1)
    assert not tape.recorder.unsettled
    before = tape.recorder.skipped
    tape.out(b"line" * MIB)
    assert tape.recorder.skipped == before


def test_a_full_recording_slows_nobody_down() -> None:
    tape = Tape(RecordingPolicy(mode=Mode.FULL, burst_bytes=8))
    tape.recorder.terminal(1)
    tape.out(bytes(MIB))
    assert tape.recorder.collect() is None and tape.recorder.skipped == 0


# -- samples -------------------------------------------------------------------------------------------------------


def test_of_each_second_of_a_gap_the_begin_and_the_end_are_kept_in_their_place() -> None:
    tape = Tape(SMALL)
    passed = b""
    for turn in range(40):  # 4 s
        piece = (b"%04d" % turn) * (16 * KIB)
        passed += piece
        tape.out(piece)
        tape.clock.advance(0.1)
    tape.end()
    at, kept = 0, []
    for event in tape.events():
        if event.kind is Kind.GAP:
            at += event.gap.size
        elif event.kind is Kind.DATA:
            assert passed[at : at + len(event.payload)] == event.payload, "bytes are where they passed"
            at += len(event.payload)
            kept.append(event.payload)
    assert at == len(passed)
    assert sum(len(sample) == SAMPLE_BYTES for sample in kept) >= 6


def test_many_short_gaps_leave_no_more_samples_than_one() -> None:
    tape = Tape(SMALL)
    tape.out(bytes(64 * KIB))
    for _ in range(1000):
        tape.out(bytes(32 * KIB))
        tape.clock.advance(0.0001)
        tape.out(b"x", stream=1)
    assert len(joined(tape.events(), 1, TARGET, 0)) < 64 * KIB + 2 * SAMPLE_BYTES


def test_unknown_extended_data_types_are_kept_as_extended_data() -> None:
    tape = Tape()
    tape.out(b"odd", stream=7)
    assert joined(tape.events(), 1, TARGET, 1) == b"odd"


traffic = st.lists(
    st.tuples(
        st.integers(1, 2),
        st.integers(0, 1),
        st.integers(0, 1),
        st.integers(0, 40 * KIB),
        st.floats(0, 0.5),
        st.booleans(),
    ),
    max_size=40,
)


@given(traffic)
@examples(150)
def test_kept_and_skipped_bytes_always_add_up(script: list[tuple[int, int, int, int, float, bool]]) -> None:
    tape = Tape(RecordingPolicy(burst_bytes=48 * KIB, sustained_bytes=16 * KIB, input=True))
    passed: dict[tuple[int, int, int], bytes] = {}
    for number, (channel, side, stream, size, wait, take) in enumerate(script):
        data = bytes([number]) * size
        tape.recorder.data(channel, side, stream, data)
        key = (channel, side, stream)
        passed[key] = passed.get(key, b"") + data
        tape.clock.advance(wait)
        if take:
            tape.burst()
    events = tape.end().events()
    for key, data in passed.items():
        kept = joined(events, *key)
        lost = sum(e.gap.size for e in events if e.kind is Kind.GAP and (e.channel, e.side, e.stream) == key)
        assert len(kept) + lost == len(data)
        rest = iter(data)
        assert all(byte in rest for byte in kept)  # in order, nothing twice
    totals = tape.reader().tail().totals
    assert totals is not None and totals.skipped == tape.recorder.skipped
    assert totals.bytes_in + totals.bytes_out == sum(map(len, passed.values()))


@given(traffic)
@examples(50)
def test_the_bucket_bounds_what_is_kept(script: list[tuple[int, int, int, int, float, bool]]) -> None:
    policy = RecordingPolicy(burst_bytes=48 * KIB, sustained_bytes=16 * KIB)
    tape = Tape(policy)
    for _, _, stream, size, wait, _ in script:
        tape.out(bytes(size), stream=stream)
        tape.clock.advance(wait)
    elapsed = tape.clock.now - 1_800_000_000.0
    kept = sum(len(event.payload) for event in tape.events() if event.kind is Kind.DATA)
    # Every message may round up to a whole byte.
    assert kept <= policy.burst_bytes + policy.sustained_bytes * elapsed + len(script)


def test_relay_events_are_notes_with_readable_values() -> None:
    tape = Tape()
    tape.recorder.event(relay.ChannelOpened(3, "session", Side.CLIENT, {"x": 1}, "web"))
    tape.recorder.event(relay.ChannelConfirmed(3))
    tape.recorder.event(relay.ChannelRefused("x11", Side.TARGET, PolicyReason.VERB_NOT_ALLOWED, "no"))
    tape.recorder.event(relay.WindowChanged(3, 120, 40))
    tape.recorder.event(relay.Injected(3, 1, b"warned"))
    tape.burst()
    opened, confirmed, refused, window, injected = tape.events()
    assert opened.channel == 3 and opened.side is Side.CLIENT
    assert opened.note == {
        "event": "channel_opened",
        "kind": "session",
        "by": "client",
        "detail": {"x": 1},
        "rule": "web",
    }
    assert confirmed.note == {"event": "channel_confirmed"}
    assert refused.channel == 0 and refused.note["reason"] == "verb_not_allowed"
    assert window.note == {"event": "window_changed", "cols": 120, "rows": 40, "width": 0, "height": 0}
    assert (injected.kind, injected.stream, injected.payload) == (Kind.INJECTED, 1, b"warned")
    assert tape.recorder.channels == 1


def test_odd_values_in_an_event_are_still_json() -> None:
    @dataclass
    class SomethingOdd:
        data: bytes
        many: tuple[int, ...]
        other: object

    tape = Tape()
    tape.recorder.event(SomethingOdd(b"a\xffb", (1, 2), complex(1)))
    tape.recorder.note("text", detail={"lone": "\udc80"})
    tape.burst()
    first, second = tape.events()
    assert first.note == {"event": "something_odd", "data": "a\\xffb", "many": [1, 2], "other": "(1+0j)"}
    assert second.note["lone"] == "\udc80"


def test_what_is_no_dataclass_is_no_event() -> None:
    with pytest.raises(TypeError):
        Tape().recorder.event({"event": "x"})


def test_nothing_can_be_recorded_after_the_end() -> None:
    tape = Tape().end()
    for attempt in (
        lambda: tape.recorder.data(1, TARGET, 0, b"late"),
        lambda: tape.recorder.note("late"),
        lambda: tape.recorder.injected(1, b"late"),
        lambda: tape.recorder.finish("again"),
    ):
        with pytest.raises(RecorderFailed):
            attempt()


def test_the_sizes_of_terminals_are_those_that_were_asked_for_last() -> None:
    recorder = Tape().recorder
    assert recorder.sizes is None
    recorder.note("request_forwarded", 1, {"name": "pty-req", "detail": {"cols": 120, "rows": 40}})
    recorder.note("request_forwarded", 1, {"name": "exec", "detail": {"command": "ls", "cols": 7, "rows": 7}})
    recorder.note("window_changed", 3, {"cols": 1 << 30, "rows": 5})
    recorder.note("window_changed", 1, {"cols": 0, "rows": 5})
    assert recorder.sizes == {1: (120, 40), 3: (1000, 5)}
    recorder.note("window_changed", 1, {"cols": 90, "rows": 30})
    recorder.note("channel_closed", 3)
    assert recorder.sizes == {1: (90, 30)}

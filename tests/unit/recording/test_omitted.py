"""Channels whose data is told by events: counted in gap records, never kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bastion.recording.bulk import Mode, RecordingPolicy
from bastion.recording.format import Kind
from tests.support.examples import examples
from tests.unit.recording.samples import CLIENT, TARGET, Tape, full, joined


def counted(tape: Tape, side: int = TARGET) -> int:
    return sum(e.gap.size for e in tape.events() if e.kind is Kind.GAP and e.side == side)


def test_nothing_of_the_main_stream_is_kept_and_all_of_it_is_counted() -> None:
    tape = Tape(RecordingPolicy(input=True))
    tape.recorder.omit(1)
    tape.out(b"file data")
    tape.recorder.data(1, CLIENT, 0, b"more of it")
    tape.out(b"no such file\n", stream=1)
    tape.out(b"another channel", channel=2)
    tape.end()
    events = tape.events()
    assert joined(events, 1, TARGET, 0) == joined(events, 1, CLIENT, 0) == b""
    assert joined(events, 1, TARGET, 1) == b"no such file\n"
    assert joined(events, 2, TARGET, 0) == b"another channel"
    assert (counted(tape, TARGET), counted(tape, CLIENT)) == (9, 10)
    assert tape.recorder.skipped == 19
    assert tape.reader().totals is None or tape.recorder.seen == [10, 37]


def test_a_pause_ends_the_gap_and_keeps_nothing() -> None:
    tape = Tape()
    tape.recorder.omit(1)
    tape.out(b"x" * 100)
    assert tape.recorder.unsettled
    tape.clock.advance(0.3)
    tape.burst()
    assert not tape.recorder.unsettled
    assert counted(tape) == 100
    assert joined(tape.events(), 1, TARGET, 0) == b""


def test_a_channel_may_be_kept_again() -> None:
    tape = Tape()
    tape.recorder.omit(1)
    tape.out(b"told by events")
    tape.recorder.omit(1, omitted=False)
    tape.out(b"told by nobody")
    tape.end()
    assert joined(tape.events(), 1, TARGET, 0) == b"told by nobody"
    assert counted(tape) == 14


def test_mode_full_keeps_it_all_the_same() -> None:
    tape = Tape(full())
    tape.recorder.omit(1)
    tape.out(b"file data")
    assert joined(tape.events(), 1, TARGET, 0) == b"file data"


def test_mode_off_has_nothing_to_omit() -> None:
    tape = Tape(RecordingPolicy(mode=Mode.OFF))
    tape.recorder.omit(1)
    tape.out(b"file data")
    assert tape.events() == []


@examples(50)
@given(
    st.lists(
        st.tuples(
            st.sampled_from((0, 1)), st.integers(0, 3000), st.sampled_from((0.0, 0.1, 0.5)), st.booleans()
        ),
        max_size=30,
    )
)
def test_kept_and_counted_add_up_in_and_out_of_omission(script: list[tuple[int, int, float, bool]]) -> None:
    tape = Tape(RecordingPolicy(burst_bytes=5000, sustained_bytes=1000))
    passed = 0
    for stream, size, pause, omitted in script:
        tape.recorder.omit(1, omitted=omitted)
        tape.out(bytes(size), stream=stream)
        tape.clock.advance(pause)
        passed += size
    tape.end()
    events = tape.events()
    kept = sum(len(joined(events, 1, TARGET, stream)) for stream in (0, 1))
    assert kept + counted(tape) == passed

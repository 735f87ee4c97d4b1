"""What is skipped of a flow: counted to the byte, the newest held until it is known whether there is room."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.recording.bulk import PROGRESS_SECONDS, TAIL_BYTES, Flow, Mode, OpenGap, RecordingPolicy
from bastion.sides import Side

MESSAGES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3 * TAIL_BYTES)), max_size=12)


def test_a_new_flow_is_empty_and_due_for_a_sample() -> None:
    flow = Flow(3, Side.TARGET, 100.0, 1000.0)
    assert (flow.channel, flow.side, flow.level, flow.gap, flow.omitted, flow.whole) == (
        *(3, Side.TARGET, 0.0, None, False, False),
    )
    assert 100.0 - flow.sampled == PROGRESS_SECONDS


def test_the_defaults_are_what_the_documents_promise() -> None:
    policy = RecordingPolicy()
    assert (policy.mode, policy.input) == (Mode.DEFAULT, False)
    assert (policy.burst_bytes, policy.sustained_bytes, policy.terminal_bytes) == (64 << 20, 1 << 20, 1 << 20)


@given(MESSAGES, st.integers(0, 2 * TAIL_BYTES))
def test_kept_and_lost_are_what_was_skipped(messages: list[tuple[int, int]], room: int) -> None:
    gap, passed = OpenGap(0.0), [b"", b""]
    for number, (stream, size) in enumerate(messages):
        data = bytes([number + 1]) * size
        passed[stream] += data
        gap.skip(stream, data, size, float(number), hold=True)
    kept = gap.release(room)
    assert sum(len(data) for _, data in kept) <= min(room, TAIL_BYTES)
    for stream in (0, 1):
        mine = b"".join(bytes(data) for at, data in kept if at == stream)
        assert passed[stream].endswith(mine)
        assert gap.lost[stream] == len(passed[stream]) - len(mine)
    assert not gap.tail and gap.tail_size == 0
    assert gap.until == max(0.0, len(messages) - 1.0)


@given(MESSAGES)
def test_no_more_is_held_than_the_tail_and_one_message(messages: list[tuple[int, int]]) -> None:
    gap = OpenGap(0.0)
    for stream, size in messages:
        gap.skip(stream, bytes(size), size, 0.0, hold=True)
        assert gap.tail_size == sum(size for _, _, size in gap.tail)
        assert gap.tail_size - gap.tail[0][2] < TAIL_BYTES


def test_without_holding_it_only_counts() -> None:
    gap = OpenGap(0.0)
    gap.skip(1, b"abc", 3, 2.0, hold=False)
    gap.skip(1, b"", 0, 3.0, hold=False)
    assert (gap.lost, gap.lost_messages, gap.until) == ([0, 3], [0, 2], 3.0)
    assert gap.release(TAIL_BYTES) == []


@pytest.mark.parametrize("kind", [bytearray, lambda data: memoryview(bytearray(data))])
def test_what_may_still_change_is_copied(kind: type) -> None:
    gap, data = OpenGap(0.0), kind(b"before")
    gap.skip(0, data, 6, 0.0, hold=True)
    data[:] = b"after!"
    assert [bytes(kept) for _, kept in gap.release(100)] == [b"before"]

"""Blocks that come piece by piece: once each, in order, and only whole ones."""

from __future__ import annotations

import pytest

from bastion.clock import FixedClock
from bastion.recording.blocks import Blocks, without_input
from bastion.recording.bulk import RecordingPolicy
from bastion.recording.format import FormatError, Header
from bastion.recording.recorder import Recorder
from bastion.sides import Side

SYNC = b"syncsync"
HEADER = Header("k3v2m5q7p2r4t6w8", "alice", "u", "web1", "root", 1.0)


def recorded(*texts):
    """The bytes of a file, a block for each text."""
    recorder = Recorder(HEADER, FixedClock(), sync=SYNC)
    parts = [b"".join(recorder.take())]
    for text in texts:
        recorder.data(1, Side.TARGET, 0, text)
        parts.append(b"".join(recorder.take()))
    return [*parts, b"".join(recorder.finish("killed"))]


def shown(blocks, data):
    return [event.payload for event in blocks.events(data)]


def test_a_file_as_it_grows():
    blocks = Blocks(SYNC)
    start, *rest, end = recorded(b"one", b"two", b"three" * 9000)
    assert shown(blocks, start) == []
    assert [shown(blocks, part) for part in rest] == [[b"one"], [b"two"], [b"three" * 9000]]
    assert not blocks.ended and shown(blocks, end) == [] and blocks.ended


def test_it_may_begin_in_the_middle_of_a_block_and_end_in_one():
    whole = b"".join(recorded(b"one", b"two", b"three"))
    at = whole.index(b"one") + 1
    assert shown(Blocks(SYNC), whole[at:]) == [b"two", b"three"]
    cut = whole.index(b"three") + 2
    blocks = Blocks(SYNC)
    assert shown(blocks, whole[:cut]) == [b"one", b"two"]


def test_what_comes_twice_is_shown_once():
    _, one, two, _ = recorded(b"one", b"two")
    blocks = Blocks(SYNC)
    assert shown(blocks, one + two) == [b"one", b"two"]
    assert shown(blocks, one) == shown(blocks, two) == []


def test_channel_bytes_that_look_like_a_block_are_none():
    _, inner, _ = recorded(b"inner")
    _, outer, _ = recorded(inner)
    assert shown(Blocks(SYNC), outer) == [inner]
    assert shown(Blocks(SYNC), SYNC * 100) == shown(Blocks(SYNC), b"") == []


def test_damage_is_told():
    _, one, _ = recorded(b"one")
    broken = bytearray(one)
    broken[broken.index(b"one")] ^= 1
    with pytest.raises(FormatError, match="damaged"):
        shown(Blocks(SYNC), bytes(broken))


def typed(*texts):
    """The bytes of a file with input, a block for each text; those in capitals are the target's."""
    recorder = Recorder(HEADER, FixedClock(), RecordingPolicy(input=True), SYNC)
    parts = [b"".join(recorder.take())]
    for text in texts:
        recorder.data(1, Side.TARGET if text.isupper() else Side.CLIENT, 0, text)
        parts.append(b"".join(recorder.take()))
    return [*parts, b"".join(recorder.finish("killed"))]


def test_without_input_all_else_stays_as_it_was():
    start, one, secret, two, end = typed(b"ONE", b"secret", b"TWO")
    assert (
        without_input(b"".join((start, one, secret, two, end)), SYNC)[-len(one + two + end) :]
        == one + two + end
    )
    assert without_input(secret, SYNC) == without_input(b"", SYNC) == b""


def test_a_piece_of_an_input_block_is_in_nothing_that_is_given_out():
    whole = b"".join(typed(b"ONE", b"secret-one", b"TWO", b"secret-two"))
    for cut in range(len(whole)):
        for piece in (whole[cut:], whole[:cut]):
            given = without_input(piece, SYNC)
            assert b"cret" not in given
            assert shown(Blocks(SYNC), given) == [
                text for text in shown(Blocks(SYNC), piece) if text.isupper()
            ]

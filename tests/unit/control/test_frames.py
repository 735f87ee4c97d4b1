"""Frames: whatever way the bytes come, the same objects come out, and nothing is kept beyond the limit."""

from __future__ import annotations

import random
import struct

import pytest

from bastion.control import frames
from bastion.control.frames import LENGTH, MAX_FRAME, PART, FrameReader
from bastion.errors import ProtocolError


def some_json(chance: random.Random, depth: int = 3) -> object:
    """Anything that JSON can say."""
    kind = chance.randrange(7 if depth else 5)
    if kind == 0:
        return chance.choice([None, True, False])
    if kind == 1:
        return chance.randrange(-(1 << 60), 1 << 60)
    if kind == 2:
        return chance.random() * 1e9
    if kind in (3, 4):
        return "".join(
            chr(chance.choice([0, 10, 34, 92, 65, 0xE9, 0x202E, 0x1F600])) for _ in range(chance.randrange(9))
        )
    if kind == 5:
        return [some_json(chance, depth - 1) for _ in range(chance.randrange(5))]
    return {str(chance.randrange(99)): some_json(chance, depth - 1) for _ in range(chance.randrange(5))}


@pytest.mark.parametrize("seed", range(60))
def test_objects_come_out_as_they_went_in_however_they_are_cut(seed):
    chance = random.Random(seed)
    sent = [{"id": number, "event": {"x": some_json(chance)}} for number in range(chance.randrange(1, 8))]
    data = b"".join(frames.encode(frame) for frame in sent)
    reader, got = FrameReader(), []
    while data:
        size = chance.choice([1, 2, 3, 5, 64, 4096])
        got += reader.feed(data[:size])
        data = data[size:]
        assert len(reader._buffer) <= MAX_FRAME + LENGTH.size
    assert got == sent and not reader.half and reader.frames == len(sent)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"1", b"null", b'"x"', b"{", b'{"a":NaN}', b'{"a":1e999}', b"[" * 5000, b'{"a":' * 5000, b"\xff\xfe",
     b"{}{}", b'{"a":1}x'],
)  # fmt: skip
def test_what_is_no_object_ends_it(body):
    reader = FrameReader()
    with pytest.raises(ProtocolError):
        reader.feed(LENGTH.pack(len(body)) + body)
    with pytest.raises(ProtocolError):  # for good
        reader.feed(frames.encode({"id": 1}))


@pytest.mark.parametrize("seed", range(40))
def test_junk_gives_a_protocol_error_and_nothing_else(seed):
    chance = random.Random(seed)
    reader = FrameReader(limit=4096)
    junk = bytearray(frames.encode({"id": 1, "command": "live", "args": {"a": [1, 2, {"b": "c"}]}}) * 3)
    for _ in range(chance.randrange(1, 20)):
        junk[chance.randrange(len(junk))] = chance.randrange(256)
    try:
        reader.feed(bytes(junk))
    except ProtocolError:
        pass
    assert len(reader._buffer) <= 4096 + LENGTH.size


def test_a_length_is_judged_before_its_bytes_come():
    for size in (0, 65537, MAX_FRAME + 1, 0xFFFFFFFF):
        with pytest.raises(ProtocolError, match="at most 65536"):
            FrameReader(limit=65536).feed(struct.pack(">I", size))
    reader = FrameReader(limit=65536)
    assert reader.feed(struct.pack(">I", 65536)) == [] and reader.half


def test_ours_are_never_too_long_nor_no_json():
    with pytest.raises(ValueError, match="frame of"):
        frames.encode({"id": 1, "result": "x" * MAX_FRAME})
    with pytest.raises(ValueError, match="no JSON"):
        frames.encode({"id": 1, "result": object()})


@pytest.mark.parametrize("text", ["x", '"\\' * 1000, "\U0001f600\x00" * 40000])
def test_a_long_answer_goes_in_parts(text):
    result = {"rows": [text] * (3 * PART // len(text) + 1)}
    sent = frames.answer(7, result)
    reader = FrameReader()
    got = [frame for data in sent for frame in reader.feed(data)]
    assert len(got) > 3 and {frame["id"] for frame in got} == {7}
    assert got[-1] == {"id": 7, "result": None}
    assert frames.whole([frame["part"] for frame in got[:-1]]) == result
    (one,) = frames.answer(8, {"rows": []})
    assert FrameReader().feed(one) == [{"id": 8, "result": {"rows": []}}]


def test_parts_that_are_no_json():
    with pytest.raises(ProtocolError):
        frames.whole(["{", "{"])


@pytest.mark.parametrize("frame", [{}, {"id": "1"}, {"id": True}, {"id": -1}, {"id": 1 << 53}, {"id": 1.0}])
def test_a_frame_has_an_id(frame):
    with pytest.raises(ProtocolError):
        frames.number_of(frame)

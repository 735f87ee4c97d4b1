"""What a recorder is given, as parts of a block."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.recording.events import merged_parts, plain, shape_of
from bastion.recording.format import EVENT_HEAD, Kind, split_events


class Colour(Enum):
    RED = "red"


class Side(IntEnum):
    LEFT = 0


@dataclass
class ChannelPainted:
    channel_id: int
    colour: Colour


def test_an_event_has_its_class_for_a_name() -> None:
    assert shape_of(ChannelPainted) == ("channel_painted", ("channel_id", "colour"))
    with pytest.raises(TypeError):
        shape_of(Colour)


def test_values_become_json() -> None:
    value = {1: Side.LEFT, "b": b"\xff\x00", "c": (Colour.RED, None, 2.5), "d": memoryview(b"x")}
    assert plain(value) == {"1": "left", "b": "\\xff\x00", "c": ["red", None, 2.5], "d": "x"}


pieces = st.lists(
    st.tuples(
        st.sampled_from([Kind.DATA, Kind.NOTE]), st.integers(0, 1), st.integers(1, 2), st.binary(max_size=5)
    ),
    max_size=20,
)


@given(pieces)
def test_merging_loses_no_byte_and_no_order(given: list[tuple[int, int, int, bytes]]) -> None:
    parts: list[bytes | memoryview] = []
    for kind, side, channel, payload in given:
        parts += (EVENT_HEAD.pack(kind, side, 0, channel, 0, len(payload)), payload)
    whole, fewer = merged_parts(parts)
    events = list(split_events(whole, 0))
    assert len(events) == len(given) - fewer
    expected: list[tuple[int, int, int, bytes]] = []
    for piece in given:
        last = expected[-1] if expected else None
        if last is not None and piece[0] == Kind.DATA and last[:3] == piece[:3]:
            expected[-1] = (*last[:3], last[3] + piece[3])
        else:
            expected.append(piece)
    assert [(e.kind, e.side, e.channel, e.payload) for e in events] == expected

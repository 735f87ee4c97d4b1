"""Encrypted blocks come open with their own keys, in their own place, and not otherwise."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.recording.blocks import Blocks
from bastion.recording.format import EVENT_HEAD, HEAD_SIZE, BlockType, FormatError, Kind, Suite, encode_head
from bastion.recording.framing import framed
from bastion.recording.opening import Opened
from bastion.recording.reader import Reader
from bastion.recording.unwrapping import DataKeys, Wrapped
from tests.support.examples import examples
from tests.unit.recording.samples import SESSION, SYNC, TARGET
from tests.unit.recording.sealed import blocks_of, recorded, with_keys


def payloads(reader: Reader) -> list[bytes]:
    return [event.payload for event in reader if event.kind is Kind.DATA]


def test_with_the_keys_all_of_it_is_there() -> None:
    reader = Reader(io.BytesIO(recorded(with_keys(), bursts=2)), SESSION, None, DataKeys.joined)
    assert payloads(reader) == [b"output 0", b"typed 0", b"output 1", b"typed 1"]
    assert (reader.state, reader.damage, reader.sealed, reader.closed) == ("complete", [], "", 0)


def test_without_them_it_says_so_and_still_tells_the_rest() -> None:
    reader = Reader(io.BytesIO(recorded(with_keys(), bursts=2)), SESSION, None, lambda wrapped: None)
    assert payloads(reader) == [] and (reader.state, reader.damage, reader.closed) == ("complete", [], 4)
    assert reader.sealed == "sealed to 2 recipients: give --identity"
    assert reader.totals is not None and reader.totals.bytes_out == 16
    assert reader.header.identity == "alice"


def test_keys_of_another_recording_are_told_from_damage() -> None:
    other = DataKeys.new((), lambda both: both)
    reader = Reader(io.BytesIO(recorded(with_keys())), SESSION, None, lambda wrapped: other)
    assert payloads(reader) == [] and "not those of this recording" in reader.damage[0].text


def test_a_damaged_header_does_not_cost_the_keys() -> None:
    file = bytearray(recorded(with_keys(), bursts=1))
    file[60] ^= 1  # in the header's head
    reader = Reader(io.BytesIO(bytes(file)), SESSION, None, DataKeys.joined)
    assert payloads(reader) == [b"output 0", b"typed 0"]


def test_one_whose_keys_were_taken_away_says_so() -> None:
    file = recorded(with_keys(), bursts=2)
    at, head = blocks_of(file)[1]
    without = file[:at] + file[at + head.block_size :]
    reader = Reader(io.BytesIO(without), SESSION, None, DataKeys.joined)
    assert "keys is missing" in reader.sealed and payloads(reader) == []
    assert [one.text for one in reader.damage] == ["block 1: is encrypted, and the file has no keys"]
    broken = bytearray(file)
    broken[at + HEAD_SIZE] ^= 1
    assert "damaged" in Reader(io.BytesIO(bytes(broken)), SESSION, None, DataKeys.joined).sealed


def test_a_block_in_clear_that_was_put_in_is_not_shown() -> None:
    file = recorded(with_keys(), bursts=1)
    at, head = blocks_of(file)[-1]
    event = EVENT_HEAD.pack(Kind.DATA, TARGET, 0, 1, 0, 5) + b"false"
    forged, _ = framed(
        encode_head(SYNC, BlockType.EVENTS, Suite.CHAINED, len(event), head.sequence, 0, 0),
        [event],
        len(event),
    )
    reader = Reader(io.BytesIO(file[:at] + b"".join(map(bytes, forged))), SESSION, None, DataKeys.joined)
    assert payloads(reader) == [b"output 0", b"typed 0"]
    assert "is not encrypted" in reader.damage[0].text


def test_a_block_in_another_place_does_not_open() -> None:
    sealing = with_keys()
    assert sealing.keys is not None
    file = recorded(sealing)
    (at, head), (other, _) = blocks_of(file)[2:4]
    opened = Opened(sealing.keys)
    stored = file[at + 40 : at + 40 + head.length]
    assert opened.payload(head, file[at : at + 40], stored).endswith(b"output 0")
    with pytest.raises(FormatError, match="cannot be opened"):
        opened.payload(head, file[other : other + 40], stored)


def test_who_watches_needs_the_keys_as_well() -> None:
    sealing = with_keys()
    assert sealing.keys is not None
    file = recorded(sealing, bursts=1)
    closed, opened = Blocks(SYNC), Blocks(SYNC, Opened(sealing.keys))
    assert list(closed.events(file)) == [] and closed.closed == 2
    assert [event.payload for event in opened.events(file)] == [b"output 0", b"typed 0"] and opened.ended


@pytest.mark.parametrize(
    "document", [b"[]", b"{}", b'{"recipients":[1],"wrapped":""}', b'{"recipients":[],"wrapped":"z"}']
)
def test_a_block_of_keys_of_another_form_is_refused(document: bytes) -> None:
    with pytest.raises(FormatError):
        Wrapped.parse(document)


@given(st.binary(max_size=200))
@examples(30)
def test_garbage_behind_the_keys_raises_nothing(data: bytes) -> None:
    file = recorded(with_keys(), bursts=0)
    at = blocks_of(file)[2][0]
    assert payloads(Reader(io.BytesIO(file[:at] + data), SESSION, None, DataKeys.joined)) == []

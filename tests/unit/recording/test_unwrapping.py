"""Data keys and what they are wrapped in: read strictly, and never shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.recording.format import FormatError, encode_json
from bastion.recording.unwrapping import (
    MOST_RECIPIENTS,
    MOST_WRAPPED,
    SIGNATURE_SIZE,
    DataKeys,
    Wrapped,
    split_signed,
)


def test_keys_are_fresh_and_come_back_whole() -> None:
    one = DataKeys.new(("age1one",), lambda both: both[::-1])
    two = DataKeys.new(("age1one",), lambda both: both)
    assert len({one.output, one.input, two.output, two.input}) == 4
    again = DataKeys.joined(one.wrapped[::-1])
    assert (again.output, again.input) == (one.output, one.input)
    assert one.output.hex() not in repr(one) and repr(one.output) not in repr(one)
    assert repr(one.wrapped) not in repr(Wrapped(("age1one",), one.wrapped))


@pytest.mark.parametrize("size", [0, 32, 63, 65])
def test_what_is_not_two_keys_is_refused(size: int) -> None:
    with pytest.raises(FormatError, match="not two data keys"):
        DataKeys.joined(bytes(size))


@given(st.lists(st.text(max_size=10), max_size=5), st.binary(max_size=100))
def test_the_block_of_the_keys_is_read_as_written(recipients: list[str], data: bytes) -> None:
    payload = encode_json({"recipients": recipients, "wrapped": data.hex()})
    assert Wrapped.parse(payload) == Wrapped(tuple(recipients), data)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"recipients": "age1one", "wrapped": ""},
        {"recipients": [1], "wrapped": ""},
        {"recipients": [], "wrapped": "zz"},
        {"recipients": ["age1one"] * (MOST_RECIPIENTS + 1), "wrapped": ""},
        {"recipients": [], "wrapped": 5},
        {"recipients": [], "wrapped": "00" * (MOST_WRAPPED + 1)},
    ],
)
def test_what_is_no_block_of_keys_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        Wrapped.parse(encode_json(document))


def test_a_signed_block_has_its_signature_first() -> None:
    assert split_signed(b"s" * SIGNATURE_SIZE + b"rest") == (b"s" * SIGNATURE_SIZE, b"rest")
    with pytest.raises(FormatError, match="too short"):
        split_signed(b"s" * (SIGNATURE_SIZE - 1))

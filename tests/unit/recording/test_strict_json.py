"""What is read of a file can be written as JSON again."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.recording.strict_json import DEPTH, parse_object


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":[1,{"b":-1e999}]}',
        b'{"a":1} x',
        b"\xff",
        b'{"a":' * 100_000,
        b"[" * 100_000,
        b'{"a":' * DEPTH + b"{}" + b"}" * DEPTH,
    ],
)
def test_everything_else_is_one_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_object(data)


def test_brackets_in_text_are_no_depth() -> None:
    assert parse_object(b'{"a":"' + b"[{" * 100 + b'"}') == {"a": "[{" * 100}
    deep = b'{"a":' * (DEPTH - 1) + b"{}" + b"}" * (DEPTH - 1)
    assert json.dumps(parse_object(deep)).encode() == deep.replace(b":", b": ")


@given(st.binary(max_size=40))
def test_garbage_raises_nothing_but_value_error(data: bytes) -> None:
    try:
        json.dumps(parse_object(data), allow_nan=False)
    except ValueError:
        pass


SIMPLE = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)


@given(st.dictionaries(st.text(), SIMPLE | st.lists(SIMPLE) | st.dictionaries(st.text(), SIMPLE)))
def test_what_json_can_say_comes_back(document: dict[str, object]) -> None:
    assert parse_object(json.dumps(document).encode()) == document

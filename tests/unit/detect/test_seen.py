"""Fields of a line that nobody vouches for, and words for people."""

from __future__ import annotations

import pytest

from bastion.detect.seen import LONGEST_WORD, count, size, span, word


def test_fields_of_another_type_are_not_there():
    line = {"a": "x" * 999, "b": 7, "c": True, "d": None, "e": "7", "f": -3}
    assert len(word(line, "a")) == LONGEST_WORD
    assert [word(line, name) for name in "bcdz"] == ["", "", "", ""]
    assert [count(line, name) for name in "abcdefz"] == [0, 7, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0 B"), (2048, "2 KiB"), (5 << 20, "5 MiB"), (3 << 30, "3.0 GiB"), (1 << 42, "4096.0 GiB")],
)
def test_sizes(amount, text):
    assert size(amount) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(42, "42 s"), (600, "10 min"), (3600, "60 min"), (18000, "5 h"), (259200, "3 d")]
)
def test_spans(seconds, text):
    assert span(seconds) == text

"""Pages are what was put into them."""

from __future__ import annotations

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from bastion.indexing.pages import LONGEST_PAGE, PAGE_CHARACTERS, Page, unpack
from tests.support.examples import examples

LINES = st.lists(
    st.tuples(st.floats(0, 1e9), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"))),
    min_size=1,
)


@examples(200)
@given(LINES)
def test_what_is_packed_is_unpacked(lines: list[tuple[float, str]]) -> None:
    page = Page(3)
    for time, text in lines:
        page.add(time, text)
    again = unpack(3, page.pack())
    assert list(zip(again.times, again.lines, strict=True)) == lines and again.channel == 3


def test_a_page_is_full_at_its_size() -> None:
    page = Page(1)
    assert not page.add(0.0, "x" * (PAGE_CHARACTERS - 2))
    assert page.add(0.0, "")


def test_an_index_is_given_the_words_in_their_order() -> None:
    page = Page(1)
    for line in ("One two", "Two É-3 错误", "x" * 50 + " end"):
        page.add(0.0, line)
    assert page.words.split() == ["one", "two", "two", "e", "3", "错", "误", "x" * 40, "end"]


@pytest.mark.parametrize(
    "data",
    [
        zstandard.compress(b"\x00\x00\x00\x01" + bytes(8) + b"x") + b"more",
        b"",
        b"garbage",
        zstandard.compress(b""),
        zstandard.compress(b"\x00\x00\x00\x02" + bytes(16) + b"one line"),
        zstandard.compress(b"\xff\xff\xff\xff"),
        zstandard.compress(bytes(LONGEST_PAGE + 1)),
        Page(1, ["x"], [0.0]).pack()[:-3],
    ],
)
def test_what_is_none_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="no page"):
        unpack(1, data)

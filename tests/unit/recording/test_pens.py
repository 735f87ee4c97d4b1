"""Pens: what SGR sequences leave."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.recording.pens import LONGEST_PEN, background, cells_of, changed, pen_of, styled


@pytest.mark.parametrize(
    ("sequences", "pen"),
    [
        (["1;31"], "1;31"),
        (["31", "1"], "1;31"),
        (["1;31", "32"], "1;32"),
        (["1;31", ""], ""),
        (["1;31", "0;4"], "4"),
        (["1;2", "22"], ""),
        (["38;5;200;7"], "7;38;5;200"),
        (["38;2;1;2;3", "48:2::4:5:6"], "38;2;1;2;3;48;2;4;5;6"),
        (["38:5:9", "39"], ""),
        (["4:3", "58:5:1"], "4;58;5;1"),
        (["4:3", "4:0"], ""),
        (["38;5", "1"], "1"),
        (["38;2;1;2", "1"], "1"),
        (["38;5;999"], ""),
        (["97;107"], "97;107"),
        (["99999;1"], "1"),
        (["53", "55"], ""),
    ],
)
def test_sequences_leave_one_pen(sequences: list[str], pen: str) -> None:
    made = ""
    for parameters in sequences:
        made = changed(made, parameters)
    assert made == pen
    assert changed("", made) == made


@given(st.lists(st.text("0123456789;:", max_size=40), max_size=6))
def test_whatever_comes_a_pen_is_short_and_made_of_numbers(sequences: list[str]) -> None:
    pen = ""
    for parameters in sequences:
        pen = changed(pen, parameters)
        assert len(pen) <= LONGEST_PEN and re.fullmatch("[0-9;]*", pen) and changed("", pen) == pen


def test_erasing_leaves_the_background() -> None:
    assert background("1;31;44") == "44" and background("1") == ""


def test_cells_are_text_that_knows_its_pen() -> None:
    cell = styled("x", "31")
    assert cell == "x" and pen_of(cell) == "31" and "31" in repr(cell) and type(styled("x", "")) is str
    assert cells_of("ab", "") == "ab" and [pen_of(one) for one in cells_of("ab", "1")] == ["1", "1"]

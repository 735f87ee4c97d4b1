"""Peer text for people: no byte of it acts on a terminal, and nothing of it passes for ours."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.wire.printable import banner_lines, escaped, in_order, not_ours, printable, quoted, said_by


@given(st.text(), st.integers(0, 40))
def test_nothing_hidden_is_left(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert not any(unicodedata.category(one) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for one in shown)
    assert len(shown) <= 10 * limit + 3
    assert shown.endswith("...") or len(text) <= limit


@pytest.mark.parametrize(
    ("character", "shown"),
    [
        ("\x1b", "\\x1b"),
        ("\n", "\\x0a"),
        ("\x9b", "\\x9b"),
        ("\u202e", "\\u202e"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("é", "é"),
        ("漢", "漢"),
    ],
)
def test_what_does_not_show_as_itself_is_written_out(character: str, shown: str) -> None:
    assert printable(character) == shown
    if shown != character:
        assert escaped(character) == shown


def test_some_controls_may_stay() -> None:
    assert printable("a\tb\nc\x07", keep="\n\t") == "a\tb\nc\\x07"


def test_only_what_reorders_is_changed_in_a_replay() -> None:
    family = "\U0001f468\u200d\U0001f469"  # joined by a zero width joiner: part of real text
    assert in_order(f"a\x1b[1m{family}\u202eb\u2066") == f"a\x1b[1m{family}\\u202eb\\u2066"
    assert in_order("plain\r\n") == "plain\r\n"


@pytest.mark.parametrize("text", ["bastion: hello", "BASTION:", "x Bastion : y"])
def test_nobody_speaks_in_our_name(text: str) -> None:
    for shown in (not_ours(text), said_by("target", text), quoted(text), *banner_lines("target", text, 0)):
        assert "\\x3a" in shown
        assert "bastion:" not in shown.lower().replace(" ", "").replace("\\x09", "").replace("\t", "")


def test_a_peers_words_are_marked_and_cut() -> None:
    assert said_by("target", "no\x1b[2J") == "target | no\\x1b[2J"
    assert said_by("target", "x" * 600) == "target | " + "x" * 512 + "..."


@given(st.text())
def test_a_quotation_ends_where_we_end_it(text: str) -> None:
    shown = quoted(text)
    assert shown[0] == shown[-1] == '"'
    assert '"' not in shown[1:-1]


def test_every_line_of_a_banner_is_marked() -> None:
    assert banner_lines("web1", "one\r\ntwo\rthree\tx\n\n", 0) == [
        "web1 | one",
        "web1 | two",
        "web1 | three\tx",
    ]
    assert banner_lines("web1", "", 0) == []
    assert banner_lines("web1", "one", 7) == [
        "web1 | one",
        "bastion: 7 more bytes of this banner are not shown",
    ]
    assert banner_lines("web1", "", 7) == ["bastion: 7 more bytes of this banner are not shown"]

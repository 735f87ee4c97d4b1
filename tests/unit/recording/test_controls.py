"""Terminal output in pieces: the same tokens however it is cut, in constant memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.recording.controls import LONGEST_SEQUENCE, ControlParser, Token


def tokens(*pieces: bytes) -> list[Token]:
    """Neighbouring text is one token, as it is for whoever shows it."""
    parser = ControlParser()
    found: list[Token] = []
    for number, piece in enumerate(pieces):
        for token in parser.feed(piece, final=number == len(pieces) - 1):
            if token.kind in ("text", "hidden") and found and found[-1].kind == token.kind:
                token = Token(token.kind, found.pop().body + token.body)
            found.append(token)
    return found


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"plain", [("text", "plain")]),
        ("grün".encode(), [("text", "grün")]),
        (b"a\r\n", [("text", "a"), ("control", "\r"), ("control", "\n")]),
        (b"\x1b[1;31mred", [("csi", "1;31m"), ("text", "red")]),
        (b"\x1bM\x1b(B", [("escape", "M"), ("escape", "(B")]),
        ("\x9b2J".encode(), [("csi", "2J")]),
        (b"\x1b]0;title\x07x", [("text", "x")]),
        (b"\x1b]0;title\x1b\\x", [("text", "x")]),
        (
            b"\x1bPq\x07still inside\x1b\\x",
            [
                ("hidden-begin", "ESC P"),
                ("hidden", "q\\x07still inside"),
                ("hidden-end", ""),
                ("text", "x"),
            ],
        ),
        (b"\x1b[3\x08m", [("control", "\x08"), ("csi", "3m")]),
        (b"\x1b[3\x18m", [("text", "m")]),
        (b"\x1b]0;t\x1b[1m", [("csi", "1m")]),
        (b"\xff", [("text", "\ufffd")]),
    ],
)
def test_what_output_is_made_of(data: bytes, expected: list[tuple[str, str]]) -> None:
    assert tokens(data) == expected


PARTS = st.lists(
    st.sampled_from(
        [
            b"\x1b",
            b"[",
            b"]",
            b"P",
            b"X",
            b"\\",
            b"\x07",
            b"\x18",
            b"1;2",
            b"m",
            b"text",
            b"\n",
            "\x9bü".encode(),
        ]
    )
    | st.binary(max_size=8),
    max_size=20,
)


@given(PARTS, st.data())
def test_where_the_output_is_cut_makes_no_difference(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    cut = data.draw(st.integers(0, len(whole)))
    assert tokens(whole[:cut], whole[cut:]) == tokens(whole)


@given(PARTS)
def test_no_text_holds_a_control(parts: list[bytes]) -> None:
    for token in tokens(*parts, b""):
        if token.kind in ("text", "hidden"):
            assert not any(char < " " or "\x7f" <= char <= "\x9f" for char in token.body)
        assert len(token.body) <= LONGEST_SEQUENCE or token.kind in ("text", "hidden")


def test_a_sequence_without_end_is_kept_up_to_its_limit() -> None:
    parser = ControlParser()
    parser.feed(b"\x1b[" + b"1" * 100_000)
    assert len(parser._held) == LONGEST_SEQUENCE
    assert parser.feed(b"mx") == [Token("text", "x")], "and is nothing when it ends"


def test_what_is_missing_ends_a_sequence() -> None:
    parser = ControlParser()
    assert parser.feed(b"\x1b[3") == []
    parser.restart()
    assert parser.feed(b"1m") == [Token("text", "1m")]


def test_strings_are_counted() -> None:
    parser = ControlParser()
    parser.feed(b"\x1b]0;title\x07\x1bP+q\x1b\\\x1bkx\x1b\\\x1b]0;a\nb\x07", final=True)
    assert (parser.swallowed, parser.hidden) == (2, 2)

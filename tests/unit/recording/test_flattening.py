"""Lines of terminals as text, and where each character came from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.recording.flattening import MOST_GROWTH, flatten
from tests.support.examples import examples

PIECES = [
    b"a", b"b=", b"\x1b[31m", b"\r\n", b"\n", b"\0", b"\a", b"\t", "é".encode(), b"\xff", b"\x9b", b" ", b"\xc2\x9b",
    b"\xc2", b"\b", b"\x1b[K", b"\r", b"\x1b[H", b"\x1b", b"\x1b[2P", b"\x1b[@", b"\x1b]0;t", b"\x1b[999C",
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"PA\x1b[31mSS\x1b[0m=x\r\n$ ", "PASS=x\n$ "),
        (b"pass=huter\b\b\bnter\b\b\b\r\n", "pass=hunter\n"),
        (b"pass=hutex\b\x1b[K", "pass=hutex\npass=hute"),
        (b"long lin \re goes on\r\n", "long line goes on\n"),
        (b"50%\r60%\r\n", "50%\n60%\n"),
        (b"\x1b]0;title\aprompt$ ls", "\n0;title\nprompt$ ls"),
        (b"one\x1b[5;1Htwo", "one\ntwo"),
        ("pässwörd=é".encode(), "pässwörd=é"),
        (b"\xff\xfe=x", "ÿþ=x"),
        (b"a\0b\x07c", "abc"),
    ],
)
def test_lines_as_a_line_editor_shows_them(data: bytes, text: str) -> None:
    assert flatten(data).text == text


def test_what_was_overwritten_has_all_its_sources() -> None:
    flat = flatten(b"huter\b\b\bnter")
    assert flat.places([(2, 3)]) == [[(2, 1), (8, 1)]] and flat.text == "hunter"


@examples(500)
@given(st.lists(st.sampled_from(PIECES), max_size=30), st.booleans())
def test_characters_came_from_where_they_say(pieces: list[bytes], edited: bool) -> None:
    data = b"".join(pieces)
    flat = flatten(data, edited)
    assert len(flat.text) <= (MOST_GROWTH + 2) * len(data)
    places = flat.places([(at, at + 1) for at in range(len(flat.text))])
    assert all(at >= 0 and at + size <= len(data) for several in places for at, size in several)
    for char, several in zip(flat.text, places, strict=True):
        if char in "abt=":
            at, size = several[-1]
            assert data[at : at + size] == char.encode()

"""What is read of the lobby's commands about approvals."""

from __future__ import annotations

import pytest

from bastion.doors.approvals import MOST_TEXT, _read


@pytest.mark.parametrize(
    ("text", "words", "why"),
    [
        ("web1 deploy for INC-42 and more", ("web1", "deploy"), "INC-42 and more"),
        ("web1 for for", ("web1",), "for"),
        ("", (), ""),
        ("a b c d e", ("a", "b", "c"), ""),
        ("k3 for \x1b[2J", ("k3",), "\\x1b[2J"),
        ("x" * (MOST_TEXT + 1), (), ""),
    ],
)
def test_words_and_a_reason(text: str, words: tuple[str, ...], why: str) -> None:
    assert _read("request", text) == ("request", words, why)

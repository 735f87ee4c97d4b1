"""API tokens: how they look, and what is kept of them."""

from __future__ import annotations

import re

import pytest

from bastion.console.tokens import PATTERN, make, read


def test_a_token_is_found_by_who_looks_for_secrets_and_read_again() -> None:
    text, presented = make()
    assert re.fullmatch(PATTERN, text) and re.search(PATTERN, f'curl -H "Authorization: Bearer {text}"')
    assert read(text) == presented and presented.id in text and presented.digest not in text
    assert presented.digest not in repr(presented) and len(presented.digest) == 64
    assert make()[1].id != presented.id


@pytest.mark.parametrize(
    "change", [str.upper, lambda text: text + "\n", lambda text: text[:-1], lambda _: ""]
)
def test_what_looks_otherwise_is_none(change: object) -> None:
    assert callable(change) and read(change(make()[0])) is None


def test_every_bit_counts() -> None:
    text, presented = make()
    other = text[:-1] + ("a" if text[-1] != "a" else "b")
    found = read(other)
    assert found is not None and found.id == presented.id and found.digest != presented.digest

"""Hosts and ports as clients write them."""

from __future__ import annotations

import pytest

from bastion.setup_texts.facts import place


@pytest.mark.parametrize(
    ("host", "port", "known", "jump"),
    [
        ("a", 22, "a", "a"),
        ("a", 23, "[a]:23", "a:23"),
        ("::1", 22, "::1", "::1"),
        ("::1", 23, "[::1]:23", "[::1]:23"),
    ],
)
def test_places(host: str, port: int, known: str, jump: str) -> None:
    assert (place(host, port), place(host, port, brackets=False)) == (known, jump)

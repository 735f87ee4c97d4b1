"""A program that a target is reached through: words of an absolute path, and what stands for what."""

from __future__ import annotations

import pytest

from bastion.config.proxy_command import PROXY_COMMAND
from bastion.options import At, Problems, Source


@pytest.mark.parametrize(
    ("words", "good"),
    [
        (["/usr/bin/nc", "%h", "%p"], True),
        (["/usr/bin/nc", "100%%"], True),
        (["nc", "%h"], False),
        (["/usr/bin/%h"], False),
        (["/usr/bin/nc", "%x"], False),
        ([], False),
    ],
)
def test_what_it_may_be(words, good):
    problems = Problems()
    at = At(Source("bastion.toml", ""), problems)
    try:
        assert PROXY_COMMAND.read(words, at) == tuple(words) and good
    except Exception:
        assert not good and problems

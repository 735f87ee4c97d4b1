"""Values that thousands of connections have in common, kept once.

Most peers are the same few programs: they say the same version line, agree on the same algorithms and announce the
same extensions. Each connection would otherwise keep a copy of its own for hours. Invariant: what is public stands
here and nothing else, at most `KEPT` values of at most `KEPT_SIZE` bytes, the oldest unused going first.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import TypeVar, cast

Value = TypeVar("Value", bound=Hashable)

KEPT = 512
"""Values. With `KEPT_SIZE` the worst case is 0.5 MiB for a process, filled by strangers who each say something new."""

KEPT_SIZE = 1024
"""Bytes. What is longer is nobody's common value; callers keep it for themselves."""


def one_of_equal(value: Value) -> Value:
    """`value`, or one that came before and is equal to it. It must not be changed, and holds no secret."""
    return cast(Value, _kept(value))


@lru_cache(maxsize=KEPT, typed=True)
def _kept(value: Hashable) -> Hashable:
    return value

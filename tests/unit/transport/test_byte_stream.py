"""What a connection below has beside the least it must have is used, and done without."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bastion.transport.byte_stream import abort, left_to_take


@pytest.mark.parametrize(
    ("below", "left"),
    [
        ({"unsent": lambda: 9, "bytes_taken": 4}, 9),
        ({"bytes_taken": 4}, -4),
        ({}, 0),
    ],
)
def test_what_the_peer_has_still_to_take_falls_as_it_takes(below: dict[str, Any], left: int) -> None:
    assert left_to_take(SimpleNamespace(**below)) == left  # type: ignore[arg-type]


@pytest.mark.parametrize("has", [["loseConnection"], ["loseConnection", "abortConnection"]])
def test_it_is_closed_in_the_hardest_way_there_is(has: list[str]) -> None:
    called: list[str] = []
    below: Any = SimpleNamespace(**{name: (lambda name=name: called.append(name)) for name in has})
    abort(below)
    assert called == has[-1:]

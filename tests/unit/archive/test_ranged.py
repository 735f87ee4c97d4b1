"""An object read by pieces is the object, and costs what is looked at."""

from __future__ import annotations

import random
from typing import cast

from bastion.archive import ranged
from bastion.archive.bucket import Bucket
from bastion.archive.ranged import KEPT, PIECE, open_object

DATA = random.Random(1).randbytes(3 * PIECE + 77)


class Pieces:
    """A bucket of one object, which counts what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def piece(self, key: str, start: int, size: int, version: str = "") -> bytes:
        assert (key, version) == ("k", "v") and size <= PIECE
        self.asked.append((start, size))
        return DATA[start : start + size]


def test_a_head_and_a_tail_are_two_requests() -> None:
    pieces = Pieces()
    with open_object(cast("Bucket", pieces), "k", len(DATA), "v") as source:
        assert source.read(100) == DATA[:100]
        assert source.seek(-50, 2) == len(DATA) - 50 and source.read() == DATA[-50:]
        source.seek(10)
        assert source.read(10) == DATA[10:20]
    assert pieces.asked == [(0, PIECE), (3 * PIECE, 77)]


def test_the_whole_of_it_is_the_same_and_little_is_kept() -> None:
    pieces = Pieces()
    source = open_object(cast("Bucket", pieces), "k", len(DATA), "v")
    assert source.read() == DATA and source.read() == b"" and source.seek(1 << 40) == 1 << 40
    assert source.read(1) == b"" and len(pieces.asked) == 4 <= KEPT
    assert ranged.PIECE * KEPT <= 1 << 20

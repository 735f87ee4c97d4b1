"""An object read by pieces is the object, and costs what is looked at."""

from __future__ import annotations

import io
import random
from typing import cast

import pytest

from bastion.archive import ranged
from bastion.archive.bucket import Bucket
from bastion.archive.ranged import KEPT, PIECE, open_object
from bastion.errors import StoreFault, StoreReason
from bastion.recording import pieces as proving
from bastion.recording.pieces import Pieces as Proof
from bastion.recording.pieces import pieces_of

DATA = random.Random(1).randbytes(3 * PIECE + 77)


class Pieces:
    """A bucket of one object, which counts what is asked of it."""

    def __init__(self, data: bytes = DATA, most: int = PIECE) -> None:
        self.asked: list[tuple[int, int]] = []
        self.data, self.most = data, most

    def piece(self, key: str, start: int, size: int, version: str = "") -> bytes:
        assert (key, version) == ("k", "v") and size <= self.most
        self.asked.append((start, size))
        return self.data[start : start + size]


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


LARGE = random.Random(2).randbytes(6 * proving.PIECE + 5)


def proved(data: bytes, proof: Proof) -> tuple[Pieces, io.BufferedReader]:
    pieces = Pieces(data, proving.PIECE)
    source = open_object(cast("Bucket", pieces), "k", proof.size, "v", proof)
    return pieces, cast("io.BufferedReader", source)


def test_with_digests_each_piece_is_held_against_its_own() -> None:
    proof = pieces_of(io.BytesIO(LARGE))
    pieces, source = proved(LARGE, proof)
    assert source.read() == LARGE and len(pieces.asked) == 7
    assert proving.PIECE * KEPT <= 1 << 20, "so much is in memory, however large it is"
    other = bytearray(LARGE)
    other[4 * proving.PIECE] ^= 1
    _, source = proved(bytes(other), proof)
    assert source.read(4 * proving.PIECE) == LARGE[: 4 * proving.PIECE]
    with pytest.raises(StoreFault) as caught:
        source.read(1)
    assert caught.value.reason is StoreReason.CHECKSUM
    _, source = proved(LARGE[proving.PIECE :] + LARGE[: proving.PIECE], proof)
    with pytest.raises(StoreFault, match="is not what was uploaded"):
        source.read(1)


def test_fewer_bytes_than_there_are_is_no_end() -> None:
    for proof in (None, pieces_of(io.BytesIO(LARGE))):
        pieces = Pieces(LARGE[:-1], proving.PIECE)
        source = open_object(cast("Bucket", pieces), "k", len(LARGE), "v", proof)
        source.seek(-10, 2)
        with pytest.raises(StoreFault) as caught:
            source.read()
        assert caught.value.reason is StoreReason.BAD_ANSWER

"""A piece of a file proves itself, and no other piece is taken for it."""

from __future__ import annotations

import io
import random
from hashlib import sha256
from typing import Any

import pytest

from bastion.recording.pieces import PIECE, Pieces, pieces_of


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 7])
def test_each_piece_is_known_by_its_digest(size: int) -> None:
    data = random.Random(size).randbytes(size)
    made = Pieces.of(pieces_of(io.BytesIO(data)).document())
    assert (made.size, made.whole) == (size, sha256(data).hexdigest())
    every = [data[at : at + PIECE] for at in range(0, size, PIECE)]
    for number, piece in enumerate(every):
        assert made.has(number, piece)
        assert not made.has(number, piece + b"\0") and not made.has(number + 1, piece)
        assert not made.has(number, bytes([piece[0] ^ 1]) + piece[1:])
    assert not made.has(len(every), b""), "behind the end there is none"


@pytest.mark.parametrize(
    "document",
    [
        {},
        None,
        [],
        {"size": 5, "whole": "", "digests": ""},
        {"size": -1, "whole": "", "digests": ""},
        {"size": 1, "whole": "", "digests": "AAAA"},
        {"size": 1, "whole": "", "digests": "*" * 44},
        {"size": "x", "whole": "", "digests": ""},
    ],
)
def test_what_is_none_is_refused(document: Any) -> None:
    with pytest.raises(ValueError):
        Pieces.of(document)

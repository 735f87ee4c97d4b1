"""Replays the kept inputs of every fuzzing target, and their nearest neighbours."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

SEEDS = Path(__file__).with_name("seeds")


def neighbours(data: bytes) -> list[bytes]:
    """The input itself, cut at some places, and with some bytes changed."""
    places = sorted({len(data) * part // 16 for part in range(16)})
    found = [data, *[data[:place] for place in places], data + b"\0"]
    for place in places:
        if place < len(data):
            found += [
                data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :] for bit in (1, 0x80, 0xFF)
            ]
    return found


@pytest.mark.parametrize("name", TARGETS)
def test_every_kept_input(name: str) -> None:
    kept = sorted((SEEDS / name).glob("*"))
    assert kept, "every target has seeds"
    for path in kept:
        for data in neighbours(path.read_bytes()):
            TARGETS[name](data)


def test_every_folder_of_seeds_has_a_target() -> None:
    assert {path.name for path in SEEDS.iterdir()} == set(TARGETS)

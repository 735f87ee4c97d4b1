"""How far a sink has got: what is written is what is read, and nothing else is taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastion.sinks.position import CHAINS_KEPT, Position, Reached, load, save


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    position = Position()
    position.reach("a" * 16, 7)
    position.reach("a" * 16, 3)
    position.chains["b" * 16] = Reached(9, -1, 12)
    save(tmp_path / "x.json", position)
    found = load(tmp_path / "x.json")
    assert found.begun and found.first == "a" * 16
    assert (found.serial("a" * 16), found.serial("b" * 16), found.serial("c" * 16)) == (7, 9, -1)
    assert found.chains == position.chains
    assert (tmp_path / "x.json").stat().st_mode & 0o777 == 0o600


def test_a_missing_file_is_a_new_sink(tmp_path: Path) -> None:
    assert not load(tmp_path / "x.json").begun


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"first":"","chains":[]}',
        '{"first":"","chains":{"a":[1,2,3,4]}}',
        '{"first":"","chains":{"a":1}}',
        '{"chains":{}}',
        "x" * 9,
    ],
)
def test_a_file_that_is_something_else_is_no_beginning(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError):
        load(tmp_path / "x.json")


def test_chains_without_a_file_are_forgotten_but_the_last_ones() -> None:
    position = Position()
    for number in range(CHAINS_KEPT + 10):
        position.reach(f"{number:016x}", number)
    position.forget_all_but({f"{3:016x}"})
    assert len(position.chains) == CHAINS_KEPT + 1
    assert position.serial(f"{3:016x}") == 3 and position.serial(f"{9:016x}") == -1

"""The memory of several processes, and what a worker is started with."""

from __future__ import annotations

import os

import pytest

from bastion.sharing.rows import Cell
from bastion.supervisor.memory import SECRET, Inherited, SharedMemory


def test_two_mappings_are_one_memory() -> None:
    made = SharedMemory.made(2, b"s" * SECRET)
    there = SharedMemory(os.dup(made.fd), 2)
    assert made.secret == there.secret and made.secret == b"s" * SECRET
    first, second = made.row(0), there.row(1)
    first.add(Cell.SESSIONS, 3)
    first.add_name("192.0.2.1", 2)
    assert second.elsewhere(Cell.SESSIONS) == 3 and second.elsewhere_of("192.0.2.1") == 2


def test_what_is_inherited_is_read_as_it_was_written() -> None:
    inherited = Inherited(1, 4, 7, 8, (9, 10))
    assert Inherited.read(str(inherited)) == inherited
    with pytest.raises(ValueError, match="not enough"):
        Inherited.read("1:2")

"""The rows of several workers: each writes its own, all read the sum, and what a dead one held is known and cleared."""

from __future__ import annotations

import pytest

from bastion.sharing.rows import (
    ALONE,
    MAX_SESSIONS,
    ROW_SIZE,
    Cell,
    Row,
    clear,
    count,
    unfinished,
)

SECRET = b"s" * 16
IDS = [f"{number:a>16}".replace("0", "b").replace("1", "c") for number in range(3)]


def rows(workers: int = 2) -> tuple[memoryview, list[Row]]:
    memory = memoryview(bytearray(workers * ROW_SIZE))
    return memory, [Row(memory, workers, own, SECRET) for own in range(workers)]


def test_each_reads_what_the_others_hold() -> None:
    memory, (first, second, third) = rows(3)
    first.add(Cell.STARTUPS, 2)
    second.add(Cell.STARTUPS, 5)
    second.add(Cell.STARTUPS, -1)
    assert [row.elsewhere(Cell.STARTUPS) for row in (first, second, third)] == [4, 2, 6]
    assert count(memory, 3, Cell.STARTUPS) == 6
    assert third.elsewhere(Cell.SESSIONS) == 0


def test_names_are_counted_apart() -> None:
    _, (first, second) = rows()
    for number in range(200):
        first.add_name(f"10.0.0.{number}", 1)
    first.add_name("192.0.2.1", 3)
    second.add_name("192.0.2.1", 2)
    assert second.elsewhere_of("192.0.2.1") == 3
    assert first.elsewhere_of("192.0.2.1") == 2
    assert second.elsewhere_of("198.51.100.9") == 0
    first.add_name("192.0.2.1", -3)
    assert second.elsewhere_of("192.0.2.1") == 0


def test_the_least_is_among_those_that_accept() -> None:
    _, (first, second, third) = rows(3)
    assert first.least(Cell.CONNECTIONS) is None
    for row, connections in ((second, 4), (third, 7)):
        row.add(Cell.CONNECTIONS, connections)
        row.add(Cell.ACCEPTING, 1)
    assert first.least(Cell.CONNECTIONS) == 4
    second.add(Cell.ACCEPTING, -1)
    assert first.least(Cell.CONNECTIONS) == 7


def test_what_is_unfinished_is_known_after_a_death_and_then_cleared() -> None:
    memory, (first, second) = rows()
    for session in IDS:
        first.begin(session)
    first.begin(IDS[0])
    first.finish(IDS[1])
    first.finish("never begun")
    second.begin("z" * 16)
    second.add(Cell.SESSIONS, 1)
    first.add(Cell.SESSIONS, 2)
    first.add_name("192.0.2.1", 2)
    assert list(unfinished(memory, 0)) == [IDS[0], IDS[2]]
    clear(memory, 0)
    assert list(unfinished(memory, 0)) == []
    assert second.elsewhere(Cell.SESSIONS) == 0 and second.elsewhere_of("192.0.2.1") == 0
    assert list(unfinished(memory, 1)) == ["z" * 16]


def test_places_are_used_again_and_more_sessions_than_places_are_no_fault() -> None:
    memory, (first, _) = rows()
    names = [f"s{number:015d}" for number in range(MAX_SESSIONS + 1)]
    for name in names:
        first.begin(name)
    assert sorted(unfinished(memory, 0)) == names[:MAX_SESSIONS]
    for name in names:
        first.finish(name)
    first.begin(IDS[0])
    assert list(unfinished(memory, 0)) == [IDS[0]]


@pytest.mark.parametrize("cell", list(Cell))
def test_a_process_alone_has_nobody_elsewhere(cell: Cell) -> None:
    ALONE.add(cell, 1)
    ALONE.add_name("192.0.2.1", 1)
    ALONE.begin(IDS[0])
    ALONE.finish(IDS[0])
    assert (ALONE.workers, ALONE.elsewhere(cell), ALONE.elsewhere_of("192.0.2.1")) == (1, 0, 0)
    assert ALONE.least(cell) is None

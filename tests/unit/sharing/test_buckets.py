"""A bucket that several workers fill is one bucket, whoever looks at it, and outlives those who filled it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.sharing.buckets import SharedBucket
from bastion.sharing.rows import BUCKETS, ROW_SIZE, Cell, Row, clear

RATE = 250_000
WORKERS = 3
BOOTED = 12_345_678.9


def buckets(place: int = 0, memory: memoryview | None = None) -> list[SharedBucket]:
    whole = memory or memoryview(bytearray(WORKERS * ROW_SIZE))
    return [SharedBucket(Row(whole, WORKERS, own, b"s" * 16), place, RATE) for own in range(WORKERS)]


def test_what_one_pours_all_see_and_it_empties_once() -> None:
    first, second, third = buckets()
    assert third.level(BOOTED) == 0
    first.pour(100_000, BOOTED)
    second.pour(150_000, BOOTED)
    for one in (first, second, third):
        assert one.level(BOOTED) == pytest.approx(250_000, abs=1)
        assert one.level(BOOTED + 0.5) == pytest.approx(125_000, abs=1)
        assert one.level(BOOTED + 2) == 0


def test_what_is_given_back_by_another_is_out() -> None:
    first, second, _ = buckets()
    first.pour(200_000, BOOTED)
    second.give_back(150_000)
    assert first.level(BOOTED) == pytest.approx(50_000, abs=1)
    second.give_back(1_000_000)
    assert first.level(BOOTED) == 0
    second.pour(10_000, BOOTED)
    assert first.level(BOOTED) == pytest.approx(10_000, abs=1), "no credit is left of it"


def test_each_place_is_a_bucket_of_its_own_and_no_count_of_a_row() -> None:
    memory = memoryview(bytearray(WORKERS * ROW_SIZE))
    most = len(BUCKETS) // 2
    for place in range(most):
        buckets(place, memory)[0].pour(1000 * (place + 1), BOOTED)
    for place in range(most):
        assert buckets(place, memory)[1].level(BOOTED) == pytest.approx(1000 * (place + 1), abs=1)
    assert max(Cell) < BUCKETS.start
    with pytest.raises(ValueError, match="no such bucket"):
        buckets(most, memory)


def test_it_is_as_full_as_before_when_one_of_them_dies() -> None:
    memory = memoryview(bytearray(WORKERS * ROW_SIZE))
    first, second, _ = buckets(memory=memory)
    first.pour(400_000, BOOTED)
    first.give_back(100_000)
    second.give_back(100_000)
    clear(memory, 0)
    assert second.level(BOOTED) == pytest.approx(200_000, abs=1)
    again = buckets(memory=memory)[0]
    again.give_back(50_000)
    again.pour(20_000, BOOTED)
    assert second.level(BOOTED) == pytest.approx(170_000, abs=1)


moves = st.lists(
    st.tuples(
        st.integers(0, WORKERS - 1),
        st.sampled_from(("pour", "give back", "wait")),
        st.integers(0, 300_000),
    ),
    max_size=40,
)


@given(moves)
def test_it_is_the_bucket_that_one_process_would_have(made: list[tuple[int, str, int]]) -> None:
    several, now, level = buckets(), BOOTED, 0.0
    for worker, move, amount in made:
        if move == "pour":
            several[worker].pour(amount, now)
            level += amount
        elif move == "give back":
            several[worker].give_back(amount)
            level = max(0.0, level - amount)
        else:
            now += amount / RATE
            level = max(0.0, level - amount)
        for one in several:
            assert one.level(now) == pytest.approx(level, abs=len(made) + 1)

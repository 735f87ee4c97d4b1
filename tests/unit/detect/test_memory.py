"""What is remembered has limits, decays, and takes whatever comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.detect.memory import (
    DAY,
    FORGET,
    HALF_LIFE,
    LARGEST,
    LONGEST_NAME,
    Daily,
    Hours,
    Names,
    Recent,
    decayed,
    distinct,
    number,
)


def test_names_are_known_for_a_while_and_the_oldest_go_first():
    names = Names(3)
    for at, name in enumerate("abcad"):
        names.add(name, at * DAY)
    assert [name for name in "abcd" if names.knows(name, 5 * DAY)] == ["a", "c", "d"]
    assert names.days_of("a") == 2 and names.last("a") == 3 * DAY and names.last("b") is None
    assert not names.knows("a", 3 * DAY + FORGET)


def test_days_are_counted_and_not_times():
    names = Names(3)
    for at in (1.0, 2.0, 3.0, DAY + 1, DAY + 2):
        names.add("a", at)
    assert names.days_of("a") == 2


@given(st.lists(st.tuples(st.text(max_size=300), st.floats(0, 1e10)), max_size=60))
def test_nothing_grows_beyond_its_limit(seen):
    names, recent = Names(8), Recent(8)
    for name, at in seen:
        names.add(name, at)
        recent.add(at, name, name)
    assert len(names.days) <= 8 and len(recent.entries) <= 8
    assert all(len(name) <= LONGEST_NAME for name in names.days)
    assert all(len(name) <= LONGEST_NAME for _, name, _ in recent.entries)


def test_an_hour_counts_once_a_day_and_fades():
    hours = Hours()
    for _ in range(100):
        hours.add(9 * 3600.0)
    assert hours.known() == 1.0
    hours.add(9 * 3600.0 + HALF_LIFE)
    assert hours.known() == pytest.approx(1.5)
    hours.add(0.0)  # the clock went back
    assert hours.known() == pytest.approx(1.5)


def test_neighbouring_hours_count_over_midnight():
    hours = Hours()
    hours.add(23 * 3600.0)
    assert [hour for hour in range(24) if hours.share(hour)] == [0, 1, 21, 22, 23]
    assert Hours().share(3) == 1.0, "nothing is unusual to whoever nothing is known of"


def test_the_highest_day_fades_and_one_day_cannot_raise_it_without_limit():
    daily = Daily()
    assert daily.add(100, 0.0, 1000) == (100, 0.0)
    assert daily.add(100, 1.0, 1000) == (200, 0.0)
    today, usual = daily.add(1, DAY, 1000)
    assert today == 1 and usual == pytest.approx(200, rel=0.03)
    daily.add(10**9, DAY, 1000)
    assert daily.add(0, 2 * DAY, 1000)[1] == pytest.approx(1000, rel=0.03)
    assert daily.add(0, 2 * DAY + HALF_LIFE, 1000)[1] == pytest.approx(500, rel=0.05)
    assert daily.highest(7, 2 * DAY + HALF_LIFE)[0] == 7


def test_what_is_recent_is_forgotten():
    recent = Recent(8)
    for at in range(5):
        recent.add(float(at), str(at), "")
    assert [name for _, name, _ in recent.since(3.0)] == ["3", "4"]
    assert len(recent.entries) == 2


@pytest.mark.parametrize(
    ("value", "taken"),
    [(5, 5), (2.5, 2.5), (-1, 0), (True, 0), ("7", 0), (None, 0), (float("nan"), 0), (10**30, LARGEST), ([], 0)],
)  # fmt: skip
def test_only_numbers_are_numbers(value, taken):
    assert number(value) == taken


def test_small_things():
    assert decayed(8, HALF_LIFE) == 4 and decayed(8, -5) == 8
    assert distinct(["b", "", "a", "b"]) == ("b", "a")

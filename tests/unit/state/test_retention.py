"""Which recordings go: by age, label, user and size; never what is held; the longest age counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.state.retention import FOR_EVER, Kept, Rules, age_for, plan

DAY = 86400.0
NOW = 1000 * DAY


def made(
    session: str, days: float, user: str = "alice", labels: tuple[str, ...] | None = (), size: int = 10
) -> Kept:
    """A recording that ended so many days ago."""
    return Kept(session, NOW - days * DAY, user, "web1", labels, size, f"day/{session}.rec")


def going(rules: Rules, *recordings: Kept, held: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    return [(one.recording.session, one.why) for one in plan(rules, recordings, held, NOW)]


def test_without_rules_nothing_goes() -> None:
    assert not Rules().any and going(Rules(), made("a", 10_000)) == []
    assert Rules(users={"alice": DAY}).any and Rules(max_bytes=1).any and not Rules(users={"alice": None}).any


def test_what_ended_longer_ago_than_its_age_goes_oldest_first() -> None:
    rules = Rules(max_age=30 * DAY)
    assert going(rules, made("a", 31), made("b", 29), made("c", 40)) == [("c", "age"), ("a", "age")]
    assert going(rules, made("exactly", 30)) == []


@pytest.mark.parametrize(
    ("one", "age", "why"),
    [
        (made("x", 0), 30 * DAY, "age"),
        (made("x", 0, labels=("env=prod",)), 365 * DAY, "label env=prod"),
        (made("x", 0, labels=("env=test",)), 7 * DAY, "label env=test"),
        (made("x", 0, labels=("env=test", "env=prod")), 365 * DAY, "label env=prod"),
        (made("x", 0, user="bot"), 1 * DAY, "user bot"),
        (made("x", 0, user="bot", labels=("env=prod",)), 365 * DAY, "label env=prod"),
        (made("x", 0, user="ceo"), FOR_EVER, "user ceo"),
        (made("x", 0, labels=None), 365 * DAY, "label env=prod"),
        (made("x", 0, user="bot", labels=None), 365 * DAY, "label env=prod"),
    ],
)
def test_the_longest_age_that_fits_counts(one: Kept, age: float, why: str) -> None:
    rules = Rules(30 * DAY, {"env=prod": 365 * DAY, "env=test": 7 * DAY}, {"bot": DAY, "ceo": None})
    assert age_for(rules, one) == (age, why)


def test_a_target_that_is_not_known_any_more_is_kept_as_long_as_any() -> None:
    assert age_for(Rules(400 * DAY, {"env=prod": 365 * DAY}), made("x", 0, labels=None)) == (400 * DAY, "age")
    assert age_for(Rules(None, {"env=prod": DAY}), made("x", 0, labels=None))[0] == FOR_EVER


def test_by_size_the_oldest_go_until_it_fits_and_none_that_is_young() -> None:
    rules = Rules(max_bytes=25, at_least=7 * DAY)
    old, older, young = made("old", 20), made("older", 30), made("young", 3)
    assert going(rules, old, older, young) == [("older", "size")]
    assert going(Rules(max_bytes=0, at_least=7 * DAY), old, older, young) == [
        ("older", "size"),
        ("old", "size"),
    ]
    assert going(Rules(max_bytes=30), old, older, young) == []


def test_what_goes_by_age_makes_room() -> None:
    rules = Rules(max_age=25 * DAY, max_bytes=20)
    assert going(rules, made("old", 20), made("older", 30), made("young", 3)) == [("older", "age")]


def test_what_is_held_stays_and_takes_room() -> None:
    rules = Rules(max_age=25 * DAY, max_bytes=10)
    recordings = (made("held", 50), made("a", 20), made("b", 10))
    assert going(rules, *recordings, held=("held",)) == [("a", "size"), ("b", "size")]


recordings = st.lists(
    st.builds(
        Kept, st.uuids().map(str), st.floats(0, NOW), st.sampled_from("ab"), st.just("t"),
        st.sampled_from([None, (), ("env=prod",)]), st.integers(0, 100), st.just("p"),
    ),
    max_size=20, unique_by=lambda one: one.session,
)  # fmt: skip


@given(
    recordings,
    st.builds(
        Rules,
        st.one_of(st.none(), st.floats(0, NOW)),
        st.dictionaries(st.just("env=prod"), st.one_of(st.none(), st.floats(0, NOW)), max_size=1),
        st.dictionaries(st.sampled_from("ab"), st.one_of(st.none(), st.floats(0, NOW))),
        st.one_of(st.none(), st.integers(0, 500)),
        st.floats(0, NOW),
    ),
    st.data(),
)
def test_the_promises_hold_for_any_rules(found: list[Kept], rules: Rules, data: st.DataObject) -> None:
    held = [one.session for one in found if data.draw(st.booleans())]
    chosen = plan(rules, found, held, NOW)
    assert not {one.recording.session for one in chosen} & set(held)
    assert [one.recording.ended_at for one in chosen] == sorted(one.recording.ended_at for one in chosen)
    for one in chosen:
        age = NOW - one.recording.ended_at
        assert age >= rules.at_least if one.why == "size" else age > age_for(rules, one.recording)[0]

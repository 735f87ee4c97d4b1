"""Hours and days by the clocks of a time zone, with the days on which those are put forward and back."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from bastion.options import ConfigErrors, Source
from bastion.policy.rules import Rule, parse_policy
from bastion.policy.schedule import Days, Hours, holds, local_time

BERLIN = ZoneInfo("Europe/Berlin")
OFFICE = {"hours": ["08:00-18:00"], "days": ["mon-fri"], "timezone": "Europe/Berlin"}


def rule(**options: object) -> Rule:
    table = {
        "name": "r",
        "users": ["*"],
        "targets": ["*"],
        "logins": ["deploy"],
        "verbs": ["shell"],
        **options,
    }
    return parse_policy({"rule": [table]}, Source("policy.toml")).rules[0]


def at(text: str) -> float:
    """A moment written with its offset from UTC."""
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("moment", "open_"),
    [
        ("2026-11-30T08:00:00+01:00", True),  # a Monday
        ("2026-11-30T07:59:59+01:00", False),
        ("2026-11-30T17:59:59+01:00", True),
        ("2026-11-30T18:00:00+01:00", False),
        ("2026-11-29T12:00:00+01:00", False),  # a Sunday
        ("2026-11-27T23:30:00-05:00", False),  # Friday there, Saturday in Berlin
        ("2026-07-01T06:30:00+00:00", True),  # 08:30 by summer time
        ("2026-12-01T06:30:00+00:00", False),  # 07:30 by winter time
    ],
)
def test_office_hours_go_by_the_clocks_of_their_zone(moment: str, open_: bool) -> None:
    assert rule(**OFFICE).matches_time(at(moment)) is open_


def test_a_rule_without_hours_and_days_always_holds() -> None:
    assert all(rule().matches_time(at("2026-11-30T00:00:00+00:00") + hour * 3600) for hour in range(168))


@pytest.mark.parametrize(
    ("moment", "open_"),
    [
        ("2026-11-27T22:00:00+00:00", True),  # Friday night ...
        ("2026-11-28T05:59:00+00:00", True),  # ... goes on to Saturday morning
        ("2026-11-28T06:00:00+00:00", False),
        ("2026-11-28T22:00:00+00:00", False),  # Saturday night is nobody's
        ("2026-11-30T05:00:00+00:00", False),  # and so Monday before six belongs to Sunday
        ("2026-11-27T21:59:00+00:00", False),
    ],
)
def test_hours_over_midnight_belong_to_the_day_on_which_they_began(moment: str, open_: bool) -> None:
    night = rule(hours=["22:00-06:00"], days=["mon-fri"])
    assert night.matches_time(at(moment)) is open_


def test_hours_that_a_spring_day_does_not_have_never_come() -> None:
    """2026-03-29 in Berlin: after 01:59 comes 03:00."""
    gap = rule(hours=["02:00-03:00"], timezone="Europe/Berlin")
    day = at("2026-03-29T00:00:00+01:00")
    assert not any(gap.matches_time(day + minute * 60) for minute in range(23 * 60))
    before = at("2026-03-28T00:00:00+01:00")
    assert sum(gap.matches_time(before + minute * 60) for minute in range(24 * 60)) == 60


def test_hours_round_the_gap_are_shorter_by_it_and_have_no_hole() -> None:
    night = rule(hours=["01:30-03:30"], timezone="Europe/Berlin")
    day = at("2026-03-29T00:00:00+01:00")
    inside = [minute for minute in range(23 * 60) if night.matches_time(day + minute * 60)]
    assert inside == list(range(90, 150))


def test_an_hour_that_comes_twice_counts_both_times() -> None:
    """2026-10-25 in Berlin: after 02:59 comes 02:00 again."""
    twice = rule(hours=["02:00-03:00"], timezone="Europe/Berlin")
    day = at("2026-10-25T00:00:00+02:00")
    inside = [minute for minute in range(25 * 60) if twice.matches_time(day + minute * 60)]
    assert inside == list(range(120, 240))


def test_the_whole_day_is_every_minute_of_a_day_with_25_hours() -> None:
    whole = rule(hours=["00:00-24:00"], days=["sun"], timezone="Europe/Berlin")
    day = at("2026-10-25T00:00:00+02:00")
    minutes = [minute for minute in range(-60, 26 * 60) if whole.matches_time(day + minute * 60)]
    assert minutes == list(range(25 * 60))


def test_days_may_go_over_sunday() -> None:
    weekend = Days(4, 0)
    assert [day in weekend for day in range(7)] == [True, False, False, False, True, True, True]
    assert str(weekend) == "fri-mon" and str(Days(2, 2)) == "wed"


def test_several_spans_add_up() -> None:
    two = (Hours(0, 60), Hours(120, 180))
    start = at("2026-11-30T00:00:00+00:00")
    inside = [minute for minute in range(240) if holds(two, (), UTC, start + minute * 60)]
    assert inside == [*range(60), *range(120, 180)]


def test_a_moment_is_shown_as_the_clocks_there_show_it() -> None:
    assert local_time(BERLIN, at("2026-11-30T16:59:00+00:00")) == "Mon 17:59"


@pytest.mark.parametrize(
    ("options", "key", "problem"),
    [
        ({"hours": ["8-18"]}, "hours[1]", "is no span of hours"),
        ({"hours": ["08:00-18:60"]}, "hours[1]", "is no span of hours"),
        ({"hours": ["08:00-18:00\n"]}, "hours[1]", "is no span of hours"),
        ({"hours": ["24:00-06:00"]}, "hours[1]", "past midnight"),
        ({"hours": ["20:00-24:01"]}, "hours[1]", "past midnight"),
        ({"hours": ["08:00-08:00"]}, "hours[1]", "no time at all"),
        ({"hours": []}, "hours", "must not be empty"),
        ({"days": ["monday"]}, "days[1]", "is no day of the week"),
        ({"days": ["mon-"]}, "days[1]", "is no day of the week"),
        ({"days": [1]}, "days[1]", "is no day of the week"),
        ({"timezone": "Europe/Berlin"}, "timezone", "has no effect without hours or days"),
        ({"days": ["mon"], "timezone": "Europe/Atlantis"}, "timezone", "is no time zone that this machine"),
        ({"days": ["mon"], "timezone": "../../etc/passwd"}, "timezone", "is no time zone that this machine"),
        ({"days": ["mon"], "timezone": "Europe"}, "timezone", "is no time zone that this machine"),
        ({"days": ["mon"], "timezone": ""}, "timezone", "is no time zone that this machine"),
    ],
)
def test_each_fault_names_its_key(options: dict[str, object], key: str, problem: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        rule(**options)
    (error,) = caught.value.errors
    assert error.key == f"rule[1].{key}" and problem in error.problem

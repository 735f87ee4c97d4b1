"""Times as people give them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bastion.cli.moments import since, until
from bastion.cli.output import CommandFailed

NOW = datetime(2026, 11, 26, 12, 30, tzinfo=UTC).timestamp()  # a Thursday


def told(text: str) -> tuple[str, str]:
    begin, end = since(text, NOW), until(text, NOW)
    assert begin is not None and end is not None
    return tuple(datetime.fromtimestamp(one, UTC).strftime("%m-%d %H:%M") for one in (begin, end))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("30m", "11-26 12:00", "11-26 12:00"),
        ("7d", "11-19 12:30", "11-19 12:30"),
        ("2026-11-23", "11-23 00:00", "11-24 00:00"),
        ("20261123", "11-23 00:00", "11-24 00:00"),
        ("2026-11-23T10:00", "11-23 10:00", "11-23 10:00"),
        ("2026-11-23T10:00:00Z", "11-23 10:00", "11-23 10:00"),
        ("2026-11-23T10:00:00+02:00", "11-23 08:00", "11-23 08:00"),
        ("now", "11-26 12:30", "11-26 12:30"),
        ("today", "11-26 00:00", "11-27 00:00"),
        ("Yesterday", "11-25 00:00", "11-26 00:00"),
        ("last tuesday", "11-24 00:00", "11-25 00:00"),
        ("last  thursday", "11-19 00:00", "11-20 00:00"),
        ("friday", "11-20 00:00", "11-21 00:00"),
        ("this week", "11-23 00:00", "11-30 00:00"),
        ("last week", "11-16 00:00", "11-23 00:00"),
        ("this month", "11-01 00:00", "12-01 00:00"),
        ("last month", "10-01 00:00", "11-01 00:00"),
    ],
)
def test_a_text_is_a_stretch_of_time(text: str, begin: str, end: str) -> None:
    assert told(text) == (begin, end)


@pytest.mark.parametrize("text", ["", "5y", "-3h", "next week", "this tuesday", "week", "2026-13-01", "tues"])
def test_nonsense_ends_the_command_and_says_what_may_stand_there(text: str) -> None:
    for read, name in ((since, "--since"), (until, "--until")):
        with pytest.raises(CommandFailed, match=f"{name}.*give 30m"):
            read(text, NOW)


def test_no_time_at_all_is_taken_as_it_is() -> None:
    assert since(None, NOW) is until(None, NOW) is None
    assert since("999999w", NOW) == 0.0
    last = until("9999-12-31", NOW)
    assert last is not None and last > NOW

"""Places in a recording, as they are given to `--at`."""

from __future__ import annotations

import pytest

from bastion.cli.offsets import offset_text, parse_offset
from bastion.cli.output import CommandFailed

START = 1_800_000_000.0  # 2027-01-15T08:00:00Z


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1:30", 90),
        ("02:03", 123),
        ("1:02:03.5", 3723.5),
        ("1h2m", 3720),
        ("1h2m3s", 3723),
        ("90m", 5400),
        ("1.5s", 1.5),
        ("end", 7200),
        ("end-5m", 6900),
        ("end - 1:30", 7110),
        ("END-9h", 0),
        ("2027-01-15T08:30:00Z", 1800),
        ("2027-01-15T09:30:00+01:00", 1800),
        ("2027-01-15 08:30", 1800),
        ("2027-01-15T08:00:00.5Z", 0.5),
    ],
)
def test_every_form(text: str, seconds: float) -> None:
    assert parse_offset(text, START, 7200) == seconds


@pytest.mark.parametrize(
    "text", ["", "-1", "1:2:3:4", "soon", "h", "1d", "end-", "end-soon", "1h 2x", "2027-01-99T00:00Z"]
)
def test_nonsense_is_told_with_what_may_stand_there(text: str) -> None:
    with pytest.raises(CommandFailed, match="give 90, 1:30"):
        parse_offset(text, START, 7200)


@pytest.mark.parametrize("text", ["2027-01-15T07:59:00Z", "2027-01-15T10:00:10Z", "0001-01-01T00:00Z"])
def test_a_time_outside_the_session_is_told_with_its_bounds(text: str) -> None:
    with pytest.raises(CommandFailed, match="from 2027-01-15T08:00:00Z to 2027-01-15T10:00:00Z"):
        parse_offset(text, START, 7200)


def test_what_is_said_is_what_may_be_asked() -> None:
    assert offset_text(3723.9) == "1:02:03" and parse_offset(offset_text(3723.9), START, 7200) == 3723

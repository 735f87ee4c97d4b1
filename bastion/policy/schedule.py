"""When a rule holds: hours and days by the clock of one time zone (L1; a zone's table is read once, with the rule).

A moment has exactly one local time, so the question is always "what do the clocks there show now?". Where clocks are
put forward, hours that do not exist that day never come; where they are put back, an hour that comes twice counts both
times. Hours that end on the next day belong to the day on which they began.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from bastion.options import At, Kind, shown
from bastion.options.kinds import quoted

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""In the order of `datetime.weekday`."""

MIDNIGHT: Final = 24 * 60

_HOURS = re.compile(r"\A([01][0-9]|2[0-4]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])\Z")
_ZONE = re.compile(r"\A[A-Za-z][A-Za-z0-9_+-]{0,31}(?:/[A-Za-z0-9_+-]{1,31}){0,2}\Z")


@dataclass(frozen=True, slots=True)
class Hours:
    """From one minute of the day up to another, which is not in it; with `end` before `begin` of the next day."""

    begin: int
    end: int

    def __str__(self) -> str:
        return f"{_clock(self.begin)}-{_clock(self.end)}"


@dataclass(frozen=True, slots=True)
class Days:
    """From one day of the week to another, both in it; over Sunday when the last comes before the first."""

    first: int
    last: int

    def __str__(self) -> str:
        return DAYS[self.first] if self.first == self.last else f"{DAYS[self.first]}-{DAYS[self.last]}"

    def __contains__(self, day: int) -> bool:
        if self.first <= self.last:
            return self.first <= day <= self.last
        return day >= self.first or day <= self.last


WHOLE_DAY: Final = Hours(0, MIDNIGHT)


def holds(hours: Sequence[Hours], days: Sequence[Days], zone: tzinfo, now: float) -> bool:
    """Is `now` (seconds since the epoch) in some of the hours of some of the days? None of them: always."""
    if not hours and not days:
        return True
    local = datetime.fromtimestamp(now, zone)
    minute, today = local.hour * 60 + local.minute, local.weekday()

    def on(day: int) -> bool:
        return not days or any(day in those for those in days)

    for span in hours or (WHOLE_DAY,):
        if span.begin < span.end:
            if span.begin <= minute < span.end and on(today):
                return True
        elif (minute >= span.begin and on(today)) or (minute < span.end and on((today - 1) % len(DAYS))):
            return True
    return False


def local_time(zone: tzinfo, now: float) -> str:
    """What the clocks there show, for people: `Mon 17:59`."""
    local = datetime.fromtimestamp(now, zone)
    return f"{DAYS[local.weekday()].capitalize()} {local:%H:%M}"


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _read_hours(value: object, at: At) -> Hours:
    found = _HOURS.match(value) if isinstance(value, str) else None
    if found is None:
        raise at.wrong(f"{shown(value)} is no span of hours", HOURS.allowed)
    begin, end = (int(found[at]) * 60 + int(found[at + 1]) for at in (1, 3))
    if begin >= MIDNIGHT or end > MIDNIGHT:
        raise at.wrong(f"{shown(value)} goes past midnight: a day ends at 24:00", HOURS.allowed)
    if begin == end:
        raise at.wrong(f"{shown(value)} is no time at all", '"00:00-24:00" for the whole day')
    return Hours(begin, end)


def _read_days(value: object, at: At) -> Days:
    first, dash, last = value.partition("-") if isinstance(value, str) else ("", "", "")
    if first not in DAYS or (dash and last not in DAYS):
        raise at.wrong(f"{shown(value)} is no day of the week", DAYS_KIND.allowed)
    return Days(DAYS.index(first), DAYS.index(last if dash else first))


def _read_zone(value: object, at: At) -> tzinfo:
    if value == "UTC":
        return UTC
    if isinstance(value, str) and _ZONE.match(value):
        try:
            return ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            pass
    raise at.wrong(f"{shown(value)} is no time zone that this machine knows (package tzdata)", ZONE.allowed)


HOURS: Final[Kind[Hours]] = Kind(
    "hours",
    '"08:00-18:00"; "22:00-06:00" ends on the next day',
    _read_hours,
    lambda hours: quoted(str(hours)),
)
DAYS_KIND: Final[Kind[Days]] = Kind(
    "days", f'{", ".join(DAYS)}, or "mon-fri"', _read_days, lambda days: quoted(str(days))
)
ZONE: Final[Kind[tzinfo]] = Kind(
    "time zone", '"UTC", or a name such as "Europe/Berlin"', _read_zone, lambda zone: quoted(str(zone))
)

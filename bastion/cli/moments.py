"""Times as people give them to commands (L4): `7d`, `2026-11-23T10:00`, `yesterday`, `last tuesday`.

They are UTC unless they say otherwise.

Each text is a stretch of time: `--since` takes its beginning and `--until` its end, so that the same day for both means
that day.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

from bastion.cli.output import fail
from bastion.recording.format import LAST_TIME

FORMS = "30m, 7d, 2026-11-23, 2026-11-23T10:00Z, today, yesterday, last tuesday, last week or last month"

SINCE = click.option("--since", metavar="WHEN", help=f"Only what ran at or after this: {FORMS}.")
UNTIL = click.option("--until", metavar="WHEN", help="Only what ran before the end of this; as --since.")

_AGO = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DATE = re.compile(r"\d{4}-?\d{2}-?\d{2}")
_DAY = timedelta(days=1)


def since(text: str | None, now: float) -> float | None:
    """The beginning of a `--since`, in seconds since the epoch; None for none. Ends the command for nonsense."""
    return None if text is None else _stretch("--since", text, now)[0]


def until(text: str | None, now: float) -> float | None:
    """The end of an `--until`, which is not part of it."""
    return None if text is None else _stretch("--until", text, now)[1]


def at(text: str, now: float) -> float:
    """The beginning of an `--at`."""
    return _stretch("--at", text, now)[0]


def _stretch(option: str, text: str, now: float) -> tuple[float, float]:
    words = " ".join(text.lower().split())
    ago = _AGO.fullmatch(words)
    if ago:
        moment = max(0.0, now - int(ago[1]) * _UNITS[ago[2]])
        return moment, moment
    found = _named(words, datetime.fromtimestamp(now, UTC)) or _written(text.strip())
    if found is None:
        fail(f"{option} {text}: give {FORMS}")
    begin, end = (_seconds(moment) for moment in found)
    return begin, end


def _named(words: str, now: datetime) -> tuple[datetime, datetime] | None:
    """Days, weeks and months by name."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if words == "now":
        return now, now
    if words in ("today", "yesterday"):
        day = today if words == "today" else today - _DAY
        return day, day + _DAY
    last, _, name = words.rpartition(" ")
    if last not in ("", "last", "this"):
        return None
    if name in _WEEKDAYS and last != "this":
        day = today - _DAY * ((today.weekday() - _WEEKDAYS.index(name) - 1) % 7 + 1)
        return day, day + _DAY
    if name == "week" and last:
        monday = today - _DAY * (today.weekday() + 7 * (last == "last"))
        return monday, monday + 7 * _DAY
    if name == "month" and last:
        this = today.replace(day=1)
        before, after = (this - _DAY).replace(day=1), (this + 31 * _DAY).replace(day=1)
        return (before, this) if last == "last" else (this, after)
    return None


def _written(text: str) -> tuple[datetime, datetime] | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment, moment + _DAY if _DATE.fullmatch(text) and moment.date().year < 9999 else moment


def _seconds(moment: datetime) -> float:
    return min(max(0.0, (moment - datetime.fromtimestamp(0, UTC)) / timedelta(seconds=1)), LAST_TIME)

"""Places in a recording as people give them to `bastion replay --at` (L4): `90`, `1:30`, `1h2m`, `end-5m`, a time.

Invariant: what is no place is refused with the forms that are; a time outside the session is refused with its bounds.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from bastion.cli.output import fail
from bastion.recording.format import LAST_TIME

FORMS: Final = "90, 1:30, 1:02:03, 1h2m3s, end, end-5m or 2026-11-23T10:00:00Z"

_CLOCK: Final = re.compile(r"(?:(?:(\d{1,4}):)?(\d{1,4}):)?(\d{1,7}(?:\.\d{1,6})?)")
_UNITS: Final = re.compile(r"(?=\d)(?:(\d{1,4})h)?(?:(\d{1,6})m)?(?:(\d{1,7}(?:\.\d{1,6})?)s)?")
_END: Final = re.compile(r"end(?:\s*-\s*(.+))?")
_DATE: Final = re.compile(r"\d{4}-?\d{2}-?\d{2}[T ]")


def parse_offset(text: str, started_at: float, length: float) -> float:
    """Seconds from the beginning of a session that began then and lasts so long. Ends the command for nonsense."""
    words = text.strip()
    end = _END.fullmatch(words.lower())
    if end is not None:
        back = 0.0 if end[1] is None else _seconds(end[1])
        if back is not None:
            return max(0.0, length - back)
    if _DATE.match(words):
        return _moment(words, started_at, length)
    found = _seconds(words.lower())
    if found is None:
        fail(f"--at {text}: give {FORMS}")
    return found


def _seconds(text: str) -> float | None:
    match = _CLOCK.fullmatch(text) or _UNITS.fullmatch(text)
    if match is None:
        return None
    hours, minutes, seconds = match.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds or 0)


def _moment(text: str, started_at: float, length: float) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--at {text}: give {FORMS}")
    at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not started_at - 1 < at < started_at + length + 1:
        began, ended = (_time_text(started_at + part) for part in (0.0, length))
        fail(f"--at {text}: the session ran from {began} to {ended}")
    return min(max(0.0, at - started_at), length)


def _time_text(timestamp: float) -> str:
    moment = datetime.fromtimestamp(min(max(0.0, timestamp), LAST_TIME), UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def offset_text(seconds: float) -> str:
    """`1:02:03`: as `--at` takes it."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"

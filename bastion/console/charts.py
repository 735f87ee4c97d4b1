"""Small charts as plain values (L4, pure): where bars stand, for templates that draw them as SVG.

Invariant: whatever the numbers are, a bar lies within the chart, and something that is there can be seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

WIDE: Final = 1000.0
"""Units of a chart's width."""

LEAST: Final = 3.0
"""Units of the narrowest bar, and of the lowest."""

GROUPS: Final = {
    "shell": "shell",
    "exec": "exec",
    "sftp": "files",
    "scp": "files",
    "rsync": "files",
    "direct-tcpip": "tunnel",
    "forwarded-tcpip": "tunnel",
    "streamlocal": "tunnel",
}
"""Kind of a channel (`recording.ran.KINDS`) -> the class of its bar; all others are `other`."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar. `x`, `width`, `y` and `height` are units of the chart."""

    label: str
    value: float
    x: float
    width: float
    y: float = 0.0
    height: float = 0.0
    group: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """One channel on the time line of its session: its bar, and what the page says beside it."""

    channel: Mapping[str, Any]
    bar: Bar


def columns(values: Sequence[tuple[str, float]], high: float) -> list[Bar]:
    """Columns side by side, the largest `high` units high."""
    most = max((value for _, value in values), default=0.0)
    step = WIDE / max(1, len(values))
    made = []
    for place, (label, value) in enumerate(values):
        height = 0.0 if value <= 0 or most <= 0 else max(LEAST, value / most * high)
        x, width = round(place * step, 2), round(step * 0.8, 2)
        made.append(Bar(label, value, x, width, round(high - height, 2), round(height, 2)))
    return made


def lines(values: Sequence[tuple[str, float]]) -> list[Bar]:
    """Bars below each other, the largest as wide as the chart."""
    most = max((value for _, value in values), default=0.0)
    return [
        Bar(label, value, 0.0, 0.0 if value <= 0 else round(max(LEAST, value / most * WIDE), 2))
        for label, value in values
    ]


def spans(channels: Sequence[Mapping[str, Any]], length: float) -> list[Span]:
    """The channels of a session on one time line of `length` seconds; [] where their times are not known."""
    if not any(channel["ended"] > 0 for channel in channels):
        return []
    whole = max([length, *(channel["ended"] for channel in channels)])
    made = []
    for channel in channels:
        began = min(max(0.0, channel["began"]), whole)
        ended = min(max(began, channel["ended"]), whole)
        width = max(LEAST, (ended - began) / whole * WIDE)
        x = min(began / whole * WIDE, WIDE - width)
        group = GROUPS.get(channel["kind"], "other")
        bar = Bar(channel["label"], ended - began, round(x, 2), round(width, 2), group=group)
        made.append(Span(channel, bar))
    return made

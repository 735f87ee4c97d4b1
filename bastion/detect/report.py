"""What the process that detects says to the gateway, a line each (L1, pure): findings, and how it is.

The gateway knows of it by these alone: it writes the audit lines and counts. Whatever comes is looked at as a
stranger's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

import orjson

from bastion.detect.findings import MOST_SESSIONS
from bastion.detect.memory import number
from bastion.errors import Detection, PostReason
from bastion.wire.printable import printable

LINE_MAX: Final = 16 << 10
"""Bytes of a line; a finding has two thousand."""

TEXT_MAX: Final = 1024
NAME_MAX: Final = 128

LEVELS: Final = ("alert", "notice")
WAYS: Final = ("alertmanager", "webhook")


@dataclass(frozen=True, slots=True)
class Report:
    """How the process `pid` is at `at`: until `read_at` it had read and kept everything (seconds since 1970, 0: it has
    not come so far yet). `waiting` by way, `posts` by way and result since it began; `trouble` why something fails."""

    at: float
    pid: int
    read_at: float = 0.0
    mutes: int = 0
    waiting: Mapping[str, int] = field(default_factory=dict)
    posts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    trouble: str = ""

    def line(self) -> bytes:
        return orjson.dumps({"report": asdict(self)}) + b"\n"


@dataclass(frozen=True, slots=True)
class Told:
    """A finding that is kept, for the audit log; `at` in seconds since 1970, `mute` is the one that covers it."""

    id: str
    kind: Detection
    level: str
    at: float
    user: str
    target: str
    expected: str
    came: str
    sessions: tuple[str, ...]
    mute: str

    def line(self) -> bytes:
        return orjson.dumps({"finding": asdict(self)}) + b"\n"


def read_line(line: bytes) -> Report | Told | None:
    """What one line says; None for anything else."""
    if len(line) > LINE_MAX:
        return None
    try:
        found: Any = orjson.loads(line)
        if "report" in found:
            return _report({one.name: found["report"][one.name] for one in fields(Report)})
        return _told({one.name: found["finding"][one.name] for one in fields(Told)})
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None


def _report(values: Mapping[str, Any]) -> Report:
    posts = {way: values["posts"].get(way, {}) for way in WAYS}
    return Report(
        at=number(values["at"]),
        pid=int(values["pid"]),
        read_at=number(values["read_at"]),
        mutes=_count(values["mutes"]),
        waiting={way: _count(values["waiting"].get(way, 0)) for way in WAYS},
        posts={
            way: {str(reason): _count(results.get(reason, 0)) for reason in PostReason}
            for way, results in posts.items()
        },
        trouble=printable(str(values["trouble"]), TEXT_MAX),
    )


def _told(values: Mapping[str, Any]) -> Told:
    if values["level"] not in LEVELS or not str(values["id"]):
        raise ValueError("no finding")
    return Told(
        id=printable(str(values["id"]), NAME_MAX),
        kind=Detection(values["kind"]),
        level=values["level"],
        at=number(values["at"]),
        user=str(values["user"])[:NAME_MAX],
        target=str(values["target"])[:NAME_MAX],
        expected=str(values["expected"])[:TEXT_MAX],
        came=str(values["came"])[:TEXT_MAX],
        sessions=tuple(str(one)[:NAME_MAX] for one in list(values["sessions"])[:MOST_SESSIONS]),
        mute=str(values["mute"])[:NAME_MAX],
    )


def _count(value: Any) -> int:
    return int(number(value))

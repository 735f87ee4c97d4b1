"""How the sinks are, as lines that their process says and leaves in a file (L2).

The gateway's processes know of sinks by this alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import orjson

from bastion.observe.labels import SINK_KINDS, SinkReason
from bastion.sinks.section import SINK_NAME, SINKS_MAX
from bastion.wire.printable import printable

LINE_MAX: Final = 8 << 10

FILE_NAME: Final = "sinks.json"

SILENT: Final = 360.0
"""Seconds after which a report is old: one comes every EVERY, or when a delivery has come to its end (300 s)."""

EVERY: Final = 5.0

TEXT_MAX: Final = 300

BEHIND_LONG: Final = 300.0
"""Seconds that a line may wait at a sink that works: more says that it is too slow."""


@dataclass(frozen=True, slots=True)
class Report:
    """Of the sink `name` at `at` (seconds since the epoch). `reason` is of the last delivery. `lines` of `size` bytes
    are not confirmed, the oldest of them is from `oldest` (0: none waits); `ending`: some may be removed by the next
    rotation. `results`, `sent`, `refused` and `lost` are counts of one process, `pid`."""

    name: str
    kind: str
    at: float
    pid: int
    reason: SinkReason = SinkReason.DELIVERED
    text: str = ""
    lines: int = 0
    size: int = 0
    oldest: float = 0.0
    ending: bool = False
    results: Mapping[str, int] = field(default_factory=dict)
    sent: int = 0
    refused: int = 0
    lost: int = 0

    @property
    def failing(self) -> bool:
        return self.reason is not SinkReason.DELIVERED

    def line(self) -> bytes:
        return orjson.dumps(asdict(self)) + b"\n"

    def age(self, now: float) -> float:
        """Seconds that the oldest line has waited."""
        return max(0.0, now - self.oldest) if self.oldest else 0.0

    def well(self, now: float) -> bool:
        fresh = now - self.at <= SILENT and self.age(now) <= BEHIND_LONG
        return fresh and not self.failing and not self.ending

    def words(self, now: float) -> str:
        """For people: `siem: 12 lines, 4 KiB, 3 s behind`."""
        if now - self.at > SILENT:
            return f"{self.name}: nothing was heard of it for {now - self.at:.0f} s"
        said = "nothing waits"
        if self.lines:
            said = f"{self.lines} lines, {-(-self.size >> 10)} KiB, {self.age(now):.0f} s behind"
        parts = [said]
        if self.failing:
            parts.append(f"{self.reason}: {self.text}")
        if self.ending:
            parts.append("the oldest file of the log has not gone there, and may be removed next")
        if self.refused or self.lost:
            parts.append(f"{self.refused} lines refused and {self.lost} lost since it was started")
        return f"{self.name}: {'; '.join(parts)}"


def read_report(line: bytes) -> Report | None:
    """`Report.line` read back; None for anything else."""
    if len(line) > LINE_MAX:
        return None
    try:
        return _report(orjson.loads(line))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None


def _report(found: Any) -> Report:
    values = {one.name: found[one.name] for one in fields(Report)}
    name, kind = str(values["name"]), str(values["kind"])
    if not SINK_NAME.match(name) or kind not in SINK_KINDS:
        raise ValueError
    counts = {
        str(word): int(count) for word, count in values["results"].items() if word in frozenset(SinkReason)
    }
    numbers = {word: int(values[word]) for word in ("pid", "lines", "size", "sent", "refused", "lost")}
    return Report(
        name=name,
        kind=kind,
        at=float(values["at"]),
        reason=SinkReason(values["reason"]),
        text=printable(str(values["text"]), TEXT_MAX),
        oldest=float(values["oldest"]),
        ending=bool(values["ending"]),
        results=counts,
        **numbers,
    )


def leave(folder: Path, reports: Iterable[Report]) -> None:
    """Put them in their file, whole or not at all. Raises OSError."""
    fresh = folder / f".{FILE_NAME}.{os.getpid()}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, b"".join(report.line() for report in reports))
    finally:
        os.close(descriptor)
    os.replace(fresh, folder / FILE_NAME)


def left(folder: Path) -> tuple[Report, ...]:
    """The last ones; none when there are none that can be read."""
    try:
        descriptor = os.open(folder / FILE_NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ()
    try:
        data = os.read(descriptor, SINKS_MAX * LINE_MAX)
    except OSError:
        return ()
    finally:
        os.close(descriptor)
    found = (read_report(line) for line in data.splitlines()[:SINKS_MAX])
    return tuple(report for report in found if report is not None)

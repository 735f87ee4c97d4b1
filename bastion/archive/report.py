"""How the uploads are, as one line that their process says and leaves in a file (L2).

The gateway's processes know of the bucket by this alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import orjson

from bastion.errors import StoreReason
from bastion.wire.printable import printable

LINE_MAX: Final = 16 << 10
"""Bytes of a line; it has half a thousand."""

FILE_NAME: Final = "uploads.json"

SILENT: Final = 60.0
"""Seconds after which a report is old: one comes every ten, whatever happens."""

TEXT_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class Report:
    """`waiting` recordings of `size` bytes in the spool, of which the `oldest` ended then (seconds since 1970, 0: none
    waits); `failing` have a fault of their own; `trouble` is why the store is of no use, "" when it is. `results` and
    `sent` (bytes) are counts of one process, `pid`. `at`: when it was made."""

    at: float
    pid: int
    waiting: int = 0
    size: int = 0
    oldest: float = 0.0
    running: int = 0
    failing: int = 0
    trouble: str = ""
    results: Mapping[str, int] = field(default_factory=dict)
    sent: int = 0

    def line(self) -> bytes:
        return orjson.dumps(asdict(self)) + b"\n"

    def text(self, now: float) -> str:
        """For people."""
        if now - self.at > SILENT:
            return f"the process that uploads has said nothing for {now - self.at:.0f} s"
        said = "nothing waits"
        if self.waiting:
            said = (
                f"{self.waiting} recordings wait, {self.size >> 20} MiB, the oldest for {self.age(now):.0f} s"
            )
        faults = f"; {self.failing} of them fail by themselves" if self.failing else ""
        return f"{self.trouble}; {said}{faults}" if self.trouble else said + faults

    def age(self, now: float) -> float:
        """Seconds that the oldest has waited."""
        return max(0.0, now - self.oldest) if self.oldest else 0.0

    def well(self, now: float) -> bool:
        return not self.trouble and not self.failing and now - self.at <= SILENT


def read_report(line: bytes) -> Report | None:
    """`Report.line` read back; None for anything else."""
    if len(line) > LINE_MAX:
        return None
    try:
        found: Any = orjson.loads(line)
        values = {one.name: found[one.name] for one in fields(Report)}
        results = {
            str(name): int(count)
            for name, count in values["results"].items()
            if name in frozenset(StoreReason)
        }
        numbers = {
            name: int(values[name]) for name in ("pid", "waiting", "size", "running", "failing", "sent")
        }
        return Report(
            at=float(values["at"]),
            oldest=float(values["oldest"]),
            trouble=printable(str(values["trouble"]), TEXT_MAX),
            results=results,
            **numbers,
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None


def leave(folder: Path, report: Report) -> None:
    """Put it in its file, whole or not at all. Raises OSError."""
    file = folder / FILE_NAME
    fresh = folder / f".{FILE_NAME}.{report.pid}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, report.line())
    finally:
        os.close(descriptor)
    os.replace(fresh, file)


def left(folder: Path) -> Report | None:
    """The last one; None when there is none that can be read."""
    try:
        descriptor = os.open(folder / FILE_NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return read_report(os.read(descriptor, LINE_MAX + 1))
    except OSError:
        return None
    finally:
        os.close(descriptor)

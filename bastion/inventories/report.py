"""What came of one question to an inventory, as one line that the process that asks says and leaves in a file (L2)."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import orjson

from bastion.errors import InventoryReason
from bastion.wire.printable import printable

LINE_MAX: Final = 16 << 10
TEXT_MAX: Final = 2000


@dataclass(frozen=True, slots=True)
class Report:
    """Of the inventory `name` at `at` (seconds since the epoch): what came of the question, in words where it is a
    fault. `answered_at` is when it last gave an answer that was taken (0.0: never), and that has so many `targets`.
    `changed`: what is kept is another one than before, or counts again, or no more."""

    name: str
    at: float
    reason: InventoryReason
    text: str = ""
    answered_at: float = 0.0
    expired: bool = False
    targets: int = 0
    left_out: int = 0
    changed: bool = False

    @property
    def well(self) -> bool:
        return self.reason in (InventoryReason.TAKEN, InventoryReason.SAME)

    def line(self) -> bytes:
        return orjson.dumps(asdict(self)) + b"\n"


def read_report(line: bytes) -> Report | None:
    """`Report.line` read back; None for anything else."""
    if len(line) > LINE_MAX:
        return None
    try:
        found: Any = orjson.loads(line)
        values = {one.name: found[one.name] for one in fields(Report)}
        return Report(
            name=printable(str(values["name"]), 64),
            at=float(values["at"]),
            reason=InventoryReason(values["reason"]),
            text=printable(str(values["text"]), TEXT_MAX),
            answered_at=float(values["answered_at"]),
            expired=bool(values["expired"]),
            targets=int(values["targets"]),
            left_out=int(values["left_out"]),
            changed=bool(values["changed"]),
        )
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def leave(file: Path, report: Report) -> None:
    """Put it beside what is kept. Raises OSError."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, report.line())
    finally:
        os.close(descriptor)
    os.replace(fresh, file)


def left(file: Path) -> Report | None:
    """The last one; None when there is none that can be read."""
    with suppress(OSError), open(file, "rb") as reading:
        return read_report(reading.read(LINE_MAX + 1))
    return None

"""What commands that an operator's timer runs leave for the gateway's metrics: when they ended, what they found (L2).

One small file in the folder of the state. Nobody's work hangs on it: a command that may not write there has run all the
same, and a file that cannot be read is as none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from bastion.ca.files import locked, replace_file

FILE_NAME: Final = "runs.json"

SIZE_MAX: Final = 16 << 10
"""Bytes; a task has some forty."""

MODE: Final = 0o640

MOST: Final = 1 << 53
"""A count, or a moment in seconds: what JSON and Prometheus hold exactly."""


@dataclass(frozen=True, slots=True)
class Run:
    """The last run of one command: when it ended (seconds since 1970), and how much it found wrong."""

    at: float
    faults: int


def leave_run(folder: Path, task: str, run: Run) -> None:
    """Put it into the file, beside the others. Raises OSError."""
    with locked(folder):
        runs = {**left_runs(folder), task: run}
        lines = orjson.dumps({name: asdict(one) for name, one in runs.items()})
        replace_file(folder / FILE_NAME, lines + b"\n", MODE)


def left_runs(folder: Path) -> Mapping[str, Run]:
    """Task -> its last run; nothing when there is no file that can be read. Blocks."""
    try:
        descriptor = os.open(folder / FILE_NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return {}
    try:
        text = os.read(descriptor, SIZE_MAX + 1)
    except OSError:
        return {}
    finally:
        os.close(descriptor)
    return _read(text) if len(text) <= SIZE_MAX else {}


def _read(text: bytes) -> Mapping[str, Run]:
    try:
        found: Any = orjson.loads(text)
        return {
            str(name): Run(_number(one["at"]), int(_number(one["faults"]))) for name, one in found.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return {}


def _number(value: Any) -> float:
    number = float(value)
    if not 0 <= number <= MOST:
        raise ValueError("out of range")
    return number

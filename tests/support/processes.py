"""What runs on this machine, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def pids() -> Iterator[int]:
    """Every process there is now."""
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())


def is_alive(pid: int) -> bool:
    """Is it there and no zombie? (Who inherits an orphan decides when it is reaped.)"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False

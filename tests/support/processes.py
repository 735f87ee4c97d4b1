"""What runs on this machine, from /proc."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path


def pids() -> Iterator[int]:
    """Every process there is now."""
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())


def children(pid: int) -> set[int]:
    """Whom it started and has not waited for."""
    return {
        int(child)
        for thread in os.listdir(f"/proc/{pid}/task")
        for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
    }


def is_alive(pid: int) -> bool:
    """Is any of its threads there? (Who inherits an orphan decides when it is reaped.)

    The first thread is a zombie as soon as it ended itself; files and locks are held until the last one has.
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" or len(os.listdir(f"/proc/{pid}/task")) > 1
    except (OSError, IndexError):
        return False


def kill_all(processes: Iterable[int], timeout: float = 5.0) -> None:
    """SIGKILL, and return when they are gone (or after `timeout` seconds for each)."""
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                select.select([descriptor], [], [], timeout)
            finally:
                os.close(descriptor)

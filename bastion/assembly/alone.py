"""A program beside the gateway as it is inside (L4): one of its kind at a time, and over when standard input is."""

from __future__ import annotations

import fcntl
import os
import queue
import threading
from contextlib import suppress
from typing import Any, Final

LOCK_EVERY: Final = 1.0

STOP: Final = object()
"""Among the events: end."""


def until_end_of_input(events: queue.SimpleQueue[Any]) -> None:
    """STOP comes when whoever started this process ends it, or is gone."""

    def read() -> None:
        with suppress(OSError):
            while os.read(0, 4096):
                pass
        events.put(STOP)

    threading.Thread(target=read, daemon=True).start()


def alone(lock: int, events: queue.SimpleQueue[Any]) -> bool:
    """Wait for the lock of that file; False when this process is to end before it has it."""
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        with suppress(queue.Empty):
            events.get(timeout=LOCK_EVERY)
            return False

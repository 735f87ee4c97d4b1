"""A program beside the gateway as it is inside (L4): modest, one of its kind at a time, over when standard
input is."""

from __future__ import annotations

import fcntl
import os
import queue
import resource
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from bastion.wire.printable import printable

NICE: Final = 10
"""Whoever types comes first."""

TEXT_MAX: Final = 500

LOCK_EVERY: Final = 1.0

STOP: Final = object()
"""Among the events: end."""


def modest(memory: int) -> None:
    """It ends when its input does and by no signal, comes after everybody else, and has so many bytes of data: one
    that takes more ends, and is started again."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        # For who started it, whose end is heard on standard input. Not SIG_IGN, which programs would inherit.
        signal.signal(number, lambda *_: None)
    with suppress(OSError):
        os.nice(NICE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


def teller(about: str = "", longest: int = TEXT_MAX) -> Callable[[str], None]:
    """What says a line on the operator's log: "bastion: ABOUT: TEXT", so many characters of the text."""
    begin = f"bastion: {about}: " if about else "bastion: "

    def tell(text: str) -> None:
        with suppress(OSError):
            sys.stderr.write(f"{begin}{printable(text, longest)}\n")
            sys.stderr.flush()

    return tell


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

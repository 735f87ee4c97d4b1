"""Pages of lines brought into the kernel's cache before they are asked for (L2). Blocks nobody.

A question whose words stand on many pages, and seldom in one line, opens one page after the other, each somewhere else
in the file: a disk answers several such reads in the time of one. Invariant: nothing is taken from here, so what a
search finds is of its own reading of the file alone; AHEAD pages at most are read before their time.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from typing import Final

READERS: Final = 4
CHUNK: Final = 16
AHEAD: Final = 512
"""Pages: 8 MiB, where each is in another page of the file."""


class Ahead:
    """Reads these pages, in this order, with READERS connections of its own. Say what has been `passed`; close it."""

    def __init__(self, uri: str, numbers: Sequence[int]) -> None:
        self._uri = uri
        self._chunks: Iterator[Sequence[int]] = (
            numbers[at : at + CHUNK] for at in range(0, len(numbers), CHUNK)
        )
        self._lock = threading.Lock()
        self._room = threading.Semaphore(AHEAD // CHUNK)
        self._over = False
        self._passed = 0
        self._threads = [threading.Thread(target=self._read, daemon=True) for _ in range(READERS)]
        for thread in self._threads:
            thread.start()

    def passed(self) -> None:
        """One page more has been looked at."""
        self._passed += 1
        if self._passed % CHUNK == 0:
            self._room.release()

    def close(self) -> None:
        """Read no further, and wait for what is being read."""
        self._over = True
        self._room.release(READERS)
        for thread in self._threads:
            thread.join()

    def _read(self) -> None:
        """What goes wrong here is met, and told, by who asks for the page."""
        with suppress(sqlite3.Error), closing(sqlite3.connect(self._uri, uri=True)) as database:
            while True:
                self._room.acquire()
                with self._lock:
                    chunk = None if self._over else next(self._chunks, None)
                if chunk is None:
                    return
                for number in chunk:
                    database.execute(
                        "SELECT length(packed) FROM pages WHERE number = ?", (number,)
                    ).fetchone()

"""What a node's ledger is told (L2): collected from every thread, written by the one that syncs recordings.

A line of the ledger needs a write and an fsync, so sessions do not wait for it: it is written within a second, the end
of a recording after its file is on the disk. What a killed process had not told yet is told by the one that ends its
recordings.

Invariants: nothing that was told is dropped; a ledger that cannot be written for long is no reason to go on as if it
were: `trouble` says so, and no session begins.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bastion.clock import Clock
from bastion.recording.ledger import Entry, Head, LedgerEvent
from bastion.recording.ledger_file import LedgerFile, ledger_path

PATIENCE: Final = 30.0
"""Seconds without a successful write after which sessions are refused: 3,000 lines at 100 sessions a second."""

MOST_LINES: Final = 4096
"""Lines that one write takes: a megabyte."""


@dataclass(frozen=True, slots=True)
class Links:
    """The chain of a recording behind its header and behind its end, 32 bytes each; b"" where there is none."""

    began: bytes
    ended: bytes = b""


class Books:
    """One for each process that writes recordings."""

    def __init__(self, directory: Path, node: str, clock: Clock) -> None:
        self.node: Final = node
        self._file = LedgerFile(ledger_path(directory, node), node)
        self._clock = clock
        self._lock = threading.Lock()
        self._writing = threading.Lock()  # what one thread has written, another must not take off
        self._waiting: list[Entry] = []
        self._failing_since: float | None = None
        self._problem = ""
        self.head = Head()
        self.broken: list[str] = []
        """Ledgers that were put aside because they were damaged, for whoever tells of them."""

    def began(self, session: str, links: Links) -> None:
        """A recording has its header."""
        self._add(LedgerEvent.BEGAN, session, links.began)

    def ended(self, session: str, links: Links) -> None:
        """A recording has its end, and is on the disk."""
        self._add(LedgerEvent.ENDED, session, links.ended)

    def found(self, session: str, links: Links, incomplete: bool) -> None:
        """A recording that its process left behind has its end: both are told, for nobody knows what that one told."""
        self._add(LedgerEvent.BEGAN, session, links.began)
        self._add(LedgerEvent.INCOMPLETE if incomplete else LedgerEvent.ENDED, session, links.ended)

    def logged(self, chain: str, serial: int, digest: str) -> None:
        """The audit log has come to this line."""
        self._add(LedgerEvent.AUDIT, "", bytes.fromhex(digest), f"{chain} {serial}")

    def recent(self) -> list[Entry]:
        """What was told last, oldest first. Raises OSError."""
        return self._file.recent()

    def _add(self, event: LedgerEvent, session: str, digest: bytes, detail: str = "") -> None:
        entry = Entry(0, round(self._clock.time(), 3), event, session, digest.hex(), detail)
        with self._lock:
            self._waiting.append(entry)

    def write(self) -> None:
        """Write what waits. Blocks; never raises: what the disk refused is written the next time."""
        with self._writing:
            self._write()

    def _write(self) -> None:
        while True:
            with self._lock:
                entries = self._waiting[:MOST_LINES]
            if not entries:
                return
            try:
                done = self._file.append(entries, round(self._clock.time(), 3))
            except OSError as error:
                self._problem = f"the ledger of recordings cannot be written: {error.strerror}"
                if self._failing_since is None:
                    self._failing_since = self._clock.monotonic()
                return
            self._failing_since = None
            self.head = done.head
            if done.broken:
                self.broken.append(done.broken)
            with self._lock:
                del self._waiting[: len(entries)]

    @property
    def waiting(self) -> int:
        """Lines that are not written yet."""
        return len(self._waiting)

    @property
    def trouble(self) -> str:
        """Why no session may begin, or ""."""
        since = self._failing_since
        if since is None or self._clock.monotonic() - since < PATIENCE:
            return ""
        return self._problem

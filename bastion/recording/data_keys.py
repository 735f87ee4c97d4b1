"""Data keys made ahead of the sessions that need them (L2).

Wrapping a recording's keys costs 150 us a recipient, and with a plugin the start of a program. A thread keeps some
ready, so that a session's beginning takes one from a list; it begins again when half of them are gone.

Invariants: keys are given once; what was made for other recipients is forgotten with its stock; when none is ready and
one cannot be made at once, no session begins.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Final

from bastion.age import Recipient, seal
from bastion.errors import RecorderFailed, RecorderReason
from bastion.recording.unwrapping import DataKeys

STOCK: Final = 32
"""A storm of logins takes 100 a second; the thread makes 3,000."""

RETRY_SECONDS: Final = 5.0
"""After a plugin that refused: it is a program that may be repaired."""


class DataKeyStock:
    """Keys for recordings that are sealed to `recipients`. `trouble`: why making some failed last, or ""."""

    def __init__(self, recipients: Sequence[Recipient], size: int = STOCK) -> None:
        self.recipients: Final = tuple(recipients)
        self.trouble = ""
        self._names = tuple(recipient.text for recipient in recipients)
        self._at_once = not any(recipient.plugin for recipient in recipients)
        self._size = size
        self._ready: deque[DataKeys] = deque()
        self._wanted = threading.Event()
        self._stop = threading.Event()

    def __len__(self) -> int:
        return len(self._ready)

    def take(self) -> DataKeys:
        """Keys for one recording. Raises RecorderFailed when there are none, and making some means to wait."""
        if len(self._ready) <= self._size // 2:
            self._wanted.set()
        try:
            return self._ready.popleft()
        except IndexError:
            pass
        if not self._at_once:
            problem = self.trouble or "are not ready yet"
            raise RecorderFailed(RecorderReason.OPEN_FAILED, f"the keys of recordings {problem}")
        try:
            return self._make()
        except ValueError as error:
            self.trouble = str(error)
            raise RecorderFailed(
                RecorderReason.OPEN_FAILED, "the recording's keys cannot be wrapped"
            ) from error

    def fill(self) -> None:
        """Make what is missing. Blocks. Raises ValueError, and keeps those that were made."""
        while len(self._ready) < self._size and not self._stop.is_set():
            try:
                self._ready.append(self._make())
            except ValueError as error:
                self.trouble = str(error)
                raise
        self.trouble = ""

    def start(self) -> None:
        """From now on a thread fills up."""
        threading.Thread(target=self._run, name="recording-keys", daemon=True).start()

    def stop(self) -> None:
        """Forget the keys; the thread ends when its plugin does."""
        self._stop.set()
        self._wanted.set()
        self._ready.clear()

    def _make(self) -> DataKeys:
        return DataKeys.new(self._names, lambda both: seal(both, self.recipients))

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._stop.is_set():
                return
            try:
                self.fill()
            except ValueError:
                self._stop.wait(RETRY_SECONDS)
                self._wanted.set()

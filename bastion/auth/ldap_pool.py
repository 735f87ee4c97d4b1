"""Connections of the service account that wait for the next question (L2): one pool for each server.

Invariants: what is in here was bound as the service account and as nobody else, said all that it was asked, and
is at most MAX_AGE old; no more of them wait than there are threads. Thread-safe: threads take and give, the
reactor sweeps.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from bastion.auth.ldap_link import Link

MAX_IDLE: Final = 60.0
"""Seconds without a question after which a connection is closed. Firewalls forget idle ones after five minutes and
more, and then a question on one would hang until its deadline."""

MAX_AGE: Final = 600.0
"""Seconds after which a connection is not used again: so long a service account that was taken its rights may go on
reading, and so long a server that came back waits for its share behind a name with several addresses."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A connection, when it was opened, and when it was last used. Monotonic seconds."""

    link: Link
    opened: float
    since: float


class ServicePool:
    """At most `limit` connections wait here."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._waiting: list[Waiting] = []
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, now: float) -> Waiting | None:
        """The one used last that is still good, or None. What is not good any more is closed."""
        while True:
            with self._lock:
                if not self._waiting:
                    return None
                found = self._waiting.pop()
            if _is_young(found, now) and found.link.is_quiet():
                found.link.renew()
                return found
            found.link.close()

    def give(self, link: Link, opened: float, now: float) -> None:
        """Keep a connection that has answered all that it was asked; close it when there is no place."""
        with self._lock:
            if not self._closed and len(self._waiting) < self._limit and now - opened < MAX_AGE:
                self._waiting.append(Waiting(link, opened, now))
                return
        link.close()

    def sweep(self, now: float) -> None:
        """Close what has waited too long. In the reactor's thread: closing never waits for the server."""
        with self._lock:
            old = [waiting for waiting in self._waiting if not _is_young(waiting, now)]
            self._waiting = [waiting for waiting in self._waiting if waiting not in old]
        for waiting in old:
            waiting.link.close()

    def close(self) -> None:
        """Close all, and every one that is given later."""
        with self._lock:
            self._closed = True
            old, self._waiting = self._waiting, []
        for waiting in old:
            waiting.link.close()


def _is_young(waiting: Waiting, now: float) -> bool:
    return now - waiting.since < MAX_IDLE and now - waiting.opened < MAX_AGE

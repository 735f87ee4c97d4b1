"""Which LDAP server to ask next (L1, pure): the configured order, and a small circuit breaker.

Invariants: a healthy server is preferred in the configured order; one that failed is left alone for `rest`
seconds while another works, and then exactly one login at a time tries it. When no server is healthy, one
login at a time still tries (so that recovery needs no wait) and the others are told at once: a dead directory
holds at most one thread per server.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Taken:
    """One server, taken for one login; `probe` = it had failed, and this login finds out whether it works."""

    index: int
    probe: bool


class _Server:
    def __init__(self) -> None:
        self.resting_until: float | None = None  # None = healthy
        self.probing = False


class ServerOrder:
    """The health of `count` servers, by index. Times in monotonic seconds."""

    def __init__(self, count: int, rest: float) -> None:
        self._servers = [_Server() for _ in range(count)]
        self._rest = rest

    def take(self, now: float, tried: Collection[int] = ()) -> Taken | None:
        """The server to ask, or None when every one was tried or is being left alone.

        What is taken must be given back once, by `worked`, `failed` or `released`.
        """
        left = [(index, server) for index, server in enumerate(self._servers) if index not in tried]
        for index, server in left:
            if server.resting_until is None:
                return Taken(index, probe=False)
            if now >= server.resting_until and not server.probing:
                return self._probe(index)
        waiting = [
            (server.resting_until, index)
            for index, server in left
            if server.resting_until is not None and not server.probing
        ]
        return self._probe(min(waiting)[1]) if waiting else None

    def _probe(self, index: int) -> Taken:
        self._servers[index].probing = True
        return Taken(index, probe=True)

    def worked(self, taken: Taken) -> bool:
        """It answered. True when it had been failing."""
        self.released(taken)
        server = self._servers[taken.index]
        recovered = server.resting_until is not None
        server.resting_until = None
        return recovered

    def failed(self, taken: Taken, now: float) -> bool:
        """It did not answer, or not as it must. True when it had been healthy."""
        self.released(taken)
        server = self._servers[taken.index]
        fresh = server.resting_until is None
        server.resting_until = now + self._rest
        return fresh

    def released(self, taken: Taken) -> None:
        """It was never asked, or nobody waits for its answer any more."""
        if taken.probe:
            self._servers[taken.index].probing = False

    def healthy(self) -> int:
        """How many servers are not known to fail."""
        return sum(server.resting_until is None for server in self._servers)

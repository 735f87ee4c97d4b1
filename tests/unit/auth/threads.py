"""A reactor without a thread for tests of `Workers`: time is a Clock, "from thread" a queue that one drains."""

from __future__ import annotations

import queue
import weakref
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock


class StillReactor(Clock):
    """`callFromThread` only notes the call; `drain` runs what the threads have handed over."""

    def __init__(self) -> None:
        super().__init__()
        self._handed: queue.SimpleQueue[tuple[Callable[..., object], tuple[object, ...]]] = (
            queue.SimpleQueue()
        )

    def callFromThread(self, callable: Callable[..., object], *args: object) -> None:
        self._handed.put((callable, args))

    def drain(self, calls: int = 1, timeout: float = 10.0) -> None:
        """Wait for `calls` calls from threads and run them here."""
        for _ in range(calls):
            call, args = self._handed.get(timeout=timeout)
            call(*args)


_outcomes: weakref.WeakKeyDictionary[Deferred[Any], list[Any]] = weakref.WeakKeyDictionary()


def outcome(deferred: Deferred[Any]) -> Any:
    """What a Deferred has fired with: the result, or the exception; None while it has not. Ask as often as need be."""
    found = _outcomes.get(deferred)
    if found is None:
        found = _outcomes[deferred] = []
        deferred.addCallbacks(found.append, lambda failure, into=found: into.append(failure.value))
    return found[0] if found else None

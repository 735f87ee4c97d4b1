"""Who hears what LDAP does (L2): in the reactor's thread, and from the threads that do it."""

from __future__ import annotations

from typing import Literal, Protocol

from bastion.auth.workers import ThreadReactor

# How a look-up came to its answer: the label values of a counter.
Way = Literal["asked", "joined", "remembered", "offline"]


class Observer(Protocol):
    """What the meters plug in. Called in the reactor's thread; names and errors are their label values."""

    # Threads that are busy, and those of them that are past their deadline and not back yet.
    in_use: int
    stuck: int
    # Questions that wait for a thread, and connections of the service account that wait for a question.
    waiting: int
    connections: int

    def lookup(self, way: Way) -> None:
        """Somebody was looked up: in a server, with somebody who asked for the same name, from memory, or
        from what was known last because no server answers."""
        ...

    def operation(self, name: str, seconds: float) -> None:
        """connect, service_bind, search or bind took so long, whatever came of it."""
        ...

    def failure(self, name: str, error: str) -> None:
        """It gave no usable answer: unavailable, timeout, pool_full, tls, service_credentials, ..."""
        ...


class NoObserver:
    """Counts nothing: for the command line and for tests that do not look."""

    in_use = stuck = waiting = connections = 0

    def lookup(self, way: Way) -> None: ...

    def operation(self, name: str, seconds: float) -> None: ...

    def failure(self, name: str, error: str) -> None: ...


class ThreadReport:
    """An observer's voice in a thread: carries every word over to the reactor's thread."""

    def __init__(self, reactor: ThreadReactor, observer: Observer) -> None:
        self._reactor = reactor
        self._observer = observer

    def operation(self, name: str, seconds: float) -> None:
        self._reactor.callFromThread(self._observer.operation, name, seconds)

    def failure(self, name: str, error: str) -> None:
        self._reactor.callFromThread(self._observer.failure, name, error)

"""What the transport needs of what is below it: a connection that takes bytes, and a clock that calls back.

Twisted's interfaces say the same to people; these protocols say it to the type checker, and a connection made
of a channel (the inner SSH of a jump) implements them without being a socket.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class ByteTransport(Protocol):
    """ITransport and IConsumer, as far as they are used.

    Used when there, done without when not: `loseWriteConnection()`, `abortConnection()` (ITCPTransport), and
    `bytes_taken`, a count of bytes that have really left, by which a slow peer is told from a stopped one.
    """

    def write(self, data: bytes) -> None: ...

    def registerProducer(self, producer: Any, streaming: bool) -> None: ...

    def unregisterProducer(self) -> None: ...

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def loseConnection(self) -> None: ...


class Timer(Protocol):
    """IDelayedCall."""

    def cancel(self) -> None: ...


class ReactorTime(Protocol):
    """IReactorTime: the reactor, or `task.Clock` in tests. Seconds are monotonic."""

    def seconds(self) -> float: ...

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any) -> Any: ...

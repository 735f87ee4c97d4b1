"""What the transport needs of the connection below it: a socket's (`net.socket`), or one made of a channel."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.error import ConnectionLost


class BelowLost(ConnectionLost):
    """The connection below ended for a reason that is worth telling: `text`, in our words."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class ByteTransport(Protocol):
    """ITransport and IConsumer, as far as they are used.

    Used when there, done without when not: `loseWriteConnection()`, `abortConnection()` (ITCPTransport), and
    `bytes_taken`, a count of bytes that have really left, and `unsent()`, a count of those that the peer has
    not acknowledged: by these a slow peer is told from a stopped one; `burst_buffer`, where bursts may be sealed
    whose view is then given to `write`, which keeps no view.
    """

    def write(self, data: bytes | memoryview) -> None: ...

    def registerProducer(self, producer: Any, streaming: bool) -> None: ...

    def unregisterProducer(self) -> None: ...

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def loseConnection(self) -> None: ...


def left_to_take(below: ByteTransport) -> int:
    """A number that falls whenever the peer takes something and nothing is written; only differences count."""
    count = getattr(below, "unsent", None)
    return int(count()) if count is not None else -int(getattr(below, "bytes_taken", 0))


def abort(below: ByteTransport) -> None:
    """Close at once, whatever waits."""
    (getattr(below, "abortConnection", None) or below.loseConnection)()

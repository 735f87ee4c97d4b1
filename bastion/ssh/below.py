"""What the transport needs of the connection below it: a socket's (`ssh.io`), or one made of a channel."""

from __future__ import annotations

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

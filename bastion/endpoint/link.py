"""What a channel of an outer connection needs on its two sides: who uses it, and the connection that carries it.

A channel is known to its connection by our number of it, so that neither has to know the other's class.
"""

from __future__ import annotations

from typing import Protocol

from twisted.python.failure import Failure


class ChannelOwner(Protocol):
    """Who uses a channel: Twisted's IProtocol, as far as it is called.

    Used when there: `readConnectionLost()`, the client sent EOF. Without it EOF ends the channel.
    """

    def dataReceived(self, data: bytes) -> None: ...

    def connectionLost(self, reason: Failure) -> None: ...


class Producer(Protocol):
    """A push producer."""

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...


class Link(Protocol):
    """The connection below (`endpoint.connection.OuterConnection`), and what its channels hold together: `queued`
    bytes for the client, `kept` bytes of the client's for owners that do not read."""

    queued: int
    kept: int

    @property
    def overfull(self) -> bool:
        """More waits in all channels together than may."""
        ...

    @property
    def blocked(self) -> bool:
        """Nothing but control messages may be sent now."""
        ...

    def ease(self) -> None:
        """Something that waited has gone."""
        ...

    def send(self, payloads: list[bytes]) -> None:
        """Send messages, in order with all others."""
        ...

    def wait(self, number: int) -> None:
        """The channel's `pump` is to be called when the connection takes data again."""
        ...

    def resume_soon(self, number: int) -> None:
        """The channel's `hand_up_kept` is to be called in a turn of its own, as a socket would be read."""
        ...

    def forget(self, number: int) -> None:
        """The channel is over on both sides, or was never granted: its numbers are free."""
        ...

    def failed(self, doing: str) -> None:
        """Log the exception that is being looked at: a fault of ours in one channel."""
        ...

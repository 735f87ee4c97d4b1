"""The seam above a transport: all that userauth, a session and an endpoint know of the connection they speak over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bastion.transport.key_exchange import KeyExchange
from bastion.transport.settings import CloseReason, TransportSettings


class PacketConn(Protocol):
    """One SSH connection: a transport, or one in memory for tests.

    Whoever speaks over it sets what it hears: `receiver` takes the connection messages (80 and up) of one read, all of
    them in order, once the peer is authenticated; `on_closed` is called once. `other` is the connection at the far end
    of a relay: it is read as long as our peer takes what comes of it, and while it exchanges keys we begin no
    exchange. Without one `on_writable` hears what it would: False when the source should stop, True when it may go on.
    """

    receiver: Callable[[list[bytes]], None] | None
    on_closed: Callable[[CloseReason], None] | None
    on_writable: Callable[[bool], None] | None
    other: PacketConn | None

    @property
    def settings(self) -> TransportSettings: ...

    @property
    def keys(self) -> KeyExchange:
        """What is known of the peer, and was agreed with it."""
        ...

    @property
    def exchanging(self) -> bool:
        """A key exchange has begun on either side and is not finished on both."""
        ...

    @property
    def blocked(self) -> bool:
        """Something waits that the source should not add to."""
        ...

    def send(self, payloads: list[bytes], pad_to: int = 0) -> None:
        """Send messages of the services (5-7, 50 and up), in order and in one write.

        `pad_to` hides how long they are (`PacketWriter.seal`).
        """
        ...

    def send_any(self, payload: bytes) -> None:
        """Send one message, of any number; a key exchange holds back what it must."""
        ...

    def authenticated(self) -> None:
        """From now on the connection protocol is spoken: a server says it before it sends USERAUTH_SUCCESS, a client
        when it has read it."""
        ...

    def set_reading(self, yes: bool) -> None:
        """Read, or do not. Takes effect after a key exchange that the peer has begun."""
        ...

    def rest(self, seconds: float) -> None:
        """Do not read for so long, whatever `set_reading` says: what is read is written to a disk."""
        ...

    def disconnect(self, code: int, text: str) -> None:
        """Say goodbye with one line of ours, then close. `on_closed` is called before this returns."""
        ...

"""The seam between an outer connection and the doors on it: what a door is, and what it knows of the connection.

An engineer's outer connection (`doors.outer`) opens each channel through one `Door`: the lobby, a jump, a tunnel.
A door sees the connection as a `Outer`; neither imports the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bastion.auth.factors import Chain
from bastion.auth.identity import Identity
from bastion.endpoint.channel import OuterChannel
from bastion.errors import Refused
from bastion.observe.events import AuditEvent, Facts
from bastion.observe.events.logins import HandshakeFailed
from bastion.observe.spans import Link
from bastion.policy.route import ToGateway, ToSession, ToTunnel
from bastion.session.ending import End
from bastion.session.gateway import Gateway, Services
from bastion.wire.forwards import TcpipOpen


@dataclass(frozen=True, slots=True)
class Asked:
    """What a direct-tcpip channel was opened for, once it is known what is there.

    `way` is where `place` leads: a session, a gateway or a tunnel (`policy.route`). `first`:
    the open was the first message of all on the connection. `facts` are those of the open, for the audit log.
    """

    place: TcpipOpen
    way: ToSession | ToGateway | ToTunnel
    first: bool
    facts: Facts


class Door(Protocol):
    """One of the ways that a channel of an outer connection can lead. One per connection."""

    def open(self, outer: Outer, channel: OuterChannel, asked: Asked | None) -> None:
        """Serve `channel`: confirm or refuse it, now or later. `asked` is None for a session channel.

        May raise Refused, or AuditFailed when a line that must be there is not, before it was confirmed.
        """
        ...

    def shut_down(self, end: End) -> None:
        """End what is inside with these last words. The connection ends a moment later."""
        ...

    def closed(self) -> None:
        """The connection is over; the owner of every channel has heard of it."""
        ...


class Outer(Protocol):
    """One outer connection, for the doors on it."""

    gateway: Gateway
    id: str
    ref: str
    trace: Link | None
    """That of its login, where it has left one."""

    @property
    def services(self) -> Services:
        """The services of now: a channel that opens later gets those of a reload."""
        ...

    @property
    def identity(self) -> Identity:
        """Who is there, with the groups that the directory said last and the factors that count now."""
        ...

    @property
    def peer_version(self) -> bytes:
        """What the client calls itself: its line of RFC 4253 section 4.2."""
        ...

    @property
    def no_more_sessions(self) -> bool:
        """The client has said so, as OpenSSH does when it shares its connection with nobody."""
        ...

    def note_factors(self, factors: Chain) -> None:
        """They were proved on an inner connection, and count here for a time."""
        ...

    def check_fresh(self) -> None:
        """Raises Refused when this login may open nothing new (age, expiry, source)."""
        ...

    def unreachable(self, host: str, port: int) -> Refused:
        """The one answer for what does not exist and for what is not this engineer's."""
        ...

    def pay_lines(self, count: int) -> None:
        """Pay for `count` audit lines of what is about to happen. Raises Refused(BUDGET_LOG)."""
        ...

    def note(self, event: AuditEvent) -> None:
        """One audit line with the connection, its user and source."""
        ...

    def handshake_failed(self, session: str, event: HandshakeFailed) -> None:
        """One line about an inner connection that never got as far as a login; its identity pays for it."""
        ...

    def emit(self, event: AuditEvent, session: str = "") -> None:
        """The same about something that is to be allowed. Raises AuditFailed when it must be there and is not."""
        ...

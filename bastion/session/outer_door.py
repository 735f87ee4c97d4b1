"""The door of an outer connection: which room serves a channel that the engineer opens on it.

An outer connection (`ssh alice@bastion`, `ssh -J bastion web1`) belongs to an authenticated engineer and leads
to no target by itself. `session` channels go to the lobby; `direct-tcpip` to the SSH port of a target becomes a
session of its own (`session.jump`); everything else that rules allow is a tunnel. What each of them needs to
know of the connection is a `Visit`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from bastion.auth.identity import Identity
    from bastion.errors import Refused
    from bastion.policy.targets import Target
    from bastion.session.gateway import Gateway, Services
    from bastion.ssh.outer import OuterChannel
    from bastion.wire.forwards import TcpipOpen


class Visit(Protocol):
    """One outer connection, for those who serve its channels."""

    gateway: Gateway
    identity: Identity
    id: str
    ref: str

    @property
    def services(self) -> Services:
        """The services of now: a channel that opens later gets those of a reload."""
        ...

    def check_fresh(self) -> None:
        """Raises Refused when this login may open nothing new (age, expiry, source)."""
        ...

    def unreachable(self, host: str, port: int) -> Refused:
        """The one answer for what does not exist and for what is not this engineer's."""
        ...

    def note(self, event: str, **fields: str | int) -> None:
        """One audit line with the connection, its user and source."""
        ...

    def emit(self, event: str, **fields: str | int) -> None:
        """The same about something that is to be allowed. Raises AuditFailed when it must be there and is not."""
        ...


class OpenSession(Protocol):
    """`session.lobby.open_session`: serve a session channel. May raise Refused before confirming it."""

    def __call__(self, visit: Visit, channel: OuterChannel) -> None: ...


class OpenTunnel(Protocol):
    """`session.tunnel.open_tunnel`: carry `place`, which is no SSH target that could be recorded.

    `target` is the gateway (`kind = "gateway"`) that it is, when it is one. May raise Refused before confirming.
    """

    def __call__(
        self, visit: Visit, channel: OuterChannel, place: TcpipOpen, target: Target | None
    ) -> None: ...

"""The connection that a session is opened for, as `session.opening` knows it (protocols alone)."""

from __future__ import annotations

from typing import Protocol

from bastion.auth.identity import Destination, Identity
from bastion.errors import Refused
from bastion.observe.spans import Trace
from bastion.policy.grant import FactorsNeeded
from bastion.session.session import Session
from bastion.transport.packet_conn import PacketConn
from bastion.transport.settings import CloseReason


class Engineer(Protocol):
    """The connection that a session is opened for (`doors.listener.FrontConnection`, `doors.jump.InnerConnection`)."""

    id: str

    @property
    def trace(self) -> Trace | None:
        """That of its login, where there is one."""
        ...

    @property
    def outer(self) -> str:
        """The id of the connection that it came through, "" when it is one itself."""
        ...

    @property
    def transport(self) -> PacketConn: ...

    def refusal_text(self, refusal: Refused) -> str:
        """A refusal in the words of this door."""
        ...

    async def prove(self, identity: Identity, destination: Destination, needed: FactorsNeeded) -> Identity:
        """Ask for what the rules want besides. Raises Refused."""
        ...

    def started(self, session: Session) -> None:
        """The engineer is in: the login and the opening are over."""
        ...

    def closed(self, reason: CloseReason) -> None:
        """The engineer's transport has closed; before the start it says so itself, then the session does."""
        ...

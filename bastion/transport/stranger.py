"""A peer that has not proved anything yet: what it may send, how long it may take, and what of it waits.

All of it is gone once the peer is authenticated, because most connections then stand idle for hours.
"""

from __future__ import annotations

from collections.abc import Callable

from bastion.clock import DelayedCall, Timers
from bastion.errors import ProtocolError
from bastion.transport.settings import (
    NOISE_BURST,
    NOISE_SIZE,
    PACKET_LIMIT_BEFORE_AUTH,
    PACKET_LIMIT_OF_TARGET,
)
from bastion.transport.states import Role
from bastion.wire.kexinit import VersionReader


class Stranger:
    """One per connection, from its beginning to its login.

    `version` reads the identification line, and is None once it has come. `held` are messages that may not be looked
    at before the host key in front of them was judged; None: nothing is held back.
    """

    __slots__ = ("_began", "_clock", "_login", "_noise", "_packet_limit", "held", "version")

    def __init__(self, role: Role, clock: Timers) -> None:
        self._clock = clock
        self._packet_limit = PACKET_LIMIT_BEFORE_AUTH if role is Role.SERVER else PACKET_LIMIT_OF_TARGET
        self._began = 0.0
        self._login: DelayedCall | None = None
        self._noise = 0
        self.version: VersionReader | None = VersionReader(client_role=role is Role.CLIENT)
        self.held: list[bytes] | None = None

    def start(self, grace: float, late: Callable[[], None]) -> None:
        """The connection is made: `late` is called when the login takes longer than `grace` seconds, unless 0."""
        self._began = self._clock.seconds()
        if grace:
            self._login = self._clock.callLater(grace, self._late, late)

    def _late(self, late: Callable[[], None]) -> None:
        self._login = None
        late()

    def end_grace(self) -> None:
        """The login may take as long as it takes."""
        login, self._login = self._login, None
        if login is not None:
            login.cancel()

    def check_size(self, size: int) -> None:
        """One packet of `size` bytes, or so many bytes of one. Raises ProtocolError."""
        if size > self._packet_limit:
            raise ProtocolError("packet is too long before authentication")

    def take_noise(self, size: int) -> None:
        """One IGNORE, DEBUG, UNIMPLEMENTED or PING. Raises ProtocolError for more than a client of good faith sends."""
        self._noise += 1
        if self._noise > NOISE_BURST + self._clock.seconds() - self._began or size > NOISE_SIZE:
            raise ProtocolError("too much padding traffic before authentication")

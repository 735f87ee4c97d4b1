"""What the parts of a transport ask of the whole (`transport.transport.Transport`)."""

from __future__ import annotations

from typing import Protocol

from bastion.errors import LimitReason, Reason
from bastion.transport.states import State


class Owner(Protocol):
    """The one thing that an output and a key exchange know of what they are parts of."""

    @property
    def may_rekey(self) -> bool:
        """A key exchange of ours may begin now: the peer is authenticated, and the other leg is in none."""
        ...

    def enter(self, state: State) -> None:
        """From the next message on the peer may say what `states.TABLE` has for `state`."""
        ...

    def go_on(self) -> None:
        """The host key was accepted: what came behind it may be looked at now."""
        ...

    def writable(self, yes: bool) -> None:
        """False: the first byte waits, and the source should stop. True: nothing waits any more."""
        ...

    def end(self, code: int, text: str, reason: Reason | None) -> None:
        """Say goodbye and close."""
        ...

    def give_up(self, text: str, reason: LimitReason) -> None:
        """A limit was passed: the connection must end now, without waiting for the peer to read."""
        ...

    def broke(self, error: Exception) -> None:
        """End with the words that fit what was raised."""
        ...

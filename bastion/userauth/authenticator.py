"""The seam between the server's half of ssh-userauth and whoever decides: what is asked, attempt by attempt.

`userauth.server` speaks the messages and knows no directory; `doors.authentication` and `auth.attempt` implement this
and never see a message.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred

from bastion.auth.credentials import Credential
from bastion.errors import AuthReason


class Attempt(Protocol):
    """One request for authentication (`auth.attempt`). `settle` it once; later calls do nothing.

    The proofs fail, or raise, with `Refused(AuthReason, ...)`; cancelling a Deferred gives the work up.
    """

    def none(self) -> Deferred[None]:
        """May this connection in without proof of its own?"""
        ...

    def read_key(self, algorithm: str, blob: bytes) -> Credential:
        """The key or certificate that a request offers, if it may be looked at."""
        ...

    def verify(self, credential: Credential, algorithm: str, signature: bytes, data: bytes) -> None:
        """Was `data` signed with the private key of `credential`?"""
        ...

    def key_known(self, credential: Credential) -> Deferred[None]:
        """Would a signature of this credential be accepted? Nothing may be remembered."""
        ...

    def key_proved(self, credential: Credential) -> Deferred[None]:
        """`credential` signed this connection's session id."""
        ...

    def password(self, password: str) -> Deferred[None]:
        """Check a directory password of 1 to 1024 bytes."""
        ...

    def answer(self, answer: str) -> Deferred[None]:
        """Check the answer, of 1 to 1024 bytes, to what `Authenticator.prompt` asks."""
        ...

    @property
    def whole(self) -> bool:
        """With what was proved here, and before for the same name, a login is complete."""
        ...

    @property
    def owed(self) -> tuple[str, ...]:
        """... but for these, which others judge: they are asked for once the client begins keyboard-interactive."""
        ...

    def keep(self) -> None:
        """What was proved counts for the next attempt, which must be for the same name."""
        ...

    def settle(self, reason: AuthReason) -> None:
        """The outcome, for the audit log, the meters and the penalties.

        Raises Refused when that cannot be written down and must be: the connection then ends with its text.
        """
        ...

    def succeed(self) -> None:
        """Every factor is there. Whoever hears of it calls `UserauthService.succeed` when the way is free."""
        ...


class Authenticator(Protocol):
    """Decides who a connection is. One per connection."""

    def methods(self) -> tuple[str, ...]:
        """The method names offered in USERAUTH_FAILURE, in order: those that can lead on from what was proved."""
        ...

    def open(self, user: str, method: str) -> Attempt:
        """Begin an attempt. Asks nobody and raises nothing yet."""
        ...

    def prompt(self, user: str) -> str:
        """What keyboard-interactive asks. Raises Refused for a name that nobody can have."""
        ...

    def stop(self) -> None:
        """Nobody asks any more: break the cycles with the connection."""
        ...

"""What of the gateway a process is: all of it, or one of several workers (L4)."""

from __future__ import annotations

from dataclasses import dataclass

from bastion.auth.throttle import Penalties
from bastion.sharing.rows import ALONE, Elsewhere


@dataclass(frozen=True, slots=True)
class Part:
    """A worker knows what the others hold, and asks penalties of whoever keeps them for all. It listens where it is
    told to, has no page of its own, and what happens to the gateway as a whole is written down by the supervisor."""

    others: Elsewhere = ALONE
    penalties: Penalties | None = None  # None: kept here

    @property
    def alone(self) -> bool:
        """All of it."""
        return self.others is ALONE

"""Connections of this process whose peer takes nothing: how many, since when, and what waits for them (L2).

For whoever looks from outside: nothing here decides anything. It is told when a stall begins and ends, never of a
packet, and asks the connections that are stalled only when it is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bastion.transport.states import Role

Waiting = Callable[[], int]
"""How many bytes of one connection have not left; it stands for the connection."""


class Stalls:
    """Those of one role. Times are the reactor's seconds."""

    __slots__ = ("_begun", "_seconds")

    def __init__(self) -> None:
        self._begun: dict[Waiting, float] = {}
        self._seconds = 0.0

    def __len__(self) -> int:
        return len(self._begun)

    def begin(self, connection: Waiting, now: float) -> None:
        """Its peer takes nothing from now on."""
        self._begun[connection] = now

    def end(self, connection: Waiting, now: float) -> None:
        """It does again, or is gone. What had not begun has nothing to end."""
        begun = self._begun.pop(connection, None)
        if begun is not None:
            self._seconds += now - begun

    def seconds(self, now: float) -> float:
        """All stalls so far, those that last included. It never falls."""
        return self._seconds + sum(now - begun for begun in self._begun.values())

    def waiting(self) -> int:
        """Bytes that wait in all of them."""
        return sum(waiting() for waiting in self._begun)


STALLS: Final = {role: Stalls() for role in Role}
"""By our role: as a server we talk to engineers, as a client to targets."""

"""Everything of this process that somebody may want to see or end: sessions, tunnels, engineers' connections (L3).

Invariant: what is open is in the table, exactly from its opening to its end, with whose it is and how it is ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from bastion.policy.locks import Party
from bastion.policy.tunnel import TunnelGrant
from bastion.session.ending import End


class Kind(StrEnum):
    """What is open. In this order they are ended: what is inside before what it came through. OPENING is a session
    whose target is still being reached."""

    OPENING = "opening"
    SESSION = "session"
    TUNNEL = "tunnel"
    CONNECTION = "connection"


class Counts(NamedTuple):
    """Channels so far, and their bytes: in from the engineer, out to him."""

    channels: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(slots=True, eq=False)
class Present:
    """One thing that is open. `target` is its name in the inventory, of a tunnel where it leads, `host:port`."""

    id: str
    kind: Kind
    party: Party
    door: str
    started_at: float
    end: Callable[[End], None]
    target: str = ""
    login: str = ""
    connection: str = ""
    address: str = ""  # of a tunnel, where it is connected to
    counts: Callable[[], Counts] = Counts
    tunnel: TunnelGrant | None = None  # by which a tunnel was let
    via: tuple[str, ...] = ()  # the hops to the target


class Presence:
    """The table. A process has one (`gateway.Gateway.present`)."""

    def __init__(self) -> None:
        self._by_id: dict[str, Present] = {}

    def target_of(self, id: str) -> str:
        """Where that leads, "" when it is not open."""
        found = self._by_id.get(id)
        return "" if found is None else found.target

    def add(self, present: Present) -> None:
        self._by_id[present.id] = present

    def remove(self, id: str) -> None:
        """It has ended; what never was there does no harm."""
        self._by_id.pop(id, None)

    def __iter__(self) -> Iterator[Present]:
        """A copy, so that ending one while walking is fine."""
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def count(self, kind: Kind) -> int:
        return sum(present.kind is kind for present in self._by_id.values())

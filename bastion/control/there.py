"""What gateways of one company ask each other, as values: what is locked, who is here, end it.

What people ask stands in `node` and `orders`; these are what becomes of it on the way to another gateway. Each order
says who gave it and is judged by the gateway that obeys (`obeying`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final

from bastion.control.asking import By, Ended, Request, ended_together
from bastion.control.node import Live, Selection, Status
from bastion.control.orders import Watched
from bastion.policy.lock_list import MOST_KNOWN, Gone
from bastion.policy.locks import Lock

SOON: Final = 2.0
"""Seconds in which another gateway answers, or is named as one that did not."""

MOST_TOLD: Final = 100
"""Locks in one question: some 100 KB with the longest words."""

MOST_HELD: Final = 2 * MOST_KNOWN
"""Locks in one answer, and as many ends of locks: reading them takes a second, where all that 32 MB can hold would take
twenty."""


@dataclass(frozen=True, slots=True)
class LocksHeld:
    """What is locked, and was unlocked; nothing of it when whoever asks has seen this mark before. `known`: it has ever
    known what is locked; one that has just begun, and had nobody to tell it, has not."""

    mark: str
    locks: tuple[Lock, ...] = field(default=(), metadata={"most": MOST_HELD, "known_only": True})
    gone: tuple[Gone, ...] = field(default=(), metadata={"most": MOST_HELD, "known_only": True})
    known: bool = field(default=True, metadata={"left_out": True})


@dataclass(frozen=True, slots=True)
class LocksThere(Request[LocksHeld]):
    """What is locked there? Asked all the time: the answer is also the sign of life."""

    seen: str = ""

    command: ClassVar[str] = "node_locks"
    result: ClassVar[type[Any]] = LocksHeld
    deadline: ClassVar[float | None] = SOON


@dataclass(frozen=True, slots=True)
class LocksTold(Request[Ended]):
    """These were made here just now, and those taken away. The answer is what that has ended there."""

    locks: tuple[Lock, ...] = ()
    gone: tuple[Gone, ...] = ()

    command: ClassVar[str] = "node_lock"
    result: ClassVar[type[Any]] = Ended
    deadline: ClassVar[float | None] = SOON

    @classmethod
    def merged(cls, answers: Sequence[Ended]) -> Ended:
        return ended_together(answers)

    @classmethod
    def unanswered(cls, node: str) -> Ended:
        return Ended(silent=(node,))


@dataclass(frozen=True, slots=True)
class LiveThere(Request[Live]):
    """Who is there?"""

    by: By
    selection: Selection

    command: ClassVar[str] = "node_live"
    result: ClassVar[type[Any]] = Live
    deadline: ClassVar[float | None] = SOON


@dataclass(frozen=True, slots=True)
class StatusThere(Request[Status]):
    """How is it?"""

    by: By

    command: ClassVar[str] = "node_status"
    result: ClassVar[type[Any]] = Status
    deadline: ClassVar[float | None] = SOON


@dataclass(frozen=True, slots=True)
class KillThere(Request[Ended]):
    """End what is selected there."""

    by: By
    selection: Selection
    reason: str

    command: ClassVar[str] = "node_kill"
    result: ClassVar[type[Any]] = Ended
    deadline: ClassVar[float | None] = SOON

    def older(self) -> KillThere | None:
        return replace(self, by=self.by.alone) if self.by.person else None


@dataclass(frozen=True, slots=True)
class WatchThere(Request[Watched]):
    """Show a session that runs there."""

    by: By
    id: str
    reason: str = ""

    command: ClassVar[str] = "node_watch"
    result: ClassVar[type[Any]] = Watched
    deadline: ClassVar[float | None] = None

    def older(self) -> WatchThere | None:
        return replace(self, by=self.by.alone) if self.by.person else None


ASKED_BY_NODES: Final[dict[str, type[Request[Any]]]] = {
    request.command: request
    for request in (LocksThere, LocksTold, LiveThere, StatusThere, KillThere, WatchThere)
}
"""Command -> question: nothing else is answered where other gateways connect to."""

"""What an old process and its successor ask each other, as values (L4, pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from bastion.control.asking import Done, Request
from bastion.control.node import REQUESTS
from bastion.policy.locks import Lock

READY_WITHIN: Final = 30.0
"""Seconds that a successor has, from its start until it has read everything."""

BEGUN_WITHIN: Final = 10.0
"""Seconds between the old one's last accept and the new one's first. It takes milliseconds; after these the old one
accepts again."""

HURRIED: Final = 5.0
"""Seconds in which an elder that is to end at once does."""


# -- the successor asks ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Locked:
    """What is locked: in force in the successor before it lets anybody in."""

    locks: tuple[Lock, ...]


@dataclass(frozen=True, slots=True)
class Ready(Request[Locked]):
    """Everything is read, nothing is accepted yet. The answer comes when the old process has stopped to accept."""

    pid: int
    version: str

    command: ClassVar[str] = "successor_ready"
    result: ClassVar[type[Any]] = Locked
    deadline: ClassVar[float | None] = BEGUN_WITHIN


@dataclass(frozen=True, slots=True)
class Begun(Request[Locked]):
    """The successor accepts. With the answer it is the gateway, and the old process an elder. The locks again: some may
    have been made meanwhile."""

    command: ClassVar[str] = "successor_begun"
    result: ClassVar[type[Any]] = Locked
    deadline: ClassVar[float | None] = BEGUN_WITHIN


@dataclass(frozen=True, slots=True)
class LogMoved(Request[Done]):
    """The audit log was rotated: open it again."""

    command: ClassVar[str] = "log_moved"
    result: ClassVar[type[Any]] = Done


@dataclass(frozen=True, slots=True)
class EndElder(Request[Done]):
    """The gateway ends: as at SIGTERM with `drain`, else now."""

    drain: bool

    command: ClassVar[str] = "end_elder"
    result: ClassVar[type[Any]] = Done


# -- the elder asks --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Farewell(Request[Done]):
    """The last session has ended: what was counted, for the page, and then it is gone. `unfinished`: sessions of
    workers that died, whose recordings nobody was left to end."""

    snapshot: Mapping[str, Any]
    unfinished: tuple[str, ...] = ()

    command: ClassVar[str] = "farewell"
    result: ClassVar[type[Any]] = Done


ASKED_BY_SUCCESSORS: Final[dict[str, type[Request[Any]]]] = REQUESTS | {
    request.command: request for request in (Ready, Begun, LogMoved, EndElder)
}
"""Also what people may ask: an elder is a node of the gateway."""

ASKED_BY_ELDERS: Final[dict[str, type[Request[Any]]]] = {Farewell.command: Farewell}

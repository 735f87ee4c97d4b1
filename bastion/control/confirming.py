"""Whether it is known what is locked, where several gateways share that: what a gateway asks its processes and tells
them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from bastion.control.asking import Request
from bastion.policy.lock_list import Gone
from bastion.policy.locks import Lock


@dataclass(frozen=True, slots=True)
class SharedRows:
    """The locks of the store, None when whoever asks has seen them (`mark`) before, and its ends of locks. `timeline`
    is another one where another server has become the store."""

    mark: str
    locks: tuple[Lock, ...] | None = None
    timeline: str = field(default="", metadata={"left_out": True})
    gone: tuple[Gone, ...] = field(default=(), metadata={"left_out": True})


@dataclass(frozen=True, slots=True)
class SharedLocks(Request[SharedRows]):
    """What is locked in the store that several gateways share? Asked of one process, all the time."""

    seen: str = ""

    command: ClassVar[str] = "shared_locks"
    result: ClassVar[type[Any]] = SharedRows
    deadline: ClassVar[float | None] = 5.0


@dataclass(frozen=True, slots=True)
class Heard:
    """The answer to what only has to be heard."""


@dataclass(frozen=True, slots=True)
class ConfirmLocks(Request[Heard]):
    """What is locked is known, for so many seconds more. Asked of processes only, all the time."""

    seconds: float

    command: ClassVar[str] = "confirm_locks"
    result: ClassVar[type[Any]] = Heard
    deadline: ClassVar[float | None] = 5.0

    @classmethod
    def merged(cls, answers: Sequence[Heard]) -> Heard:
        return answers[0]


CONFIRMING: Final[tuple[type[Request[Any]], ...]] = (SharedLocks, ConfirmLocks)

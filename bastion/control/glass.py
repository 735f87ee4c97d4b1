"""What a gateway can be asked and told about break-glass accounts, as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from bastion.control.asking import NOBODY, By, Request


@dataclass(frozen=True, slots=True)
class Glass:
    """Until when an admin has opened them (seconds since the epoch), why, and who; None: nobody has. `down`: the
    directory has failed for long enough, so that they are open anyway; `names`: whose accounts they are."""

    until: float | None = None
    reason: str = ""
    opened_by: str = ""
    down: bool = False
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SetGlass(Request[Glass]):
    """From now on they are open so, or closed. Asked of processes only."""

    glass: Glass

    command: ClassVar[str] = "set_break_glass"
    result: ClassVar[type[Any]] = Glass

    @classmethod
    def merged(cls, answers: Sequence[Glass]) -> Glass:
        return _one_glass(answers)


@dataclass(frozen=True, slots=True)
class GlassAsked(Request[Glass]):
    """Are they open?"""

    command: ClassVar[str] = "break_glass"
    result: ClassVar[type[Any]] = Glass

    @classmethod
    def merged(cls, answers: Sequence[Glass]) -> Glass:
        return _one_glass(answers)


def _one_glass(answers: Sequence[Glass]) -> Glass:
    """Processes that share a socket have one answer, but each its own view of the directory."""
    return replace(answers[0], down=any(answer.down for answer in answers))


@dataclass(frozen=True, slots=True)
class OpenGlass(Request[Glass]):
    """Open them for `seconds`."""

    reason: str
    seconds: float
    by: By = NOBODY

    command: ClassVar[str] = "break_glass_open"
    result: ClassVar[type[Any]] = Glass


@dataclass(frozen=True, slots=True)
class CloseGlass(Request[Glass]):
    """Close what was opened."""

    by: By = NOBODY

    command: ClassVar[str] = "break_glass_close"
    result: ClassVar[type[Any]] = Glass


@dataclass(frozen=True, slots=True)
class Kept:
    """What somebody has said of them last, and when (seconds since the epoch; 0: never)."""

    glass: Glass
    made_at: float = 0.0


@dataclass(frozen=True, slots=True)
class KeepGlass(Request[Kept]):
    """Keep it in the store. Asked of one process."""

    kept: Kept

    command: ClassVar[str] = "keep_break_glass"
    result: ClassVar[type[Any]] = Kept


@dataclass(frozen=True, slots=True)
class GlassKept(Request[Kept]):
    """What does the store know? Asked of one process, again and again."""

    command: ClassVar[str] = "kept_break_glass"
    result: ClassVar[type[Any]] = Kept


GLASS_ORDERS: Final[tuple[type[Request[Any]], ...]] = (
    SetGlass,
    GlassAsked,
    OpenGlass,
    CloseGlass,
    KeepGlass,
    GlassKept,
)

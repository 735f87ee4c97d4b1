"""To read the configuration again, as a value: told by somebody, who hears what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bastion.control.asking import NOBODY, By, Request


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What came of it: `ok`, `restart_needed` or `refused`; the options that wait for a restart, faults a line each,
    and what is different."""

    result: str
    restart: str = ""
    text: str = ""
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReloadOrder(Request[Reloaded]):
    """Read everything again and take it, in all processes or in none."""

    by: By = NOBODY

    command: ClassVar[str] = "reload"
    result: ClassVar[type[Any]] = Reloaded
    deadline: ClassVar[float | None] = 330.0

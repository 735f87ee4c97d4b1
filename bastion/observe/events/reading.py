"""Events of people who look at recordings (L0, pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from bastion.observe.events.base import AuditEvent, Line, of


@dataclass(frozen=True, slots=True)
class RecordingsRead(AuditEvent):
    """a command, or a page of the review console, shows recordings, or one session; the line stands before anything is
    shown"""

    event: ClassVar[str] = "recordings_read"
    about: ClassVar[tuple[str, ...]] = ("source",)

    by: Annotated[str, "the account that ran the command, or who signed in to the console"]
    command: Annotated[str, "`replay`, `export`, `sessions`, ...; `console play`, ... of the console"]
    asked: Annotated[str, "the options that were given"] = ""

    @staticmethod
    def sentence(line: Line) -> str:
        return (
            f"{line.get('by', '?')} looked with bastion {line.get('command', '?')}{of(line, 'asked', ': ')}"
        )

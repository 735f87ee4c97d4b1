"""Events of the review console (L0, pure). What it shows of recordings is `reading.RecordingsRead`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from bastion.errors import ConsoleReason
from bastion.observe.events.base import AuditEvent, Line, of


@dataclass(frozen=True, slots=True)
class ConsoleStarted(AuditEvent):
    """the review console answers browsers"""

    event: ClassVar[str] = "console_started"

    version: str
    place: Annotated[str, "its address, as browsers name it"]

    @staticmethod
    def sentence(line: Line) -> str:
        return f"the review console {line.get('version', '?')} started{of(line, 'place', ' as ')}"


@dataclass(frozen=True, slots=True)
class ConsoleStopped(AuditEvent):
    """it does no longer; everybody is signed out"""

    event: ClassVar[str] = "console_stopped"

    @staticmethod
    def sentence(line: Line) -> str:
        return "the review console stopped"


@dataclass(frozen=True, slots=True)
class ConsoleSignedIn(AuditEvent):
    """somebody has signed in to the review console; the lines `auth` of the same connection say with what"""

    event: ClassVar[str] = "console_signed_in"
    about: ClassVar[tuple[str, ...]] = ("connection", "user", "source")

    roles: tuple[str, ...]
    proxied: Annotated[bool, "a listed proxy said who it is"] = False

    @staticmethod
    def sentence(line: Line) -> str:
        roles = ", ".join(map(str, line.get("roles") or ())) or "no role"
        return f"{line.get('user', '?')} signed in to the review console as {roles}{of(line, 'source', ' from ')}"


@dataclass(frozen=True, slots=True)
class ConsoleSignedOut(AuditEvent):
    """somebody is signed in no longer"""

    event: ClassVar[str] = "console_signed_out"
    about: ClassVar[tuple[str, ...]] = ("user", "source")

    reason: ConsoleReason

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{line.get('user', '?')} is signed out of the review console{of(line, 'reason', ' [', ']')}"


@dataclass(frozen=True, slots=True)
class ConsoleRefused(AuditEvent):
    """the review console did not answer a request"""

    event: ClassVar[str] = "console_refused"
    about: ClassVar[tuple[str, ...]] = ("user", "source")

    reason: ConsoleReason
    route: Annotated[str, "its name in the table of routes"] = ""
    method: str = ""
    path: Annotated[str, "as it was asked for, without its query"] = ""

    @staticmethod
    def sentence(line: Line) -> str:
        what = f"{line.get('method', '')} {line.get('path', '')}".strip() or "a request"
        return f"the review console refused {what}{of(line, 'user', ' of ')}{of(line, 'reason', ' [', ']')}"


@dataclass(frozen=True, slots=True)
class ConsoleOrdered(AuditEvent):
    """somebody has the gateway told something by the review console; the line stands before it is asked"""

    event: ClassVar[str] = "console_ordered"
    about: ClassVar[tuple[str, ...]] = ("user", "source")

    command: Annotated[str, "`kill`, `lock`, ..."]
    whom: Annotated[str, "the session, or what is locked"]
    why: Annotated[str, "the reason that was typed"]

    @staticmethod
    def sentence(line: Line) -> str:
        ordered = f"{line.get('command', '?')} {line.get('whom', '')}".strip()
        return f"{line.get('user', '?')} ordered {ordered} in the review console{of(line, 'why', ': ')}"

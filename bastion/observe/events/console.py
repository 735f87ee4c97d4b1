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
    token: Annotated[str, "the API token by which a program asked"] = ""

    @staticmethod
    def sentence(line: Line) -> str:
        ordered = f"{line.get('command', '?')} {line.get('whom', '')}".strip()
        return f"{line.get('user', '?')} ordered {ordered} in the review console{of(line, 'why', ': ')}"


@dataclass(frozen=True, slots=True)
class ConsolePasskeyAdded(AuditEvent):
    """a passkey signs somebody in to the review console from now on; the line stands before it does"""

    event: ClassVar[str] = "console_passkey_added"
    about: ClassVar[tuple[str, ...]] = ("user", "source")

    key: Annotated[str, "its fingerprint, as the lines `auth` and locks have it"]
    label: Annotated[str, "what its owner calls it"]
    synced: Annotated[bool, "its owner's cloud may have copies"]

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{line.get('user', '?')} added passkey {line.get('key', '?')} for the review console"


@dataclass(frozen=True, slots=True)
class ConsolePasskeyRemoved(AuditEvent):
    """a passkey signs nobody in any more; who signed in with it is signed out"""

    event: ClassVar[str] = "console_passkey_removed"
    about: ClassVar[tuple[str, ...]] = ("user", "source")

    key: str
    owner: Annotated[str, "whose it was"]

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{line.get('user', '?')} removed passkey {line.get('key', '?')} of {line.get('owner', '?')}"


@dataclass(frozen=True, slots=True)
class ConsoleTokenMade(AuditEvent):
    """an API token of the review console was made; the line stands before anybody has it"""

    event: ClassVar[str] = "console_token_made"
    about: ClassVar[tuple[str, ...]] = ("source",)

    token: Annotated[str, "its id, which is no secret"]
    owner: Annotated[str, "whose rights it has"]
    by: Annotated[str, "who signed in to the console, or the account that ran the command"]
    label: Annotated[str, "what it is for, as typed"]
    scope: Annotated[tuple[str, ...], "what it may ask for"]
    ends_at: Annotated[float, "seconds since the epoch"]

    @staticmethod
    def sentence(line: Line) -> str:
        scope = ", ".join(map(str, line.get("scope") or ())) or "nothing"
        return f"{line.get('by', '?')} made API token {line.get('token', '?')} of {line.get('owner', '?')} for {scope}"


@dataclass(frozen=True, slots=True)
class ConsoleTokenRevoked(AuditEvent):
    """an API token of the review console was taken away"""

    event: ClassVar[str] = "console_token_revoked"
    about: ClassVar[tuple[str, ...]] = ("source",)

    token: str
    owner: str
    by: Annotated[str, "who signed in to the console, or the account that ran the command"]

    @staticmethod
    def sentence(line: Line) -> str:
        return (
            f"{line.get('by', '?')} took away API token {line.get('token', '?')} of {line.get('owner', '?')}"
        )

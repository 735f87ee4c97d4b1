"""The event `refused`: the gateway said no, to what is its field `what` (L0, pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from bastion.errors import LimitReason, Reason
from bastion.observe.events.base import NOWHERE, AuditEvent, Facts, Line, because, of, place


class Refusal(AuditEvent):
    """the gateway said no"""

    __slots__ = ()

    event: ClassVar[str] = "refused"

    @staticmethod
    def sentence(line: Line) -> str:
        return f"the {line.get('what', 'connection')} was refused{because(line)}"


@dataclass(frozen=True, slots=True)
class ConnectionCutOff(Refusal):
    """a limit ended the connection"""

    about: ClassVar[tuple[str, ...]] = ("connection", "source")

    reason: LimitReason
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRefused(Refusal):
    """a session that was asked for"""

    what: ClassVar[str] = "session"

    user: str
    target: str
    reason: Reason
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRefused(Refusal):
    """a channel, of a session or of an outer connection"""

    what: ClassVar[str] = "channel"
    about: ClassVar[tuple[str, ...]] = ("connection", "user", "source")

    kind: str
    by: str = ""
    reason: Reason
    rule: str = ""
    text: str
    facts: Annotated[Facts, "where it was to go"] = NOWHERE

    @staticmethod
    def sentence(line: Line) -> str:
        return f"a channel {line.get('kind', '?')}{place(line)} was refused{because(line)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRefused(Refusal):
    """a request, of a channel or of a connection"""

    what: ClassVar[str] = "request"
    about: ClassVar[tuple[str, ...]] = ("connection", "user", "source")

    channel: int | None = None
    name: str
    by: str = ""
    reason: Reason
    rule: str = ""
    text: str = ""
    facts: Annotated[Facts, "where it was to listen"] = NOWHERE

    @staticmethod
    def sentence(line: Line) -> str:
        channel = of(line, "channel", " on channel ")
        return f"the request {line.get('name', '?')}{channel} was refused{because(line)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRefused(Refusal):
    """a channel was closed because of what came in it"""

    what: ClassVar[str] = "stream"

    channel: int
    kind: str
    by: str
    reason: Reason
    rule: str
    text: str

    @staticmethod
    def sentence(line: Line) -> str:
        return f"channel {line.get('channel', '?')} was closed{because(line)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SftpRefused(Refusal):
    """one request over sftp; the channel goes on"""

    what: ClassVar[str] = "sftp"

    channel: int
    name: str
    verb: str
    reason: Reason
    rule: str
    text: str
    path: Annotated[str, "with `audit.detail`, as `to`"] = ""
    to: str = ""

    @staticmethod
    def sentence(line: Line) -> str:
        paths = of(line, "path", " of ") + of(line, "to", " to ")
        return (
            f"the sftp request {line.get('name', '?')}{paths} on channel {line.get('channel', '?')} was refused"
            f"{because(line)}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelRefused(Refusal):
    """a tunnel, by policy or because its far side could not be had"""

    what: ClassVar[str] = "tunnel"
    about: ClassVar[tuple[str, ...]] = ("connection", "user", "source")

    reason: Reason
    text: str
    tunnel: Annotated[int, "its number on the connection"]
    host: str
    port: int
    address: str = ""
    rules: str = ""


@dataclass(frozen=True, slots=True)
class BufferRefused(Refusal):
    """a channel was closed because too much waits in the engineer's channels"""

    what: ClassVar[str] = "buffer"
    about: ClassVar[tuple[str, ...]] = ("connection", "user", "source")

    reason: Reason
    text: str

    @staticmethod
    def sentence(line: Line) -> str:
        return f"a channel was closed{because(line)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRefused(Refusal):
    """somebody asked for an approval, or answered a request, and may not or cannot"""

    what: ClassVar[str] = "approval"
    about: ClassVar[tuple[str, ...]] = ("connection", "user", "source")

    command: Annotated[str, "`request`, `requests`, `approve`, `deny`"]
    request: Annotated[str, "as typed, if it can be one"] = ""
    by: Annotated[str, "who answered at the control socket"] = ""
    reason: Reason
    text: str

    @staticmethod
    def sentence(line: Line) -> str:
        who = line.get("user") or line.get("by") or "?"
        return f"{who} was refused {line.get('command', '?')}{of(line, 'request', ' ')}{because(line)}"


@dataclass(frozen=True, slots=True)
class CertificateRefused(Refusal):
    """a certificate that somebody who had logged in asked for"""

    what: ClassVar[str] = "certificate"
    about: ClassVar[tuple[str, ...]] = ("connection", "user", "source")

    reason: Reason
    text: str
    key: Annotated[str, "the fingerprint of the key that it was to be for, where one was given"] = ""


@dataclass(frozen=True, slots=True)
class MoreRefused(Refusal):
    """opens and requests that were refused after one like them and got no line each"""

    what: ClassVar[str] = "more"

    by: str
    reason: Reason
    count: int

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{line.get('count', '?')} more opens and requests were refused{because(line)}"

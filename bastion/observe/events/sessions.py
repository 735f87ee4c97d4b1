"""Events of a session: it, its channels, and the files that pass (L0, pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from bastion.errors import EndReason, RecorderReason
from bastion.observe.events.base import AuditEvent, Line, because, moved, of, place


@dataclass(frozen=True, slots=True)
class TargetBanner(AuditEvent):
    """the target said something before its login was done; the engineer was shown it, marked as the target's"""

    event: ClassVar[str] = "target_banner"

    target: str
    missing: Annotated[int, "bytes that were not shown"]
    text: Annotated[str, "the first 1,024 characters"]

    @staticmethod
    def sentence(line: Line) -> str:
        more = of(line, "missing", " (", " more bytes were not shown)")
        return f"{line.get('target', '?')} said before its login{of(line, 'text', ': ')}{more}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStarted(AuditEvent):
    """the target is reached and the recording runs"""

    event: ClassVar[str] = "session_started"

    user: str
    uid: str
    target: str
    login: str
    door: str
    source: str
    host_key: str
    rules: str
    login_method: str
    credential: Annotated[str, "where the proof towards the target came from"]
    legacy: Annotated[str, "the weak algorithms in use"]
    request: Annotated[str, "the request that was approved, where a rule wants that"] = ""
    approved_by: str = ""
    policy_digest: Annotated[str, "SHA-256 of policy and inventory, see `bastion policy versions`"] = ""
    break_glass: Annotated[str, "the reason that was typed, of an account for emergencies"] = ""
    via: Annotated[str, "the hops from the gateway to the target"] = ""
    proxy_command: Annotated[str, "the program that the gateway connected by"] = ""

    @staticmethod
    def sentence(line: Line) -> str:
        who, target, login = line.get("user", "?"), line.get("target", "?"), of(line, "login", " as ")
        via = of(line, "via", ", reached through ")
        door, host_key = of(line, "door", " through the ", " door"), of(line, "host_key", ", host key ")
        method, legacy = of(line, "login_method", ", let in by "), of(line, "legacy", ", legacy algorithms: ")
        approved = of(line, "approved_by", ", approved by ")
        why = of(line, "break_glass", ", an emergency: ")
        return (
            f"the session began: {who} on {target}{login}{via}{door}{host_key}{method}{legacy}{approved}{why}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded(AuditEvent):
    """it is over"""

    event: ClassVar[str] = "session_ended"

    reason: EndReason
    text: str
    bytes_in: Annotated[int, "to the target"]
    bytes_out: int
    channels: int
    bytes_not_kept: int
    opaque: Annotated[int, "channels that nobody can replay"]

    @staticmethod
    def sentence(line: Line) -> str:
        gaps = of(line, "bytes_not_kept", ", ", " of them in gaps of the recording")
        opaque = of(line, "opaque", " (", " of which nobody can replay)")
        channels = f"{line.get('channels', 0)}{opaque}"
        return f"the session ended{because(line)}; channels: {channels}, {moved(line)}{gaps}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelOpened(AuditEvent):
    """a channel was allowed and asked of the other side"""

    event: ClassVar[str] = "channel_opened"

    channel: int
    kind: str
    by: str
    rule: str
    host: str = ""
    port: int | None = None
    path: str = ""

    @staticmethod
    def sentence(line: Line) -> str:
        by = "target" if line.get("by") == "target" else "client"
        return (
            f"the {by} opened channel {line.get('channel', '?')}, {line.get('kind', '?')}{place(line)}"
            f"{of(line, 'rule', ', by rule ')}"
        )


@dataclass(frozen=True, slots=True)
class ChannelFailed(AuditEvent):
    """the other side refused it"""

    event: ClassVar[str] = "channel_failed"

    channel: int
    code: int

    @staticmethod
    def sentence(line: Line) -> str:
        return f"the other side refused channel {line.get('channel', '?')}{of(line, 'code', ' with code ')}"


@dataclass(frozen=True, slots=True)
class ChannelClosed(AuditEvent):
    """it is over"""

    event: ClassVar[str] = "channel_closed"

    channel: int
    kind: str
    bytes_in: int
    bytes_out: int

    @staticmethod
    def sentence(line: Line) -> str:
        return f"channel {line.get('channel', '?')} closed: {moved(line)}"


@dataclass(frozen=True, slots=True)
class Request(AuditEvent):
    """a terminal, shell, command or subsystem was started"""

    event: ClassVar[str] = "request"

    channel: int
    name: str
    rule: str
    kind: Annotated[str, "`scp` or `rsync`, of a command that looks like it (see [sftp.md](sftp.md))"] = ""
    direction: str = ""
    asked: Annotated[
        str,
        "`shell`, `exec` or `subsystem`: asked for, and a forced command ran in its place; the recording has both",
    ] = ""

    @staticmethod
    def sentence(line: Line) -> str:
        forced = of(line, "asked", ", forced in the place of ")
        return f"channel {line.get('channel', '?')}: {line.get('name', '?')}{forced}{of(line, 'rule', ', by rule ')}"


@dataclass(frozen=True, slots=True)
class SessionOpaque(AuditEvent):
    """the first channel that nobody can replay was opened"""

    event: ClassVar[str] = "session_opaque"

    channel: int
    kind: str

    @staticmethod
    def sentence(line: Line) -> str:
        return (
            f"from channel {line.get('channel', '?')} on, {line.get('kind', '?')}, the session carries what nobody can "
            "replay"
        )


@dataclass(frozen=True, slots=True)
class StreamSsh(AuditEvent):
    """SSH was seen in a forward, and a rule lets it pass"""

    event: ClassVar[str] = "stream_ssh"

    channel: int
    by: str
    rule: str

    @staticmethod
    def sentence(line: Line) -> str:
        return f"SSH passes inside channel {line.get('channel', '?')}{of(line, 'rule', ', by rule ')}"


@dataclass(frozen=True, slots=True)
class RecorderFailed(AuditEvent):
    """the recording could not be written, so the session ends"""

    event: ClassVar[str] = "recorder_failed"

    reason: RecorderReason
    text: str

    @staticmethod
    def sentence(line: Line) -> str:
        return f"the recording failed, so the session was ended{because(line)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SftpFile(AuditEvent):
    """a file was opened and closed over sftp"""

    event: ClassVar[str] = "sftp_file"

    channel: int
    file: Annotated[int, "its number on the channel"]
    flags: str
    outcome: Annotated[str, "of the close; `not_closed`: the channel ended first"]
    bytes_read: int
    bytes_written: int
    sha256: str = ""
    unhashed: Annotated[str, "why there is no `sha256`"] = ""
    path: Annotated[str, "with `audit.detail`"] = ""

    @staticmethod
    def sentence(line: Line) -> str:
        paths = of(line, "path", " ")
        digest = of(line, "sha256", ", SHA-256 ") or of(line, "unhashed", ", no hash: ")
        return (
            f"channel {line.get('channel', '?')}: file {line.get('file', '?')}{paths} was opened to "
            f"{line.get('flags', '?')} and closed ({line.get('outcome', '?')}): {line.get('bytes_read', 0)} bytes "
            f"read, {line.get('bytes_written', 0)} written{digest}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SftpOperation(AuditEvent):
    """something was changed over sftp, or could not be opened"""

    event: ClassVar[str] = "sftp_operation"

    channel: int
    name: str
    outcome: str
    file: int | None = None
    path: Annotated[str, "with `audit.detail`, as `to`"] = ""
    to: str = ""

    @staticmethod
    def sentence(line: Line) -> str:
        paths = of(line, "path", " of ") + of(line, "to", " to ")
        file = of(line, "file", " of file ") if not paths else ""
        channel, name = line.get("channel", "?"), line.get("name", "?")
        return f"channel {channel}: sftp {name}{paths or file}: {line.get('outcome', '?')}"


@dataclass(frozen=True, slots=True)
class SftpUnparsed(AuditEvent):
    """an sftp channel could not be followed any further; from here on its bytes are recorded like any other's"""

    event: ClassVar[str] = "sftp_unparsed"

    channel: int
    by: str
    text: str

    @staticmethod
    def sentence(line: Line) -> str:
        return (
            f"the sftp of channel {line.get('channel', '?')} could not be followed any further{because(line)}"
        )

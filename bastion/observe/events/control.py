"""Events of the security team's and the operators' commands (L0, pure): who did what to whom, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from bastion.observe.events.base import AuditEvent, Line, of

Who = Annotated[str, "the account on the gateway's machine that asked, as the kernel says"]
Person = Annotated[
    str, "whom that account asked for, as it says itself: who is signed in at the review console"
]


def _who(line: Line) -> str:
    return f"{line.get('who', '?')}{of(line, 'person', ' for ')} (uid {line.get('who_uid', '?')})"


@dataclass(frozen=True, slots=True)
class ControlRefused(AuditEvent):
    """somebody asked something of the running gateway and was refused"""

    event: ClassVar[str] = "control_refused"

    reason: Annotated[str, "`no_role`, `by_policy`, `malformed`, `unknown_command`, `too_many`, `slow`"]
    text: str
    command: str = ""
    who: Who = ""
    who_uid: int | None = None
    person: Person = ""

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{_who(line)} was refused{of(line, 'command', ' ')}{of(line, 'text', ': ')}"


@dataclass(frozen=True, slots=True)
class Killed(AuditEvent):
    """sessions, tunnels and connections were ended by a command"""

    event: ClassVar[str] = "killed"

    who: Who
    who_uid: int
    why: Annotated[str, "what the engineers were told"]
    selected: Annotated[str, "what the command named: `id ...`, `user ...`, `target ...`, `all`"]
    sessions: int = 0
    tunnels: int = 0
    connections: int = 0
    ids: Annotated[tuple[str, ...], "the first 128 of them"] = ()
    person: Person = ""

    @staticmethod
    def sentence(line: Line) -> str:
        counts = f"{line.get('sessions', 0)} sessions, {line.get('tunnels', 0)} tunnels"
        return (
            f"{_who(line)} ended {counts} and {line.get('connections', 0)} connections{of(line, 'why', ': ')}"
        )


@dataclass(frozen=True, slots=True)
class Locked(AuditEvent):
    """a user, target, certificate or source was locked, which ended what ran"""

    event: ClassVar[str] = "locked"

    who: Who
    who_uid: int
    kind: str
    value: str
    why: Annotated[str, "what engineers are told"]
    until: Annotated[float | None, "seconds since 1970; absent: until it is unlocked"] = None
    sessions: int = 0
    tunnels: int = 0
    connections: int = 0
    uid: Annotated[str | None, "the immutable id of the account; absent: the lock is on the name"] = None
    person: Person = ""

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{_who(line)} locked {line.get('kind', '?')} {line.get('value', '?')}{of(line, 'why', ': ')}"


@dataclass(frozen=True, slots=True)
class Unlocked(AuditEvent):
    """a lock was taken away, or its time was over"""

    event: ClassVar[str] = "unlocked"

    kind: str
    value: str
    who: Annotated[str, "absent: its time was over"] = ""
    who_uid: int | None = None
    why: str = ""
    person: Person = ""

    @staticmethod
    def sentence(line: Line) -> str:
        whom = f"{line.get('kind', '?')} {line.get('value', '?')}"
        if not line.get("who"):
            return f"the lock of {whom} ended by itself"
        return f"{_who(line)} unlocked {whom}{of(line, 'why', ': ')}"


@dataclass(frozen=True, slots=True)
class LockFollowed(AuditEvent):
    """a lock that was made at another gateway is in force here"""

    event: ClassVar[str] = "lock_followed"

    kind: str
    value: str
    by: Annotated[str, "who made it, as that gateway says"]
    why: str
    node: Annotated[str, "which gateway told of it; absent: the store"] = ""
    until: Annotated[float | None, "seconds since 1970; absent: until it is unlocked"] = None
    uid: Annotated[str | None, "the immutable id of the account; absent: the lock is on the name"] = None

    @staticmethod
    def sentence(line: Line) -> str:
        whom = f"{line.get('kind', '?')} {line.get('value', '?')}"
        return f"{line.get('by', '?')} has locked {whom} at another gateway{of(line, 'why', ': ')}"


@dataclass(frozen=True, slots=True)
class UnlockFollowed(AuditEvent):
    """a lock was taken away at another gateway, and is in force here no more"""

    event: ClassVar[str] = "unlock_followed"

    kind: str
    value: str
    node: Annotated[str, "which gateway told of it; absent: the store"] = ""

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{line.get('kind', '?')} {line.get('value', '?')} was unlocked at another gateway"


@dataclass(frozen=True, slots=True)
class PenaltiesCleared(AuditEvent):
    """penalties for failed logins were forgotten by a command"""

    event: ClassVar[str] = "penalties_cleared"

    who: Who
    who_uid: int
    cleared: int
    source: str = ""
    account: str = ""
    why: str = ""

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{_who(line)} cleared {line.get('cleared', '?')} penalties{of(line, 'why', ': ')}"


@dataclass(frozen=True, slots=True)
class TotpEnrolled(AuditEvent):
    """a second factor was made for somebody, by a command"""

    event: ClassVar[str] = "totp_enrolled"

    who: Who
    who_uid: int
    user: str
    uid: Annotated[str, "the immutable id that it hangs on"]

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{_who(line)} made a second factor for {line.get('user', '?')}"


@dataclass(frozen=True, slots=True)
class TotpInvited(AuditEvent):
    """somebody was invited to make a second factor, by a command"""

    event: ClassVar[str] = "totp_invited"

    who: Who
    who_uid: int
    user: str
    uid: Annotated[str, "the immutable id that the invitation hangs on"]

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{_who(line)} invited {line.get('user', '?')} to make a second factor"


@dataclass(frozen=True, slots=True)
class TotpTakenAway(AuditEvent):
    """somebody's second factor was taken away by a command, with its recovery codes"""

    event: ClassVar[str] = "totp_reset"

    who: Who
    who_uid: int
    user: str
    why: str

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{_who(line)} took away the second factor of {line.get('user', '?')}{of(line, 'why', ': ')}"


@dataclass(frozen=True, slots=True)
class BreakGlassOpened(AuditEvent):
    """the break-glass accounts were opened by a command"""

    event: ClassVar[str] = "break_glass_opened"

    who: Who
    who_uid: int
    why: str
    until: Annotated[float, "seconds since 1970"]

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{_who(line)} opened the break-glass accounts{of(line, 'why', ': ')}"


@dataclass(frozen=True, slots=True)
class BreakGlassClosed(AuditEvent):
    """... and closed before their time was over"""

    event: ClassVar[str] = "break_glass_closed"

    who: Who
    who_uid: int

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{_who(line)} closed the break-glass accounts"


@dataclass(frozen=True, slots=True)
class BreakGlassFollowed(AuditEvent):
    """what was said of the break-glass accounts before a restart, or at another gateway of the store, is in force"""

    event: ClassVar[str] = "break_glass_followed"

    by: Annotated[str, "who said it, there"]
    why: str
    until: Annotated[float | None, "seconds since 1970; absent: they were closed"] = None

    @staticmethod
    def sentence(line: Line) -> str:
        what = "opened" if "until" in line else "closed"
        return (
            f"the break-glass accounts are {what}, as {line.get('by', '?')} has said{of(line, 'why', ': ')}"
        )


@dataclass(frozen=True, slots=True)
class LogLevelSet(AuditEvent):
    """the operator's log tells more, or less"""

    event: ClassVar[str] = "log_level_set"

    who: Who
    who_uid: int
    level: str
    before: str

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{_who(line)} set the log's level to {line.get('level', '?')}"


@dataclass(frozen=True, slots=True)
class WatchStarted(AuditEvent):
    """somebody began to watch a session as it happens"""

    event: ClassVar[str] = "watch_started"

    who: Who
    who_uid: int
    told: Annotated[bool, "the engineer reads of it; false: the rules say `silent`"]
    why: str = ""
    person: Person = ""

    @staticmethod
    def sentence(line: Line) -> str:
        silently = " without the engineer being told" if line.get("told") is False else ""
        return f"{_who(line)} began to watch{silently}{of(line, 'why', ': ')}"


@dataclass(frozen=True, slots=True)
class WatchEnded(AuditEvent):
    """... and stopped, or the session ended"""

    event: ClassVar[str] = "watch_ended"

    who: Who
    who_uid: int
    seconds: float
    dropped: Annotated[int, "blocks that were not shown, because the watcher was too slow"] = 0
    person: Person = ""

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{_who(line)} watched for {line.get('seconds', '?')} s"

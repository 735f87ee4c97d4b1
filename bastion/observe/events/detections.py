"""Events of detections: what was found in the log itself, and what of it nobody wants to be told (L0, pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from bastion.errors import Detection
from bastion.observe.events.base import AuditEvent, Line, of


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected(AuditEvent):
    """a detection found something that somebody should look at ([detections.md](detections.md)); no detection looks at
    these lines"""

    event: ClassVar[str] = "detection"
    about: ClassVar[tuple[str, ...]] = ("user", "target")

    finding: Annotated[str, "its name: `bastion alerts explain`"]
    kind: Detection
    level: Annotated[str, "`alert`, `notice`"]
    seen_at: Annotated[str, "when the line was written that showed it"]
    expected: str
    came: str
    sessions: Annotated[tuple[str, ...], "or connections, oldest first"]
    muted: Annotated[str, "the mute that covers it: it is posted to nobody"] = ""

    @staticmethod
    def sentence(line: Line) -> str:
        muted = of(line, "muted", " (muted by ", ")")
        who = of(line, "user", " about ")
        kind, level = line.get("kind", "?"), line.get("level", "finding")
        return f"{kind}, {level} {line.get('finding', '?')}{who}{muted}{of(line, 'came', ': ')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionMuted(AuditEvent):
    """somebody does not want to be told of some findings for a while; the line stands before it is so"""

    event: ClassVar[str] = "detection_muted"

    by: Annotated[str, "the account that ran the command"]
    mute: Annotated[str, "its name"]
    reason: str
    until: str
    kind: Annotated[Detection | None, "of this detection alone"] = None
    user: Annotated[str, "about this person alone"] = ""
    target: Annotated[str, "of this target alone"] = ""

    @staticmethod
    def sentence(line: Line) -> str:
        what = of(line, "kind", " of ") + of(line, "user", " about ") + of(line, "target", " on ")
        return f"{line.get('by', '?')} muted findings{what}{of(line, 'until', ' until ')}{of(line, 'reason', ': ')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionUnmuted(AuditEvent):
    """they are told again"""

    event: ClassVar[str] = "detection_unmuted"

    by: str
    mute: str
    reason: str

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{line.get('by', '?')} took away the mute {line.get('mute', '?')}{of(line, 'reason', ': ')}"

"""What a detection tells (L1, pure): it explains itself, and has the same name whenever the same lines are read."""

from __future__ import annotations

from base64 import b32encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from bastion.errors import Detection

ID_LENGTH: Final = 8
MOST_SESSIONS: Final = 16  # that one finding names


@dataclass(frozen=True, slots=True)
class Draft:
    """What one detection says of one line. Of a person and a kind each `key` is told once a day; `quiet`: a notice
    whatever the settings say; `target`: of one target, or of the host that a tunnel led to; `also`: other detections
    without which it would be no alert."""

    kind: Detection
    key: str
    expected: str
    came: str
    sessions: tuple[str, ...]
    quiet: bool = False
    target: str = ""
    also: tuple[Detection, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at. `at` in seconds since 1970, `user` "" where it is nobody's, `level` `alert` or `notice`,
    `sessions` the ids of sessions or connections, oldest first, `target` "" where it is of no single one, `also` as in
    `Draft`: for who is to be told, and nobody keeps it."""

    id: str
    kind: Detection
    level: str
    at: float
    user: str
    expected: str
    came: str
    sessions: tuple[str, ...]
    target: str = ""
    also: tuple[Detection, ...] = ()

    def document(self) -> dict[str, Any]:
        """As JSON has it, but for the time."""
        return {
            "id": self.id,
            "kind": self.kind.value,
            "level": self.level,
            "user": self.user,
            "target": self.target,
            "expected": self.expected,
            "came": self.came,
            "sessions": list(self.sessions),
        }


def finding(draft: Draft, level: str, at: float, user: str) -> Finding:
    """The draft with the name that the same lines always give it."""
    told = "\0".join((draft.kind, user, draft.key, f"{at:.3f}")).encode("utf-8", "surrogatepass")
    name = b32encode(sha256(told).digest()).decode().lower()[:ID_LENGTH]
    sessions = draft.sessions[-MOST_SESSIONS:]
    told_of = draft.expected, draft.came, sessions, draft.target, draft.also
    return Finding(name, draft.kind, level, at, user, *told_of)

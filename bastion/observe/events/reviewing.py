"""Events of reviewers (L0, pure): what they leave at a session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from bastion.observe.events.base import AuditEvent, Line, of

_SAID: Final = {
    "note": "left a note at the session",
    "mark": "marked the session as reviewed",
    "tag": "put a tag on the session",
    "untag": "took a tag off the session",
}


@dataclass(frozen=True, slots=True)
class SessionReviewed(AuditEvent):
    """a reviewer leaves something at a session, or takes a tag away; the line stands before it is so"""

    event: ClassVar[str] = "session_reviewed"
    about: ClassVar[tuple[str, ...]] = ("user", "source")

    left: Annotated[str, "`note`, `mark` (it was reviewed), `tag`, `untag`"]
    uid: Annotated[str, "the reviewer's id in the directory"]
    name: Annotated[str, "of the row in the state store, or the tag"]
    sha256: Annotated[str, "of the words, which stand in the store"] = ""
    token: Annotated[str, "the API token by which a program asked"] = ""

    @staticmethod
    def sentence(line: Line) -> str:
        said = _SAID.get(str(line.get("left")), "left something at the session")
        return f"{line.get('user', '?')} {said}{of(line, 'name', ' (', ')')}"


@dataclass(frozen=True, slots=True)
class SearchSaved(AuditEvent):
    """somebody has a search run every night, or no more, or it was stopped; the line stands before it is so"""

    event: ClassVar[str] = "search_saved"
    about: ClassVar[tuple[str, ...]] = ("user", "source")

    left: Annotated[str, "`saved`, `dropped`, `stopped`: its owner is gone"]
    uid: Annotated[str, "the id in the directory"]
    name: Annotated[str, "of the row in the state store"]
    asked: Annotated[str, "words and filters; of one that was stopped, why"] = ""
    token: Annotated[str, "the API token by which a program asked"] = ""

    @staticmethod
    def sentence(line: Line) -> str:
        if line.get("left") == "stopped":
            return f"a saved search of {line.get('user', '?')} was stopped{of(line, 'asked', ': ')}"
        return f"{line.get('user', '?')} {line.get('left', '?')} a search{of(line, 'asked', ': ')}"

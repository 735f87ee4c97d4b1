"""Recordings that two people want deleted, as they are asked about at the control socket, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from bastion.control.asking import NOBODY, By, Request


@dataclass(frozen=True, slots=True)
class DeletionRow:
    """One question. Times are seconds since the epoch; `state` is for people, `outcome` why the recording is there
    still."""

    id: str
    session: str
    state: str
    reason: str
    asked_by: str
    asked_at: float
    answered_by: str = ""
    answered_at: float | None = None
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class DeletionRows:
    """Newest first."""

    deletions: tuple[DeletionRow, ...]


@dataclass(frozen=True, slots=True)
class DeletionsAsked(Request[DeletionRows]):
    """Which recordings does somebody want deleted?"""

    command: ClassVar[str] = "deletions"
    result: ClassVar[type[Any]] = DeletionRows


@dataclass(frozen=True, slots=True)
class AskDeletion(Request[DeletionRow]):
    """Want the recording of `session` (an id or its beginning) deleted, as the identity that has the account's name;
    the proof is as of `AnswerRequest`, of `asking_words` with the whole id."""

    session: str
    why: str
    code: str = field(default="", repr=False)
    passkey: str = field(default="", repr=False)
    moment: int = 0
    by: By = NOBODY

    command: ClassVar[str] = "deletion_ask"
    result: ClassVar[type[Any]] = DeletionRow
    deadline: ClassVar[float | None] = 20.0


@dataclass(frozen=True, slots=True)
class AnswerDeletion(Request[DeletionRow]):
    """Agree to that, or keep the recording; likewise, of `answering_words`."""

    id: str
    yes: bool
    code: str = field(default="", repr=False)
    passkey: str = field(default="", repr=False)
    moment: int = 0
    by: By = NOBODY

    command: ClassVar[str] = "deletion_answer"
    result: ClassVar[type[Any]] = DeletionRow
    deadline: ClassVar[float | None] = 20.0


def asking_words(session: str) -> tuple[str, ...]:
    """What a passkey signs for a question."""
    return ("deletion", session, "ask")


def answering_words(deletion: str, yes: bool) -> tuple[str, ...]:
    """What a passkey signs for an answer."""
    return ("deletion", deletion, "agree" if yes else "keep")


DELETION_ORDERS: Final[tuple[type[Request[Any]], ...]] = (DeletionsAsked, AskDeletion, AnswerDeletion)

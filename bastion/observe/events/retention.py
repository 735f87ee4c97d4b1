"""Events of what is kept and what goes: deletions and holds (L0, pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from bastion.observe.events.base import AuditEvent, Line, of


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingDeleted(AuditEvent):
    """a recording is removed by the rules of retention, or because two people want it; the line stands before the file
    goes"""

    event: ClassVar[str] = "recording_deleted"

    by: Annotated[str, "the account that ran the command"]
    why: Annotated[
        str, "the rule: `age`, `size`, `label env=prod`, `user alice`; `people ada, bob`: two who wanted it"
    ]
    user: str
    target: str
    size: int
    sha256: Annotated[str, "of the whole file"]

    @staticmethod
    def sentence(line: Line) -> str:
        return (
            f"{line.get('by', '?')} removed the recording by rule {line.get('why', '?')}: {line.get('size', '?')} bytes"
            f"{of(line, 'sha256', ', SHA-256 ')}"
        )


@dataclass(frozen=True, slots=True)
class DeletionRefused(AuditEvent):
    """the bucket did not let a recording go that was to be removed: it is there as before"""

    event: ClassVar[str] = "recording_deletion_refused"

    by: str
    text: Annotated[str, "what the bucket said"]

    @staticmethod
    def sentence(line: Line) -> str:
        return f"the bucket kept the recording that {line.get('by', '?')} wanted to remove{of(line, 'text', ': ')}"


@dataclass(frozen=True, slots=True)
class HoldPlaced(AuditEvent):
    """a recording is held: nothing deletes it"""

    event: ClassVar[str] = "hold_placed"
    about: ClassVar[tuple[str, ...]] = ("source",)

    by: str
    reason: str
    token: Annotated[str, "the API token by which a program asked"] = ""

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{line.get('by', '?')} put a hold on the recording{of(line, 'reason', ': ')}"


@dataclass(frozen=True, slots=True)
class HoldRemoved(AuditEvent):
    """it is held no longer"""

    event: ClassVar[str] = "hold_removed"
    about: ClassVar[tuple[str, ...]] = ("source",)

    by: str
    reason: str
    asked_by: Annotated[str, "who asked for it, where it was lifted in the console: two people do that"] = ""

    @staticmethod
    def sentence(line: Line) -> str:
        asked = of(line, "asked_by", " as ", " had asked")
        return f"{line.get('by', '?')} took the hold off the recording{asked}{of(line, 'reason', ': ')}"


@dataclass(frozen=True, slots=True)
class HoldLiftAsked(AuditEvent):
    """somebody asked in the review console that a hold be lifted: somebody else has to agree"""

    event: ClassVar[str] = "hold_lift_asked"
    about: ClassVar[tuple[str, ...]] = ("source",)

    by: str
    reason: str
    lift: Annotated[str, "the name of the question"]

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{line.get('by', '?')} asked to take the hold off the recording{of(line, 'reason', ': ')}"


@dataclass(frozen=True, slots=True)
class HoldLiftRefused(AuditEvent):
    """somebody said no to that, or took the question back: the hold stays"""

    event: ClassVar[str] = "hold_lift_refused"
    about: ClassVar[tuple[str, ...]] = ("source",)

    by: str
    lift: str
    asked_by: str

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{line.get('by', '?')} kept the hold that {line.get('asked_by', '?')} wanted to lift"


@dataclass(frozen=True, slots=True)
class DeletionAsked(AuditEvent):
    """somebody wants a recording deleted: somebody else has to agree"""

    event: ClassVar[str] = "deletion_asked"

    by: str
    reason: str
    deletion: Annotated[str, "the name of the question"]
    factor: Annotated[str, "what the gateway had as a proof of whoever asked: `totp`, `passkey`"]
    who: Annotated[str, "the account of the machine that spoke for him"]

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{line.get('by', '?')} asked to delete the recording{of(line, 'reason', ': ')}"


@dataclass(frozen=True, slots=True)
class DeletionAgreed(AuditEvent):
    """somebody else agreed to that: `bastion prune` removes it, unless a hold is placed before"""

    event: ClassVar[str] = "deletion_agreed"

    by: str
    asked_by: str
    reason: str
    deletion: str
    factor: str
    who: str

    @staticmethod
    def sentence(line: Line) -> str:
        asked = of(line, "asked_by", " as ", " had asked")
        return f"{line.get('by', '?')} agreed to delete the recording{asked}{of(line, 'reason', ': ')}"


@dataclass(frozen=True, slots=True)
class DeletionStopped(AuditEvent):
    """somebody said no to that, before or after it was agreed to, or took the question back: the recording stays"""

    event: ClassVar[str] = "deletion_stopped"

    by: str
    asked_by: str
    reason: str
    deletion: str
    factor: str
    who: str

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{line.get('by', '?')} kept the recording that {line.get('asked_by', '?')} wanted to delete"


@dataclass(frozen=True, slots=True)
class DeletionNotDone(AuditEvent):
    """what was agreed to is not carried out: the row is not one of two people, or the recording is held"""

    event: ClassVar[str] = "deletion_not_done"

    by: Annotated[str, "the account that ran the command"]
    deletion: str
    text: str

    @staticmethod
    def sentence(line: Line) -> str:
        return f"the recording was not deleted though that was agreed to{of(line, 'text', ': ')}"

"""What a gateway can be told, as values: locks, penalties, the log's level; and to let somebody watch a session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, ClassVar, Final

from bastion.control.account_id import IdAsked
from bastion.control.approvals import APPROVAL_ORDERS
from bastion.control.asking import NOBODY, By, Ended, Request, ended_together
from bastion.control.deletion import DELETION_ORDERS
from bastion.control.glass import GLASS_ORDERS
from bastion.control.penalty_orders import MOST_PENALTIES as MOST_PENALTIES
from bastion.control.penalty_orders import ClearPenalties as ClearPenalties
from bastion.control.penalty_orders import PenaltiesAsked as PenaltiesAsked
from bastion.control.penalty_orders import Penalty as Penalty
from bastion.control.penalty_orders import PenaltyList as PenaltyList
from bastion.control.penalty_orders import SharePenalties
from bastion.policy.locks import Lock, LockKind

# -- locks -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SetLocks(Request[Ended]):
    """From now on these locks and no others are in force: what runs and meets one ends. Asked of processes only."""

    locks: tuple[Lock, ...]

    command: ClassVar[str] = "set_locks"
    result: ClassVar[type[Any]] = Ended

    def older(self) -> SetLocks | None:
        """By names only: it locks too many there rather than too few."""
        if not any(lock.uid for lock in self.locks):
            return None
        return SetLocks(tuple(replace(lock, uid="") for lock in self.locks))

    @classmethod
    def merged(cls, answers: Sequence[Ended]) -> Ended:
        return ended_together(answers)

    @classmethod
    def unanswered(cls, node: str) -> Ended:
        return Ended(silent=(node,))


@dataclass(frozen=True, slots=True)
class LockMade(Ended):
    """What a lock has ended; of a user: the account's id, or why the lock is on the name."""

    uid: str = ""
    on_name: str = ""


@dataclass(frozen=True, slots=True)
class AddLock(Request[LockMade]):
    """Lock `value`, for `seconds` or until it is unlocked. The answer is what that has ended."""

    kind: LockKind
    value: str
    reason: str
    seconds: float | None = None
    by: By = NOBODY

    command: ClassVar[str] = "lock"
    result: ClassVar[type[Any]] = LockMade


@dataclass(frozen=True, slots=True)
class Locks:
    """What is locked, oldest first; or was unlocked. `silent` are nodes that have not said that they know of it."""

    locks: tuple[Lock, ...]
    silent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RemoveLock(Request[Locks]):
    """Unlock `value`; without a kind whatever it is. The answer is what was unlocked. `made_at`: the lock that was made
    then and no other, for whoever was shown it."""

    value: str
    kind: LockKind | None = None
    reason: str = ""
    by: By = NOBODY
    made_at: float = field(default=0.0, metadata={"left_out": True})

    command: ClassVar[str] = "unlock"
    result: ClassVar[type[Any]] = Locks


@dataclass(frozen=True, slots=True)
class LocksAsked(Request[Locks]):
    """What is locked?"""

    command: ClassVar[str] = "locks"
    result: ClassVar[type[Any]] = Locks


@dataclass(frozen=True, slots=True)
class KeptLocks(Request[Locks]):
    """What locks are kept in the store? Asked of one process, at the start."""

    command: ClassVar[str] = "kept_locks"
    result: ClassVar[type[Any]] = Locks


@dataclass(frozen=True, slots=True)
class KeepLock(Request[Locks]):
    """Keep a lock in the store, in the place of an earlier one of the same; or no more. Asked of one process."""

    lock: Lock
    gone: bool = False

    command: ClassVar[str] = "keep_lock"
    result: ClassVar[type[Any]] = Locks

    def older(self) -> KeepLock | None:
        return KeepLock(replace(self.lock, uid=""), self.gone) if self.lock.uid else None


# -- another version ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HandedTo:
    """The process that is the gateway from now on; or why there is none but the one that was asked, in `fault`."""

    version: str = ""
    pid: int = 0
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Upgrade(Request[HandedTo]):
    """Start the program again from the path that it was started from, and hand over to it."""

    by: By = NOBODY

    command: ClassVar[str] = "upgrade"
    result: ClassVar[type[Any]] = HandedTo
    deadline: ClassVar[float | None] = 60.0


# -- the operator's log ------------------------------------------------------------------------------------------------


class LogLevel(StrEnum):
    """What the operator's log tells, the quietest last."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class LevelSet:
    """The level in force now, and before."""

    level: LogLevel
    before: LogLevel


@dataclass(frozen=True, slots=True)
class SetLogLevel(Request[LevelSet]):
    """Tell less or more, until the next start."""

    level: LogLevel
    by: By = NOBODY

    command: ClassVar[str] = "log_level"
    result: ClassVar[type[Any]] = LevelSet

    @classmethod
    def merged(cls, answers: Sequence[LevelSet]) -> LevelSet:
        return answers[0]


# -- watching --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Watched:
    """How watching ended: of the session, or "" when the watcher left."""

    reason: str
    text: str
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class WatchSession(Request[Watched]):
    """Show a session as it happens, in events (`watching`). The answer comes when it is over."""

    id: str
    reason: str = ""
    by: By = NOBODY

    command: ClassVar[str] = "watch"
    result: ClassVar[type[Any]] = Watched
    deadline: ClassVar[float | None] = None

    def older(self) -> WatchSession | None:
        return replace(self, by=self.by.alone) if self.by.person else None


# -- second factors --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A second factor that was made, shown this once: `uri` is what an app reads, `recovery` stand in for it."""

    name: str
    uid: str
    uri: str
    recovery: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EnrolTotp(Request[Enrolment]):
    """Make a second factor for somebody who has none."""

    name: str
    by: By = NOBODY

    command: ClassVar[str] = "totp_enrol"
    result: ClassVar[type[Any]] = Enrolment


@dataclass(frozen=True, slots=True)
class Invitation:
    """A code with which somebody may make a second factor, shown this once; good until `until`, in seconds since the
    epoch."""

    name: str
    uid: str
    code: str
    until: float


@dataclass(frozen=True, slots=True)
class InviteTotp(Request[Invitation]):
    """Let somebody who has no second factor make one. Nobody invites himself."""

    name: str
    by: By = NOBODY

    command: ClassVar[str] = "totp_invite"
    result: ClassVar[type[Any]] = Invitation


@dataclass(frozen=True, slots=True)
class TotpHolder:
    """Who has a second factor; `recovery` codes are left."""

    name: str
    uid: str
    made_at: float
    made_by: str
    recovery: int = 0


@dataclass(frozen=True, slots=True)
class TotpHolders:
    """By name."""

    holders: tuple[TotpHolder, ...]


@dataclass(frozen=True, slots=True)
class TotpAsked(Request[TotpHolders]):
    """Who has a second factor?"""

    command: ClassVar[str] = "totp_list"
    result: ClassVar[type[Any]] = TotpHolders


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate that somebody was issued who had logged in. `serial` is text, since it may have 63 bits; `key` is
    the fingerprint of the key that it is for. Times are seconds since the epoch."""

    name: str
    uid: str
    serial: str
    ca: str
    key: str
    key_id: str
    factors: tuple[str, ...]
    proved_at: float
    issued_at: float
    ends_at: float
    source: str

    @property
    def lock(self) -> str:
        """What a lock on it is called."""
        return f"{self.serial}@{self.ca}"


@dataclass(frozen=True, slots=True)
class IssuedCertificates:
    """The newest first."""

    certificates: tuple[IssuedCertificate, ...]


@dataclass(frozen=True, slots=True)
class CertificatesAsked(Request[IssuedCertificates]):
    """Which certificates were issued? Those that are valid, of `name` when there is one; `ended`: others too."""

    name: str = ""
    ended: bool = False

    command: ClassVar[str] = "certificates"
    result: ClassVar[type[Any]] = IssuedCertificates


@dataclass(frozen=True, slots=True)
class HeldKey:
    """One key or certificate that somebody may log in with. `kind`: `key` of the directory, `certificate` that was
    issued here, `used`: a key that the account does not have (now). Times are seconds since the epoch."""

    kind: str
    source: str
    key: str
    type: str = ""
    bits: int = 0
    options: str = ""
    ends_at: float | None = None
    first_used: float | None = None
    last_used: float | None = None
    sessions: int = 0


@dataclass(frozen=True, slots=True)
class HeldKeys:
    """Of one account."""

    name: str
    uid: str
    keys: tuple[HeldKey, ...]
    key_age: float = 0.0  # `login.key_age`, seconds


@dataclass(frozen=True, slots=True)
class KeysOfAsked(Request[HeldKeys]):
    """What may somebody log in with?"""

    name: str

    command: ClassVar[str] = "keys_of"
    result: ClassVar[type[Any]] = HeldKeys


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many second factors were taken away, and the valid certificates of whom they were, `name`."""

    all: int
    certificates: tuple[IssuedCertificate, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class ResetTotp(Request[Forgotten]):
    """Take somebody's second factor away, with its recovery codes."""

    name: str
    reason: str
    by: By = NOBODY

    command: ClassVar[str] = "totp_reset"
    result: ClassVar[type[Any]] = Forgotten


ORDERS: Final[tuple[type[Request[Any]], ...]] = (
    SetLocks,
    AddLock,
    RemoveLock,
    LocksAsked,
    KeptLocks,
    KeepLock,
    IdAsked,
    PenaltiesAsked,
    ClearPenalties,
    SharePenalties,
    SetLogLevel,
    WatchSession,
    Upgrade,
    EnrolTotp,
    InviteTotp,
    TotpAsked,
    ResetTotp,
    CertificatesAsked,
    KeysOfAsked,
    *APPROVAL_ORDERS,
    *DELETION_ORDERS,
    *GLASS_ORDERS,
)

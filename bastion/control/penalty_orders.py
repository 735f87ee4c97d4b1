"""Penalties for failed logins, as people ask for them and forget them; and as gateways share them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from bastion.auth.penalty_claims import BATCH, Claim
from bastion.control.asking import NOBODY, By, Request


@dataclass(frozen=True, slots=True)
class Penalty:
    """Who must wait: a source, or an account from a source; `left` is in seconds, `failures` what it is for. `nodes`:
    the gateways that say so, where there are several."""

    source: str
    account: str
    left: float
    failures: int
    nodes: tuple[str, ...] = field(default=(), metadata={"left_out": True})


@dataclass(frozen=True, slots=True)
class PenaltyList:
    """Who must wait now, longest first; at most MOST_PENALTIES of `all`."""

    penalties: tuple[Penalty, ...]
    all: int


MOST_PENALTIES: Final = 1000


def _penalties(answers: Sequence[PenaltyList]) -> PenaltyList:
    rows = sorted((one for answer in answers for one in answer.penalties), key=lambda one: -one.left)
    return PenaltyList(tuple(rows[:MOST_PENALTIES]), sum(answer.all for answer in answers))


@dataclass(frozen=True, slots=True)
class PenaltiesAsked(Request[PenaltyList]):
    """Who must wait?"""

    command: ClassVar[str] = "penalties"
    result: ClassVar[type[Any]] = PenaltyList

    @classmethod
    def merged(cls, answers: Sequence[PenaltyList]) -> PenaltyList:
        return _penalties(answers)


@dataclass(frozen=True, slots=True)
class ClearPenalties(Request[PenaltyList]):
    """Forget the failures of a source, of an account, of an account from a source; of everybody when both are empty.
    The answer is what was forgotten."""

    source: str = ""
    account: str = ""
    reason: str = ""
    by: By = NOBODY

    command: ClassVar[str] = "clear_penalties"
    result: ClassVar[type[Any]] = PenaltyList

    @classmethod
    def merged(cls, answers: Sequence[PenaltyList]) -> PenaltyList:
        return _penalties(answers)


# -- among gateways --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seen:
    """Up to which revision the claims of `node` are known."""

    node: str
    revision: int


@dataclass(frozen=True, slots=True)
class Told:
    """What is new of `node`."""

    node: str
    claims: tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class PenaltiesShared:
    """The key of the digests (hex, "" while there is none), and what is new of others."""

    key: str
    told: tuple[Told, ...]


@dataclass(frozen=True, slots=True)
class SharePenalties(Request[PenaltiesShared]):
    """`node` claims these; what do those claim of whom so much was `seen`? Asked of one process, which has the store.
    `key` is what digests are keyed with here: it becomes everybody's where there is none. `sweep`: remove what is over,
    too."""

    node: str
    key: str
    claims: tuple[Claim, ...] = field(metadata={"most": BATCH})
    seen: tuple[Seen, ...]
    sweep: bool = False

    command: ClassVar[str] = "share_penalties"
    result: ClassVar[type[Any]] = PenaltiesShared
    deadline: ClassVar[float | None] = 20.0

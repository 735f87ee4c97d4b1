"""Proving at a gateway who somebody is, as values: a one-time code, for a program that has no key of second factors;
and what a passkey signs for one answer and no other."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from bastion.control.asking import Request
from bastion.errors import AuthReason


@dataclass(frozen=True, slots=True)
class CodeUsed:
    """What came of it: `reason` is an AuthReason, `ok` when the code was right and is used up."""

    reason: str = AuthReason.OK
    recovery: bool = False


@dataclass(frozen=True, slots=True)
class UseCode(Request[CodeUsed]):
    """Use up what somebody typed, who is `uid` in the directory and comes from `source`, to which guesses are
    charged."""

    uid: str
    source: str
    code: str = field(default="", repr=False)

    command: ClassVar[str] = "code_use"
    result: ClassVar[type[Any]] = CodeUsed


LIFE: Final = 300
"""Seconds in which what a passkey has signed is good: somebody looks for a security key."""

AHEAD: Final = 30
"""Seconds that the clock of whoever asked the passkey may be ahead."""


def challenge_of(uid: str, moment: int, *about: str) -> bytes:
    """What a passkey of `uid` signs, asked at `moment` (seconds since the epoch), for exactly what `about` says. The
    gateway makes it again of what it is told, so a signature is good for nothing else."""
    words = ["bastion answer", uid, str(moment), *about]
    return hashlib.sha256(json.dumps(words).encode()).digest()


def is_timely(moment: int, now: float) -> bool:
    """Was the passkey asked within the last minutes?"""
    return -AHEAD <= now - moment <= LIFE


PROVING: Final[tuple[type[Request[Any]], ...]] = (UseCode,)

"""Proving a one-time code at a gateway, for a program that has no key of second factors, as values."""

from __future__ import annotations

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


PROVING: Final[tuple[type[Request[Any]], ...]] = (UseCode,)

"""Whose a name is: the question of a lock to a process that knows the directory (L3).

What asks and what passes the question on is in the supervisor too, which loads no directory: `control.directory_id`
answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bastion.control.asking import Request

NO_ANSWER = "the directory does not answer"


@dataclass(frozen=True, slots=True)
class AccountId:
    """The immutable id of an account; "" where none is known now, and `why`."""

    uid: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class IdAsked(Request[AccountId]):
    """Whose name is it? Asked of one process."""

    name: str

    command: ClassVar[str] = "account_id"
    result: ClassVar[type[Any]] = AccountId

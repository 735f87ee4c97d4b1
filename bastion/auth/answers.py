"""What the directory said of a name a moment ago (L1, pure): so that asking again costs it nothing.

Invariants: an answer is used for `seconds` from when it was given and not a moment longer, a "no" like a "yes";
memory is bounded by count and by bytes, and the oldest answer goes first. Nothing about a password comes here.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from bastion.auth.identity import Account
from bastion.clock import Clock
from bastion.errors import AuthReason, Refused

MAX_ANSWERS: Final = 4096
MAX_BYTES: Final = 8 << 20
"""Keys and group names of all answers. One account has 64 keys of 8 KiB at most, and typically 2 KiB in all."""

ENTRY_BYTES: Final = 512
"""What an answer takes besides: its objects and its name."""

KEPT: Final = frozenset(
    (
        AuthReason.UNKNOWN_USER,
        AuthReason.AMBIGUOUS_USER,
        AuthReason.ACCOUNT_LOCKED,
        AuthReason.ACCOUNT_EXPIRED,
        AuthReason.PASSWORD_MUST_CHANGE,
    )
)
"""Refusals that are the directory's word on a name. That it could not be asked is none."""

Answer = Account | Refused


@dataclass(frozen=True, slots=True)
class _Kept:
    until: float
    answer: Account | tuple[AuthReason, str]
    size: int


class Answers:
    """Answers by name, each for `seconds`. 0: none is kept."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, name: str) -> Answer | None:
        """The answer that still counts. A refusal is a new one each time: exceptions gather tracebacks."""
        kept = self._kept.get(name)
        if kept is None:
            return None
        if self._clock.monotonic() >= kept.until:
            self._drop(name)
            return None
        return Refused(*kept.answer) if isinstance(kept.answer, tuple) else kept.answer

    def keep(self, name: str, answer: Answer) -> None:
        """Remember it, unless it is no answer of the directory's."""
        self._drop(name)
        if not self._seconds:
            return
        if isinstance(answer, Refused):
            if not isinstance(answer.reason, AuthReason) or answer.reason not in KEPT:
                return
            kept = _Kept(self._clock.monotonic() + self._seconds, (answer.reason, answer.text), ENTRY_BYTES)
        else:
            kept = _Kept(self._clock.monotonic() + self._seconds, answer, _size(answer))
        self._kept[name] = kept
        self.size += kept.size
        while len(self._kept) > MAX_ANSWERS or self.size > MAX_BYTES:
            self._drop(next(iter(self._kept)))

    def clear(self) -> None:
        self._kept.clear()
        self.size = 0

    def _drop(self, name: str) -> None:
        gone = self._kept.pop(name, None)
        if gone is not None:
            self.size -= gone.size


def _size(account: Account) -> int:
    """Bytes that grow with what the directory says; a key is counted four times, with its parsed numbers."""
    keys = sum(ENTRY_BYTES + 4 * len(key.key.blob) for key in account.keys)
    return ENTRY_BYTES + keys + sum(100 + 2 * len(group) for group in account.groups)

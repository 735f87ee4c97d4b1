"""What a session's notes and audit lines are paid with: the engineer's purse, and for a target an allowance of its own.

A hostile target must not use up what the engineer has for other sessions. What it can cause by itself (exit-status,
unknown requests) is bounded by session instead; channels that it opens were asked for and are the engineer's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bastion.auth.budget import Budget, Work
from bastion.errors import Refused
from bastion.sides import Side

LINE_BYTES: Final = 350
"""Bytes of one line about a channel or a request, with the longest host of the field; at most 1.8 KiB."""

TARGET_BURST: Final = 256 * 1024
"""Bytes of notes and lines that a target may cause by its own requests at once: 500 of them."""

TARGET_RATE: Final = 16 * 1024
"""... and per second after that: 30 requests a second that go through, 20 that are refused. A target sends one or two a
channel; what it may put into the recording as data is 64 times as much."""


class SessionPayer:
    """One session's `relay.paying.Payer`."""

    __slots__ = ("_at", "_budget", "_level", "_name", "_seconds")

    def __init__(self, budget: Budget, name: str, seconds: Callable[[], float]) -> None:
        """`name` is the identity; `seconds` a clock that never goes back."""
        self._budget = budget
        self._name = name
        self._seconds = seconds
        self._level = self._at = 0.0

    def pay(self, side: Side, notes: int, lines: int) -> bool:
        if side is Side.TARGET:
            return self._pay_target(notes + lines * LINE_BYTES)
        purse = self._budget.identity(self._name)
        try:
            purse.spend(Work.NOTES, notes)
            if lines:
                purse.spend(Work.LOG, lines * LINE_BYTES)
        except Refused:
            return False
        return True

    def _pay_target(self, size: int) -> bool:
        now = self._seconds()
        self._level = max(0.0, self._level - max(0.0, now - self._at) * TARGET_RATE)
        self._at = now
        if self._level + size > TARGET_BURST:
            return False
        self._level += size
        return True

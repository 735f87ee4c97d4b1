"""How many bytes of running recordings one session and one person may have: who is greedy ends before the disk is full.

Invariant: what a session wrote is counted from its first block until its end and no longer. Over several workers it is
counted in whole `UNIT`s, so one person may pass the limit by a unit for each worker; by name as in `sharing.rows`.
"""

from __future__ import annotations

from typing import Final

from bastion.sharing.rows import ALONE, Elsewhere

UNIT: Final = 1 << 20
"""Bytes in which workers tell each other: a name's count is a word of 32 bits, so 2 PiB in all."""


class Written:
    """Bytes of the running recordings of each person: exact in this process, in units elsewhere."""

    def __init__(self, others: Elsewhere = ALONE) -> None:
        self._others = others
        self._bytes: dict[str, int] = {}
        self._elsewhere: dict[str, int] = {}  # as seen when a unit was passed last

    def add(self, user: str, size: int) -> None:
        """More of somebody's recordings, or less when a session is over."""
        before = self._bytes.get(user, 0)
        now = before + size
        units = now // UNIT - before // UNIT
        if units:
            self._others.add_name(_name(user), units)
            self._elsewhere[user] = self._others.elsewhere_of(_name(user)) * UNIT
        if now:
            self._bytes[user] = now
        else:
            self._bytes.pop(user, None)
            self._elsewhere.pop(user, None)

    def of(self, user: str) -> int:
        """All of somebody's."""
        return self._bytes.get(user, 0) + self._elsewhere.get(user, 0)


def _name(user: str) -> str:
    return f"recorded by {user}"


class Allowance:
    """One session's part of it. Limits in bytes; 0 is none."""

    __slots__ = ("_of_session", "_of_user", "_user", "_written", "_written_by_all")

    def __init__(self, written: Written, user: str, of_session: int, of_user: int) -> None:
        self._written_by_all, self._user = written, user
        self._of_session, self._of_user = of_session, of_user
        self._written = 0

    def took(self, size: int) -> None:
        """The recording has grown."""
        self._written += size
        self._written_by_all.add(self._user, size)

    @property
    def spent(self) -> str:
        """What the engineer is told once it is used up, "" before."""
        if self._of_session and self._written > self._of_session:
            return f"the session has ended: its recording has reached the limit of {_size(self._of_session)}"
        if self._of_user and self._written_by_all.of(self._user) > self._of_user:
            words = "the recordings of your running sessions together have reached the limit of"
            return f"the session has ended: {words} {_size(self._of_user)}"
        return ""

    def release(self) -> None:
        """The session is over, and its recording counts no more."""
        size, self._written = self._written, 0
        self._written_by_all.add(self._user, -size)


def _size(size: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} bytes"

"""How many sessions each person has, over all workers: what a rule's `max_sessions` is compared with.

Invariant: a session is counted in before the others are looked at, and out when its place is given back; of two that
come at once at least one sees the other, so the limit is never exceeded. By name as in `sharing.rows`.
"""

from __future__ import annotations

from bastion.errors import LimitReason, Refused
from bastion.sharing.rows import ALONE, Elsewhere


class PersonalSessions:
    """Sessions that are open or being opened, by whose they are (the immutable id)."""

    def __init__(self, others: Elsewhere = ALONE) -> None:
        self._others = others
        self._counts: dict[str, int] = {}
        self._whose: dict[str, str] = {}

    def take(self, session: str, person: str, most: int | None) -> None:
        """One more of that person. Raises Refused(USER_SESSIONS) when it would be more than `most`."""
        self._others.add_name(_name(person), 1)
        here = self._counts.get(person, 0)
        if most is not None and here + self._others.elsewhere_of(_name(person)) >= most:
            self._others.add_name(_name(person), -1)
            what = "session" if most == 1 else "sessions"
            raise Refused(
                LimitReason.USER_SESSIONS, f"you may have {most} {what} at a time there: end one first"
            )
        self._counts[person] = here + 1
        self._whose[session] = person

    def give(self, session: str) -> None:
        """It is over, or will not be. One that was not counted is passed over."""
        person = self._whose.pop(session, None)
        if person is None:
            return
        self._others.add_name(_name(person), -1)
        self._counts[person] -= 1
        if not self._counts[person]:
            del self._counts[person]


def _name(person: str) -> str:
    return f"sessions of {person}"

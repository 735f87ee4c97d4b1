"""The sessions that are open now, by id, and what each was opened with where that may be withdrawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bastion.auth.identity import Identity
from bastion.policy.grant import Grant
from bastion.session.session import Session


class Right(NamedTuple):
    """What one session was opened with; kept for sessions that a rule wants to end when it is withdrawn."""

    identity: Identity
    target: str
    login: str


def right_of(grant: Grant, identity: Identity) -> Right | None:
    """What is to be asked again about a session of this grant, None when no rule asks for it."""
    return Right(identity, grant.target.name, grant.login) if grant.end_withdrawn else None


class LiveSessions:
    """A table with one invariant: a session is in it exactly from its start to its end."""

    def __init__(self) -> None:
        self._by_id: dict[str, Session] = {}
        self._rights: dict[str, Right] = {}

    def add(self, session: Session, right: Right | None = None) -> None:
        """`right` is what a session is to be asked about again."""
        self._by_id[session.session_id] = session
        if right is not None:
            self._rights[session.session_id] = right

    def remove(self, session: Session) -> None:
        self._by_id.pop(session.session_id, None)
        self._rights.pop(session.session_id, None)

    def rights(self) -> list[tuple[Session, Right]]:
        """The sessions that end when their rights are withdrawn, and with what they were opened."""
        return [(self._by_id[session_id], right) for session_id, right in self._rights.items()]

    def find(self, session_id: str) -> Session | None:
        return self._by_id.get(session_id)

    def __iter__(self) -> Iterator[Session]:
        """A copy, so that ending one while walking is fine."""
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

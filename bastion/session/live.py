"""The sessions that are open now, by id."""

from __future__ import annotations

from collections.abc import Iterator

from bastion.session.session import Session
from bastion.session.standing import Right


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

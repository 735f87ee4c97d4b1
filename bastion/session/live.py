"""The sessions that are open now, by id."""

from __future__ import annotations

from collections.abc import Iterator

from bastion.session.session import Session


class LiveSessions:
    """A table with one invariant: a session is in it exactly from its start to its end."""

    def __init__(self) -> None:
        self._by_id: dict[str, Session] = {}

    def add(self, session: Session) -> None:
        self._by_id[session.session_id] = session

    def remove(self, session: Session) -> None:
        self._by_id.pop(session.session_id, None)

    def find(self, session_id: str) -> Session | None:
        return self._by_id.get(session_id)

    def __iter__(self) -> Iterator[Session]:
        """A copy, so that ending one while walking is fine."""
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

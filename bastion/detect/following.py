"""Which session and connection is whose (L1, pure): most lines of a session name nobody but the session."""

from __future__ import annotations

from typing import Final

from bastion.detect.seen import word
from bastion.observe.events.base import Line

MOST_FOLLOWED: Final = 65_536  # sessions and connections at the same time; beyond it the oldest are nobody's

_ENDS: Final = {"session_ended": "session", "outer_ended": "connection"}


class Following:
    """Session or connection -> user, in `users`. What ended is dropped, after the line that says so."""

    def __init__(self) -> None:
        self.users: dict[str, str] = {}
        self._ended = ""

    def user(self, line: Line) -> str:
        """Whose line it is, "" when that was never said."""
        self.users.pop(self._ended, None)
        self._ended = ""
        names = [name for key in ("session", "connection") if (name := word(line, key))]
        # Of a login through the direct door the log has what was typed: IDENTITY+LOGIN+TARGET.
        user = word(line, "user").partition("+")[0]
        if user and line.get("event") in (
            "auth",
            "session_started",
            "outer_started",
            "tunnel_opened",
            "jump",
        ):
            if line.get("event") != "auth" or line.get("result") == "ok":
                self._follow(names, user)
        elif not user:
            user = next((self.users[name] for name in names if name in self.users), "")
        ending = _ENDS.get(word(line, "event"))
        if ending:
            self._ended = word(line, ending)
        return user

    def running(self) -> dict[str, str]:
        """Of those that have not ended."""
        return {name: user for name, user in self.users.items() if name != self._ended}

    def _follow(self, names: list[str], user: str) -> None:
        for name in names:
            self.users.pop(name, None)
            self.users[name] = user
        while len(self.users) > MOST_FOLLOWED:
            del self.users[next(iter(self.users))]

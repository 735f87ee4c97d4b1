"""Break-glass accounts: for the hour in which the directory is down, and for nothing else (L2).

They stand in the embedded file, without a password, and are closed. They are open while every LDAP server has failed
for a stated time, and after an admin has said so (`bastion break-glass open`), for as long as was said, restarts
included (`state.openings`). What they prove is a chain of their own, whatever everybody else proves. Invariant: what is
not known to be open is closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bastion.auth.directory import Servers
from bastion.auth.factors import CODE, EMERGENCY, Chain
from bastion.clock import Clock

MAX_REASON: Final = 200
"""Characters of a reason, as of those of locks."""

DIRECTORY_DOWN: Final = "directory_down"
COMMAND: Final = "command"
"""What has opened them."""


@dataclass(frozen=True, slots=True)
class Opening:
    """An admin has opened them: until when (seconds since the epoch), why, and who."""

    until: float
    reason: str
    by: str


@dataclass(frozen=True, slots=True)
class BreakGlassRules:
    """Of the configuration: whose accounts they are, how long (seconds) all servers must have failed, and the chains of
    which one must be proved. Each has a key and a one-time code, which hangs on one of the `uids`."""

    names: frozenset[str] = frozenset()
    after: float = 0.0
    chains: tuple[Chain, ...] = EMERGENCY
    uids: frozenset[str] = frozenset()

    @property
    def key_chains(self) -> tuple[Chain, ...]:
        """What of them is proved before it is said whether the accounts are open: the code is asked for then."""
        keys = (tuple(factor for factor in chain if factor != CODE) for chain in self.chains)
        return tuple(dict.fromkeys(keys))


NO_BREAK_GLASS: Final = BreakGlassRules()


class BreakGlass:
    """What of it a process keeps across reloads."""

    __slots__ = ("_clock", "_opening")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._opening: Opening | None = None

    @property
    def opening(self) -> Opening | None:
        """What an admin has opened, while it lasts."""
        if self._opening is not None and self._clock.time() >= self._opening.until:
            self._opening = None
        return self._opening

    @opening.setter
    def opening(self, opening: Opening | None) -> None:
        self._opening = opening

    def opened_by(self, servers: Servers, after: float) -> str:
        """What has opened them: DIRECTORY_DOWN, COMMAND, or "" while they are closed."""
        if self.opening is not None:
            return COMMAND
        since = servers.down_since
        down = servers.all > 0 and not servers.healthy and since is not None
        return DIRECTORY_DOWN if down and self._clock.monotonic() - (since or 0.0) >= after else ""


def reason_in(answer: bytes) -> str:
    """The reason that somebody typed, fit for a log; "" for none."""
    typed = answer.decode("utf-8", "replace")
    text = " ".join("".join(each if each.isprintable() else " " for each in typed).split())[:MAX_REASON]
    return text if any(character.isalnum() for character in text) else ""

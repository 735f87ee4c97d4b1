"""Who is signed in (L4, pure): kept here, in memory, and nowhere in a browser.

A browser has a random id in a cookie; what is kept is its digest. Invariants: an id is made at a sign-in and never
taken from a browser; a visit ends by itself when nothing was asked for a while, and after a time whatever was asked;
how many there are is bounded, of one person too. A restart of the console signs everybody out.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from bastion.clock import Clock
from bastion.control.roles import Role
from bastion.errors import ConsoleReason

MOST_VISITS: Final = 1024
MOST_OF_ONE: Final = 8
"""Of one person; the oldest goes. All together some 600 KB."""

ID_BYTES: Final = 32
ID_LENGTH: Final = 43
"""Characters of ID_BYTES in base64 without padding."""


@dataclass(slots=True)
class Visit:
    """Somebody who has signed in. Times are monotonic seconds; `token` stands in the visit's own forms; `asked_at`:
    when the directory last said that the account is one; `proxied` is the name by which a proxy said who it is;
    `factors` are those that were proved, `shown` what a lock may name of them (`policy.locks.Party`). Of an API token
    `scope` is what it is for and `by_token` its id: such a visit is no browser's."""

    key: bytes
    name: str
    uid: str
    roles: frozenset[Role]
    source: str
    token: str
    began_at: float
    seen_at: float
    asked_at: float
    proxied: str = ""
    factors: tuple[str, ...] = ()
    scope: frozenset[str] | None = None
    by_token: str = ""
    opened: dict[str, float] = field(default_factory=dict)  # see `grants`
    shown: tuple[str, ...] = ()

    def has_token(self, token: str) -> bool:
        """Is that the token of this visit?"""
        return hmac.compare_digest(self.token.encode(), token.encode("utf-8", "replace"))


class Visits:
    """All visits of one console. `on_end(visit, reason)` hears of each that ends."""

    def __init__(
        self, clock: Clock, idle: float, lifetime: float, on_end: Callable[[Visit, ConsoleReason], None]
    ) -> None:
        """`idle` and `lifetime` are seconds."""
        self._clock, self._idle, self._lifetime, self._on_end = clock, idle, lifetime, on_end
        self._visits: OrderedDict[bytes, Visit] = OrderedDict()  # the oldest first
        self.begun = 0  # how many ever

    def __len__(self) -> int:
        return len(self._visits)

    def begin(
        self,
        name: str,
        uid: str,
        roles: frozenset[Role],
        source: str,
        proxied: str = "",
        factors: tuple[str, ...] = (),
        shown: tuple[str, ...] = (),
    ) -> tuple[str, Visit]:
        """A new visit, and the id for the browser's cookie."""
        self.sweep()
        made = secrets.token_urlsafe(ID_BYTES)
        now = self._clock.monotonic()
        token = secrets.token_urlsafe(ID_BYTES)
        visit = Visit(
            _key(made), name, uid, roles, source, token, now, now, now, proxied, factors, shown=shown
        )
        same = [one for one in self._visits.values() if one.uid == uid and one.name == name]
        if len(same) >= MOST_OF_ONE:
            self.end(same[0], ConsoleReason.TOO_MANY)
        elif len(self._visits) >= MOST_VISITS:
            self.end(next(iter(self._visits.values())), ConsoleReason.TOO_MANY)
        self._visits[visit.key] = visit
        self.begun += 1
        return made, visit

    def find(self, given: str) -> tuple[Visit | None, ConsoleReason]:
        """The visit of a cookie; without one: whether nobody is signed in by it, or no longer."""
        if len(given) != ID_LENGTH:
            return None, ConsoleReason.NOT_SIGNED_IN
        visit = self._visits.get(_key(given))
        if visit is None:
            return None, ConsoleReason.NOT_SIGNED_IN
        over = self._over(visit)
        if over is not None:
            self.end(visit, over)
            return None, over
        visit.seen_at = self._clock.monotonic()
        return visit, ConsoleReason.NOT_SIGNED_IN

    def end(self, visit: Visit, reason: ConsoleReason) -> None:
        """Over, once."""
        if self._visits.pop(visit.key, None) is not None:
            self._on_end(visit, reason)

    def end_those(self, uid: str, factor: str) -> None:
        """Of this identity, by the immutable id, those that began with this factor."""
        for visit in [one for one in self._visits.values() if one.uid == uid and factor in one.factors]:
            self.end(visit, ConsoleReason.SIGNED_OUT)

    def sweep(self) -> None:
        """End those whose time is over; the program calls it now and then."""
        for visit in list(self._visits.values()):
            over = self._over(visit)
            if over is not None:
                self.end(visit, over)

    def _over(self, visit: Visit) -> ConsoleReason | None:
        now = self._clock.monotonic()
        if now - visit.began_at >= self._lifetime:
            return ConsoleReason.EXPIRED
        return ConsoleReason.IDLE if now - visit.seen_at >= self._idle else None


def _key(given: str) -> bytes:
    """What is kept of an id: it is random, so one round is enough."""
    return hashlib.sha256(given.encode("utf-8", "replace")).digest()

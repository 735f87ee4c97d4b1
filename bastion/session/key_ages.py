"""Keys that have logged in for longer than they should (L3): an alarm, and nobody is refused.

Invariants: no login waits for the store; each key is looked up once a day by a process, and what is kept of that is
bounded; a store that does not answer costs an alarm that the next login raises.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final

from twisted.python.failure import Failure

from bastion.auth.directory import Asker
from bastion.auth.identity import Identity
from bastion.clock import Clock
from bastion.errors import BastionError
from bastion.observe.audit import AuditLog
from bastion.observe.events.logins import OldKey
from bastion.observe.meters import OLD_KEYS, Meters
from bastion.state.key_ages import AGAIN, first_use
from bastion.state.store import StateStore

MOST_KNOWN: Final = 16_384
"""Keys of which it is known that they were looked up today: 4 MB."""


class KeyAges:
    """One per process. `longest` is `login.key_age` in seconds, 0 when nobody wants to know."""

    def __init__(
        self, state: StateStore, clock: Clock, meters: Meters, audit: AuditLog, longest: Callable[[], float]
    ) -> None:
        self._state, self._clock, self._meters, self._audit = state, clock, meters, audit
        self._longest = longest
        self._looked_up: OrderedDict[tuple[str, str], float] = OrderedDict()

    def logged_in(self, identity: Identity, connection: str) -> None:
        """Somebody has, with all factors: look at the key in it, if there was one."""
        key, now = (identity.uid, identity.key_fingerprint), self._clock.time()
        if not identity.key_fingerprint or now - self._looked_up.get(key, float("-inf")) < AGAIN:
            return
        self._looked_up[key] = now
        self._looked_up.move_to_end(key)
        if len(self._looked_up) > MOST_KNOWN:
            self._looked_up.popitem(last=False)
        looked = partial(first_use, uid=key[0], fingerprint=key[1], now=now, longest=self._longest())
        # Behind everybody who waits for a login.
        asked = self._state.decide(looked, Asker(None, query=True))
        asked.addCallbacks(partial(self._found, identity, connection, now), partial(self._not_found, key))

    def _found(self, identity: Identity, connection: str, now: float, found: tuple[float, bool]) -> None:
        first, tell = found
        if tell:
            self._meters.add(OLD_KEYS)
            days = int((now - first) // 86400)
            self._audit.note(
                OldKey(
                    connection=connection,
                    user=identity.name,
                    uid=identity.uid,
                    source=identity.source_address,
                    key=identity.key_fingerprint,
                    first_seen=first,
                    days=days,
                )
            )

    def _not_found(self, key: tuple[str, str], failure: Failure) -> None:
        """The store is away, or too busy: another login asks again."""
        failure.trap(BastionError)  # type: ignore[no-untyped-call]
        self._looked_up.pop(key, None)

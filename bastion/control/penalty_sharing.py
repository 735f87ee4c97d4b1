"""A gateway tells the others of its store whom it makes wait after failed logins, and hears it of them (L3).

One in each process that judges: the gateway's, or its supervisor, and the console. Every LOOK seconds one question
goes to a process that has the store: at most BATCH claims of ours, and what is new of others. Invariants: nobody who
logs in waits for it, and neither does the reactor; while the store is away everybody judges by what he knows, and what
could not be told is told later, as it is then; of whoever is not listed nothing is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion.auth.penalty_claims import BATCH, Claim
from bastion.auth.throttle import Penalties
from bastion.clock import DelayedCall, Timers
from bastion.control.penalty_orders import PenaltiesShared, Seen, SharePenalties

_log = Logger(namespace="bastion.penalties")

LOOK: Final = 1.0
"""Seconds between two questions."""

LOOK_AWAY: Final = 3.0
"""The same while the store does not answer: a question may then hold a thread for as long as a connection takes."""

SWEEP: Final = 60.0
"""Seconds between two looks for what is over."""

SWEEP_AFTER: Final = 1024
"""The same in claims that were told: there are never more than twice as many rows as one gateway may claim."""

CONSOLE: Final = "/console"
"""What stands behind the name of a gateway whose console claims something: no gateway is called so."""


def with_consoles(nodes: Iterable[str], own: str) -> frozenset[str]:
    """Who claims anything: these gateways and their consoles, but for `own`."""
    return frozenset(name for node in nodes for name in (node, node + CONSOLE)) - {own}


Ask = Callable[[SharePenalties], Deferred[PenaltiesShared]]
"""Asks whoever has the store. May fail."""


class PenaltySharing:
    """Shares `penalties` as `name` with `others`. `on_key` hears of a key that is not ours: how digests are made from
    now on. `propose`: ours becomes everybody's, if there is none."""

    def __init__(
        self,
        name: str,
        others: frozenset[str],
        ask: Ask,
        timers: Timers,
        on_key: Callable[[bytes], None],
        propose: bool = True,
    ) -> None:
        self._name, self._others, self._ask, self._timers = name, others, ask, timers
        self._on_key, self._propose = on_key, propose
        self._penalties: Penalties | None = None
        self._key = b""
        self._seen: dict[str, int] = {}
        self._agreed = self._asking = self._away = False  # agreed: digests are made as everybody makes them
        self._current: set[str] = set()  # of whom everything was read, a moment ago
        self._told = 0
        self._swept_at = float("-inf")
        self._timer: DelayedCall | None = None

    def start(self, penalties: Penalties, key: bytes = b"") -> None:
        """From now on. `key` is what its digests are keyed with; not given: something that nobody else has."""
        self._penalties, self._key = penalties, key
        penalties.claims.begin(self._name)
        self._seen = dict.fromkeys((*sorted(self._others), self._name), 0)
        self._timer = self._timers.callLater(0.0, self._look)

    def stop(self) -> None:
        """Nothing fires after this; what was not told is not told by us."""
        self._penalties = None
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _look(self) -> None:
        self._timer = self._timers.callLater(LOOK_AWAY if self._away else LOOK, self._look)
        penalties = self._penalties
        if penalties is None or self._asking:
            return
        due = self._timers.seconds() - self._swept_at >= SWEEP or self._told >= SWEEP_AFTER
        if due:
            penalties.claims.sweep()
            self._swept_at, self._told = self._timers.seconds(), 0
        # Nothing is told before it is known what digests are keyed with, and which revision was our last.
        claims = tuple(penalties.claims.batch()) if self._name in self._current else ()
        self._told += len(claims)
        seen = tuple(Seen(node, revision) for node, revision in self._seen.items())
        proposed = self._key.hex() if self._propose else ""
        self._asking = True
        asked = self._ask(SharePenalties(self._name, proposed, claims, seen, due and self._agreed))
        asked.addCallbacks(self._heard, self._missed, (), {}, (claims,))
        asked.addErrback(lambda failure: _log.failure("sharing penalties failed", failure=failure))
        asked.addBoth(self._asked)

    def _asked(self, _: object) -> None:
        self._asking = False

    def _heard(self, shared: PenaltiesShared) -> None:
        penalties = self._penalties
        if penalties is None:
            return
        if self._away:
            self._away = False
            _log.info("penalties are shared again")
        if not shared.key:
            return  # no gateway has said yet how digests are made
        key = bytes.fromhex(shared.key)
        self._agreed = True
        if key != self._key:
            self._key = key
            self._seen = dict.fromkeys(self._seen, 0)
            penalties.rekey(key)
            self._on_key(key)
            return
        told = {one.node: one.claims for one in shared.told}
        for node in self._seen:
            self._take(penalties, node, told.get(node, ()))

    def _take(self, penalties: Penalties, node: str, claims: tuple[Claim, ...]) -> None:
        if claims:
            self._seen[node] = max(self._seen[node], *(claim.revision for claim in claims))
            if node != self._name:
                penalties.learn(node, claims, node in self._current)
            elif node not in self._current:
                penalties.claims.resume(claims)
        if len(claims) < BATCH:
            self._current.add(node)

    def _missed(self, failure: Failure, claims: tuple[Claim, ...]) -> None:
        penalties = self._penalties
        if penalties is None:
            return
        penalties.claims.not_told(claims)
        self._current &= {self._name}
        if not self._away:
            self._away = True
            text = failure.getErrorMessage()
            _log.warn("penalties are not shared, each gateway has its own: {text}", text=text)

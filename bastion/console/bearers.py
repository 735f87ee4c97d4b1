"""Whom API tokens stand for (L4): asked of the store with every request, and of the directory as for visits.

Invariants: a token that was taken away or has ended counts for nothing from the next request on; one whose owner is
gone, locked or without a role counts for nothing after the time that holds for visits; whoever shows tokens that are
none is soon asked to wait, before the store is asked.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from bastion.auth.directory import Asker
from bastion.auth.penalty_sources import source_block
from bastion.clock import Clock
from bastion.console.admission import TEXTS
from bastion.console.reads import Reads, Trouble
from bastion.console.standing import Standing
from bastion.console.throttle import Throttle
from bastion.console.tokens import read
from bastion.console.visits import Visit
from bastion.errors import ConsoleReason
from bastion.state.console_tokens import KeptToken, use

WRONG_AT_ONCE: Final = 20
WRONG_RATE: Final = 0.1
"""Tokens that are none, of one address: so many at once, and so many a second after that."""

MOST: Final = 1024
"""Tokens, each with an address it comes from, of which it is known when the directory was asked last."""


class Bearers:
    """One per console."""

    def __init__(self, reads: Reads, standing: Standing, clock: Clock, longest: float | None) -> None:
        """`longest` is the longest life of a token in seconds, None where none counts."""
        self._longest = longest
        self._reads, self._standing, self._clock = reads, standing, clock
        self._wrong = Throttle(clock, WRONG_AT_ONCE, WRONG_RATE)
        self._known: OrderedDict[tuple[str, str], Visit] = (
            OrderedDict()
        )  # what was asked for longest ago first

    async def visit(self, bearer: str, source: str, asker: Asker) -> Visit:
        """Whoever asks with this token, coming from `source`. Raises Trouble."""
        payer, presented = source_block(source), read(bearer)
        if not self._wrong.has_room(payer):
            raise _trouble(ConsoleReason.THROTTLED)
        kept = None
        if presented is not None and self._longest is not None:
            name, digest, now = presented.id, presented.digest, self._clock.time()
            kept = await self._reads.ask(lambda database: use(database, name, digest, now), asker)
        if kept is None or self._longest is None or self._clock.time() >= kept.made_at + self._longest:
            self._wrong.allows(payer)
            raise _trouble(ConsoleReason.BAD_API_TOKEN)
        visit = self._visit_of(kept, source)
        over = await self._standing.ask(visit, asker)
        if over is not None:
            self._known.pop((kept.id, source), None)
            raise _trouble(over)
        return visit

    def _visit_of(self, kept: KeptToken, source: str) -> Visit:
        """It knows when the directory was asked last, and what it said."""
        now = self._clock.monotonic()
        known = self._known.pop((kept.id, source), None)
        if known is None:
            never = float("-inf")
            scope = frozenset(kept.scope)
            known = Visit(
                b"",
                kept.name,
                kept.uid,
                frozenset(),
                source,
                "",
                now,
                now,
                never,
                scope=scope,
                by_token=kept.id,
            )
        self._known[kept.id, source] = known
        if len(self._known) > MOST:
            self._known.popitem(last=False)
        return known


def _trouble(reason: ConsoleReason) -> Trouble:
    return Trouble(reason, TEXTS[reason])

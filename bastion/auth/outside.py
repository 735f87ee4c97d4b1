"""The seam for factors that others judge: an identity provider, a RADIUS server (L2).

Whoever implements it never sees a message of SSH, and whoever asks by it never one of theirs. Invariants: nobody is
asked who has not proved something to this gateway before; a proof is for the identity that is there already and for no
other; every wait in it has an end, and cancelling it ends all of it at once; how many are under way is bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from twisted.internet.defer import Deferred

from bastion.auth.identity import Identity
from bastion.errors import AuthReason, Refused
from bastion.observe.meters import FACTORS_WAITING, Meters
from bastion.wire.userauth import Prompt

if TYPE_CHECKING:
    from collections.abc import Iterator

Ask = Callable[[tuple[Prompt, ...], str, float], Deferred[tuple[bytes, ...]]]
"""Shows a text and asks these prompts, none for a text alone, within so many seconds; fires with an answer for each."""

MOST: Final = 256
"""Proofs of one kind that are under way in one process, each with a connection that has proved something."""

MOST_OF_ONE: Final = 4
"""... of one identity: several terminals, and nobody's telephone rings all night."""


class OutsideFactor(Protocol):
    """One factor of `factors.OUTSIDE`."""

    @property
    def prompt(self) -> str:
        """What is asked before anybody else is, "" for nothing. What is answered to it is charged as a guess."""
        ...

    @property
    def wait(self) -> float:
        """Seconds that one proof may take."""
        ...

    async def prove(self, who: Identity, source: str, answer: str, ask: Ask) -> None:
        """`who`, coming from `source`, has answered `answer`. Raises Refused with an AuthReason: it is no proof."""
        ...

    def close(self) -> None:
        """Ask nobody any more."""
        ...


class Places:
    """Who is being asked. A place is taken for one proof."""

    def __init__(self, factor: str, meters: Meters) -> None:
        self._factor, self._meters = factor, meters
        self._taken: dict[str, int] = {}
        self._all = 0

    @contextmanager
    def place(self, uid: str) -> Iterator[None]:
        """For the identity with this id. Raises Refused(FACTOR_BUSY)."""
        mine = self._taken.get(uid, 0)
        if self._all >= MOST or mine >= MOST_OF_ONE:
            raise Refused(AuthReason.FACTOR_BUSY, "as many are being asked as may be")
        self._taken[uid] = mine + 1
        self._count(+1)
        try:
            yield
        finally:
            left = self._taken.pop(uid) - 1
            if left:
                self._taken[uid] = left
            self._count(-1)

    def _count(self, by: int) -> None:
        self._all += by
        self._meters.add(FACTORS_WAITING, self._factor, by=by)

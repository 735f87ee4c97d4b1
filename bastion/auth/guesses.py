"""One password that may be a guess, and those of one source that wait for their turn (L1, pure).

Invariant: a guess is charged before it is judged, and its outcome is heard once.
"""

from __future__ import annotations

from collections.abc import Callable

from bastion.errors import AuthReason


class Guess:
    """One password that is charged before it is judged. `begin` it once; `settle` it, more often is once.

    `number` names it where it is judged in another process (`auth.distant`).
    """

    __slots__ = (
        "_begin",
        "_settle",
        "account",
        "begun",
        "go",
        "judged",
        "number",
        "pair",
        "settled",
        "source",
        "strange",
    )

    def __init__(
        self,
        begin: Callable[[Guess], None],
        settle: Callable[[Guess, AuthReason], None],
        source: str,
        account: str,
        pair: bytes,
    ) -> None:
        """`begin` and `settle` are of whoever judges."""
        self._begin, self._settle = begin, settle
        self.source, self.account, self.pair = source, account, pair
        self.go: Callable[[bool], None] = _nobody
        self.begun = self.judged = self.settled = self.strange = False
        self.number = 0

    def begin(self, turn: Callable[[bool], None]) -> None:
        """`turn(True)` is called when it may be judged, at once or as soon as those before it are settled;
        `turn(False)` when it may not, because they turned out to be guesses."""
        if not self.begun and not self.settled:
            self.begun, self.go = True, turn
            self._begin(self)

    def settle(self, reason: AuthReason) -> None:
        """The outcome: what is nobody's guess is given back, a guess stays charged. Also for whoever has left."""
        if not self.settled:
            self.settled = True
            self.go = _nobody
            if self.begun:
                self._settle(self, reason)


def _nobody(allowed: bool) -> None:
    """Nobody waits for a turn."""


class Queue:
    """The guesses of one source that are under way: how many of each pair are judged, and who waits."""

    __slots__ = ("advancing", "again", "judged", "waiting")

    def __init__(self) -> None:
        self.judged: dict[bytes, int] = {}
        self.waiting: dict[Guess, None] = {}  # in the order in which they came
        self.advancing = self.again = False

"""Penalties of a gateway of several processes (L1, pure): kept in one, asked from all.

Guesses of one source come through all workers, and must be judged as if they came through one. So the records stand in
one process (`throttle.Penalties`, in the supervisor), which says of each password when it may be judged and hears what
came of it. Who is blocked is told to every worker as soon as it is known, by keyed digests, so that what is asked at an
accept or before a signature is answered at once: `DistantPenalties.wait` needs no message.

Invariants: without the one that judges nobody's password is looked at; a guess of a worker that is lost stays charged;
a worker keeps no more blocks than there are records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count

from bastion.auth.penalty_records import MAX_ENTRIES
from bastion.auth.throttle import Guess, Penalties, PenaltyLimits, source_block
from bastion.clock import Clock
from bastion.errors import AuthReason


class Judge:
    """Where penalties are kept, as a worker's end of the link sees it. `Judge` itself is one that is gone."""

    def begin(self, number: int, source: str, account: str, turn: Callable[[bool], None]) -> None:
        """May this password be judged? `turn` is called once, perhaps at once."""
        turn(False)

    def settle(self, number: int, reason: AuthReason) -> None:
        """What came of a guess that was begun."""

    def failed(self, source: str, account: str, reason: AuthReason, method: str) -> None:
        """As `Penalties.failed`."""

    def succeeded(self, source: str, account: str) -> None:
        """As `Penalties.succeeded`."""


class DistantPenalties(Penalties):
    """The same questions in a worker: the blocks are here, everything else is the judge's."""

    def __init__(self, clock: Clock, secret: bytes) -> None:
        """`secret` is the one that the blocks' digests are keyed with."""
        super().__init__(clock, secret=secret)
        self.judge = Judge()
        self._blocks: dict[bytes, float] = {}
        self._numbers = count(1)

    def take_blocks(self, blocks: Iterable[tuple[bytes, float]]) -> None:
        """Blocks that the judge tells of: until when, 0 for one that is lifted."""
        for key, until in blocks:
            if until:
                self._blocks[key] = until
            else:
                self._blocks.pop(key, None)
        if len(self._blocks) > MAX_ENTRIES:
            now = self._clock.monotonic()
            self._blocks = {key: until for key, until in self._blocks.items() if until > now}

    def rekey(self, secret: bytes) -> None:
        """The judge keys digests with this from now on; it tells of the blocks anew."""
        if secret != self._secret:
            self._secret = secret
            self._blocks.clear()

    def __len__(self) -> int:
        return len(self._blocks)

    def set_limits(self, limits: PenaltyLimits) -> None:
        """They are the judge's, which is told by whoever reloads."""

    def allows_source(self, source: str) -> bool:
        return self._left_of(self._digest(source_block(source))) == 0.0

    def wait(self, source: str, account: str) -> float:
        block = source_block(source)
        return max(self._left_of(self._digest(block, account)), self._left_of(self._digest(block)))

    def failed(self, source: str, account: str, reason: AuthReason, method: str = "password") -> None:
        self.judge.failed(source, account, reason, method)

    def succeeded(self, source: str, account: str) -> None:
        self.judge.succeeded(source, account)

    def _left_of(self, key: bytes) -> float:
        until = self._blocks.get(key)
        if until is None:
            return 0.0
        left = until - self._clock.monotonic()
        if left <= 0.0:
            del self._blocks[key]
            return 0.0
        return left

    def _begin(self, guess: Guess) -> None:
        guess.number = next(self._numbers)

        def turn(allowed: bool) -> None:
            if not guess.settled:
                guess.judged, guess.settled = allowed, not allowed
                guess.go(allowed)

        self.judge.begin(guess.number, guess.source, guess.account, turn)

    def _settle(self, guess: Guess, reason: AuthReason) -> None:
        self.judge.settle(guess.number, reason)


class Docket:
    """The guesses of one worker, where penalties are kept. Each `turn` is called once, also when nobody waits for it
    any more."""

    def __init__(self, penalties: Penalties) -> None:
        self._penalties = penalties
        self._guesses: dict[int, tuple[Guess, Callable[[bool], None]]] = {}

    def begin(self, number: int, source: str, account: str, turn: Callable[[bool], None]) -> None:
        """As `Judge.begin`. A number that is in use is a fault of the worker's: it is refused."""
        if number in self._guesses:
            turn(False)
            return
        guess = self._penalties.open(source, account)
        self._guesses[number] = guess, turn

        def go(allowed: bool) -> None:
            if not allowed:
                self._guesses.pop(number, None)
            turn(allowed)

        guess.begin(go)

    def settle(self, number: int, reason: AuthReason) -> None:
        """As `Judge.settle`; of a guess that was refused there is nothing to settle."""
        guess, turn = self._guesses.pop(number, (None, None))
        if guess is not None and turn is not None:
            guess.settle(reason)
            if not guess.judged:
                turn(False)

    def lost(self) -> None:
        """The worker is gone: whatever was being judged there may have been a guess, and stays charged."""
        for number in list(self._guesses):
            self.settle(number, AuthReason.ABANDONED)

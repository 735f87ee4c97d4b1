"""Challenges that a browser has signed or brought back (L4, pure): sealed, not remembered, until one was good.

A challenge is random, says until when it is good, and is sealed for a purpose and for the browser that it was given to;
so strangers who ask for thousands fill no memory. Invariants: one that is of another browser, another purpose or too
old is none; one that was good once is none again, and while no more of those can be remembered, none is good.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from typing import Final

from bastion.clock import Clock

LIFE: Final = 300.0
"""Seconds: somebody looks for a security key."""

MOST_SPENT: Final = 16_384
"""Challenges that were good, each for LIFE: fifty a second. 2 MB."""

RANDOM: Final = 16
_MOMENT: Final = 8
_SEAL: Final = 32
SIZE: Final = RANDOM + _MOMENT + _SEAL


class Challenges:
    """All of one console. A restart makes those before it void."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._key = clock, secrets.token_bytes(32)
        self._spent: OrderedDict[bytes, float] = OrderedDict()  # the oldest first

    def make(self, purpose: str, browser: bytes) -> bytes:
        """A new one for this browser (what tells it from others, and never leaves it)."""
        until = int((self._clock.monotonic() + LIFE) * 1000).to_bytes(_MOMENT, "big")
        plain = secrets.token_bytes(RANDOM) + until
        return plain + self._sealed(plain, purpose, browser)

    def fits(self, challenge: bytes, purpose: str, browser: bytes) -> bool:
        """Is it one of ours, for that purpose and browser, in time, and not used?"""
        if len(challenge) != SIZE:
            return False
        plain, seal = challenge[:-_SEAL], challenge[-_SEAL:]
        if not hmac.compare_digest(seal, self._sealed(plain, purpose, browser)):
            return False
        return self._until(challenge) > self._clock.monotonic() and plain not in self._spent

    def spend(self, challenge: bytes) -> bool:
        """Use up one that fits; False: it was used meanwhile, or no more can be remembered."""
        now = self._clock.monotonic()
        while self._spent and next(iter(self._spent.values())) <= now:
            self._spent.popitem(last=False)
        plain = challenge[:-_SEAL]
        if plain in self._spent or len(self._spent) >= MOST_SPENT:
            return False
        self._spent[plain] = now + LIFE  # not before it ends by itself
        return True

    def derived(self, challenge: bytes, purpose: str) -> bytes:
        """A secret of ours that goes with a challenge: 32 bytes, the same each time."""
        return hmac.digest(self._key, b"derived\0" + purpose.encode() + b"\0" + challenge, hashlib.sha256)

    def _sealed(self, plain: bytes, purpose: str, browser: bytes) -> bytes:
        whose = hashlib.sha256(browser).digest()
        return hmac.digest(self._key, b"sealed\0" + plain + whose + purpose.encode(), hashlib.sha256)

    @staticmethod
    def _until(challenge: bytes) -> float:
        return int.from_bytes(challenge[RANDOM : RANDOM + _MOMENT], "big") / 1000

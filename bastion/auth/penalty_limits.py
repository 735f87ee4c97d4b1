"""How many failed logins are free, and how long who fails more often waits (L1, pure)."""

from __future__ import annotations

from dataclasses import dataclass

ACCOUNT_GUESSES = 20
"""Wrong passwords for one account, from all the sources together that it has never been logged in to from. Three
times what one source gets, so that an engineer on a new network with a new password meets the limit of the source
first; 60 sources get 20 guesses together, where each of them had 6."""

ACCOUNT_REFILL = 60.0
"""Seconds until such sources get one guess more: 1,440 a day for one account, however many sources there are."""


@dataclass(frozen=True, slots=True)
class PenaltyLimits:
    """Seconds and counts. After `free` failures of a pair each further one blocks the pair, doubling.

    `accounts` distinct failing accounts of one source within `window` block the source for `source_block`,
    doubling. A record is forgotten `forget` seconds after its last failure or the end of its block.
    Sources that an account was never logged in to from share `strange_guesses` passwords for it, and get one more
    every `strange_refill` seconds. Sources in the networks of `exempt` are never blocked as a whole. Of one account
    `account_failures` wrong passwords within `account_window` are tried in all (0: any number).
    """

    free: int = 5
    first_block: float = 5.0
    longest_block: float = 600.0
    accounts: int = 20
    window: float = 600.0
    source_block: float = 60.0
    longest_source_block: float = 3600.0
    forget: float = 1800.0
    strange_guesses: int = ACCOUNT_GUESSES
    strange_refill: float = ACCOUNT_REFILL
    exempt: tuple[str, ...] = ()
    account_failures: int = 0
    account_window: float = 1800.0

"""The configured penalties under the names of `auth.throttle` (L2)."""

from __future__ import annotations

from bastion.auth.throttle import PenaltyLimits
from bastion.config.sections import Penalties


def penalty_limits(wanted: Penalties) -> PenaltyLimits:
    """What guessing costs, as whoever keeps penalties knows it."""
    return PenaltyLimits(
        free=wanted.free,
        first_block=wanted.first_block,
        longest_block=wanted.longest_block,
        accounts=wanted.accounts,
        window=wanted.window,
        source_block=wanted.source_block,
        longest_source_block=wanted.longest_source_block,
        forget=wanted.forget,
        account_failures=wanted.account_failures,
        account_window=wanted.account_window,
        exempt=tuple(str(network) for network in wanted.exempt),
    )

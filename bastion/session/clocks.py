"""The clocks of one session: what its Grant says, and the keepalive of all."""

from __future__ import annotations

from bastion.clock import Clock
from bastion.policy.grant import Grant
from bastion.session.gateway import Limits
from bastion.session.watch import WatchLimits


def clocks_of(grant: Grant, limits: Limits, clock: Clock) -> WatchLimits:
    """What ends a session that begins now."""
    credential = grant.restrictions.valid_before
    return WatchLimits(
        keepalive_interval=limits.keepalive_interval,
        keepalive_count=limits.keepalive_count,
        idle=grant.idle or 0.0,
        # A grant that ends now still has a session of a moment: it ends with its own words.
        lasts=0.0 if grant.ends_at is None else max(grant.ends_at - clock.time(), 0.001),
        credential_left=None
        if credential is None or grant.ends_at != credential
        else lambda: credential - clock.time(),
    )

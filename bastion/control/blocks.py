"""Penalties for failed logins as answers, in whichever process keeps them."""

from __future__ import annotations

from collections.abc import Sequence

from bastion.auth.throttle import Blocked, Penalties
from bastion.control.orders import MOST_PENALTIES, ClearPenalties, Penalty, PenaltyList


def waiting(penalties: Penalties) -> PenaltyList:
    """Who must wait now."""
    return _shown(penalties.waiting())


def forgotten(penalties: Penalties, request: ClearPenalties) -> PenaltyList:
    """Forget what is asked for; what that was."""
    return _shown(penalties.forget(request.source, request.account))


def _shown(blocked: Sequence[Blocked]) -> PenaltyList:
    rows = [Penalty(one.source, one.account, round(one.left, 1), one.failures, one.nodes) for one in blocked]
    rows.sort(key=lambda row: -row.left)
    return PenaltyList(tuple(rows[:MOST_PENALTIES]), len(rows))

"""One-time codes that come over the control socket: charged, judged and used up by a process that serves (L3).

Invariant: a guess is charged before it is judged, as at the door; whoever asks learns what a login would.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from twisted.internet.defer import Deferred

from bastion.auth.codes import NOBODY
from bastion.auth.directory import Asker
from bastion.control.proving import CodeUsed, UseCode
from bastion.errors import AuthReason, Refused
from bastion.session.gateway import Gateway

LONGEST: Final = 64
"""Characters of a one-time or recovery code, of an id and of an address."""


async def spend(
    gateway: Gateway, source: str, account: str, uid: str, code: str, asker: Asker
) -> tuple[AuthReason, bool]:
    """Use a code up. What came of it, and whether it was a recovery code. The guess is charged to `source` and
    `account`."""
    codes = gateway.codes
    if codes is None:
        return AuthReason.CODES_UNAVAILABLE, False

    async def check() -> bool:
        return await codes(uid, code, asker)

    return await charged(gateway, source, account, check)


async def charged(
    gateway: Gateway, source: str, account: str, prove: Callable[[], Awaitable[bool]]
) -> tuple[AuthReason, bool]:
    """Judge a proof whose guess is charged to `source` and `account`. What came of it, and what `prove` said, which
    raises Refused for one that is none."""
    guess = gateway.services.auth.penalties.open(source, account)
    turn: Deferred[bool] = Deferred()
    guess.begin(turn.callback)
    reason, said = AuthReason.THROTTLED, False
    try:
        if await turn:
            reason = AuthReason.ABANDONED
            said = await prove()
            reason = AuthReason.OK
    except Refused as refusal:
        reason = refusal.reason if isinstance(refusal.reason, AuthReason) else AuthReason.INTERNAL_ERROR
    finally:
        guess.settle(reason)
    return reason, said


class CodeUsing:
    """What one process answers about codes that others were typed, over its gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def use(self, request: UseCode, stream: Any) -> Deferred[CodeUsed]:
        """Never fails for what is wrong with a code: the answer says it."""
        return Deferred.fromCoroutine(self._use(request))

    async def _use(self, request: UseCode) -> CodeUsed:
        gateway, uid = self._gateway, request.uid
        if len(request.code) > LONGEST or len(request.source) > LONGEST:
            return CodeUsed(AuthReason.BAD_CODE)
        asker = Asker(gateway.budget.identity(uid))
        if uid == NOBODY:  # asked in vain, so that it takes as long as of somebody: there is nothing to guess
            reason, recovery = await _in_vain(gateway, request.code, asker)
        else:
            reason, recovery = await spend(gateway, request.source, f"id {uid}", uid, request.code, asker)
        return CodeUsed(reason, recovery)


async def _in_vain(gateway: Gateway, code: str, asker: Asker) -> tuple[AuthReason, bool]:
    codes = gateway.codes
    if codes is None:
        return AuthReason.CODES_UNAVAILABLE, False
    try:
        await codes(NOBODY, code, asker)
    except Refused as refusal:
        if isinstance(refusal.reason, AuthReason):
            return refusal.reason, False
    return AuthReason.INTERNAL_ERROR, False

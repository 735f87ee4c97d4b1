"""What other gateways may ask and order here (L3): judged by this gateway, as if the account were at its own socket.

Invariants: an order is obeyed for an account of this machine that has the name, with the roles that its groups give it
here and `[nodes] roles` allows; what the other gateway says of roles counts for nothing; whatever is done or refused is
written down with the account and the gateway, `alice@gw2`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred

from bastion.clock import Timers
from bastion.control.asking import By, ControlError, Ended, Node, Stream
from bastion.control.lock_keeping import LockKeeper
from bastion.control.node import Kill, LiveAsked, StatusAsked
from bastion.control.orders import WatchSession
from bastion.control.peer import Caller
from bastion.control.rate import Rate
from bastion.control.roles import Role, may
from bastion.control.speaking import spoken
from bastion.control.there import (
    MOST_TOLD,
    KillThere,
    LiveThere,
    LocksHeld,
    LocksThere,
    LocksTold,
    StatusThere,
    WatchThere,
)
from bastion.errors import ControlReason
from bastion.wire.printable import printable

ACCOUNT: Final = re.compile(r"\A[a-z_][a-z0-9_.-]{0,31}\Z")

NAME_IN: Final = 1.0
"""Seconds in which groups of an account are known, or it has none: whoever asks waits `there.SOON`."""

LOOKED_UP: Final = 16
"""Accounts of other gateways that are being looked up at once. Each takes a thread for as long as the machine's names,
which may be an LDAP directory's, do not answer; who comes meanwhile has no role."""

WHOLE_A_SECOND: Final = 2.0
WHOLE_AT_ONCE: Final = 10.0
"""How often one gateway gets the whole list of locks, which is 10 MB at the most. It asks once a second, and is told
nothing but that nothing has changed."""

LookUp = Callable[[str, Callable[[Caller | None], None]], None]
"""Looks an account of this machine up, and hands who that is to the second; None: nobody knows."""


class Obeying:
    """`desk` does what is allowed, over the processes of this gateway alone. `name` is this gateway's."""

    def __init__(
        self,
        name: str,
        desk: Node,
        keeper: LockKeeper,
        allowed: frozenset[Role],
        timers: Timers,
        look_up: LookUp,
    ) -> None:
        """`allowed` are the roles that people at other gateways may have here."""
        self._name, self._desk, self._keeper = name, desk, keeper
        self._allowed = allowed
        self._timers, self._look_up = timers, look_up
        self._whole: dict[str, Rate] = {}
        self._looking = 0

    def answer(self, node: str, request: Any, stream: Stream) -> Deferred[Any]:
        """What `node` asks. Fails with ControlError."""
        match request:
            case LocksThere():
                return maybeDeferred(self._locks, node, request.seen)
            case LocksTold():
                return maybeDeferred(self._told, node, request)
            case LiveThere():
                return self._order(node, request.by, LiveAsked(request.selection))
            case StatusThere():
                return self._order(node, request.by, StatusAsked())
            case KillThere():
                return self._order(node, request.by, Kill(request.selection, request.reason))
            case WatchThere():
                return self._order(node, request.by, WatchSession(request.id, request.reason), stream)
        raise ControlError(ControlReason.UNKNOWN_COMMAND, "nothing of that kind is answered here")

    def _locks(self, node: str, seen: str) -> LocksHeld:
        known = self._keeper.list
        if seen == known.mark:
            return LocksHeld(known.mark, known=self._keeper.known)
        whole = self._whole.setdefault(node, Rate(self._timers, WHOLE_A_SECOND, WHOLE_AT_ONCE))
        if not whole.allows():
            raise ControlError(ControlReason.TOO_MANY, "the whole list was asked for too often")
        return LocksHeld(known.mark, tuple(known), known.taken, self._keeper.known)

    def _told(self, node: str, told: LocksTold) -> Deferred[Ended]:
        if max(len(told.locks), len(told.gone)) > MOST_TOLD:
            raise ControlError(ControlReason.MALFORMED, f"more than {MOST_TOLD} locks in one question")
        return self._keeper.learn(node, told.locks, told.gone)

    def _order(self, node: str, by: By, order: Any, stream: Stream | None = None) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._obey(node, by, order, stream))

    async def _obey(self, node: str, by: By, order: Any, stream: Stream | None) -> Any:
        caller = await self._caller(by)
        if not may(order.command, caller.roles):
            has = ", ".join(sorted(caller.roles)) or "no role"
            text = (
                f"{printable(by.name, 64)} of {node} has {has} at {self._name}, which may not {order.command}"
            )
            raise ControlError(ControlReason.NO_ROLE, text)
        if hasattr(order, "by"):
            who = spoken(caller, order.command, by)
            order = replace(order, by=replace(who, name=f"{by.name}@{node}"))
        return await self._desk.ask(order, stream)

    def _caller(self, by: By) -> Deferred[Caller]:
        """The account of this machine that has the name, with what it may be for other gateways."""
        known: Deferred[Caller] = Deferred()

        def settle(caller: Caller | None) -> None:
            if late.active():
                late.cancel()
            if not known.called:
                found = caller or Caller(by, frozenset())
                known.callback(Caller(by.alone, found.roles & self._allowed, found.speaks))

        late = self._timers.callLater(NAME_IN, lambda: settle(None))

        def found(caller: Caller | None) -> None:
            self._looking -= 1
            settle(caller)

        if ACCOUNT.match(by.name) and self._looking < LOOKED_UP:
            self._looking += 1
            self._look_up(by.name, found)
        else:
            settle(None)
        return known

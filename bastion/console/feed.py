"""Requests for approval as they come and go (L4): the gateway is asked by one for all who look.

Invariant: nobody looks, nobody asks; a browser that takes nothing gets the newest list when it does, and none before.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from bastion.clock import Clock, DelayedCall, Timers
from bastion.console.gateway import GatewaySocket
from bastion.console.reads import Trouble
from bastion.console.streams import LineStream
from bastion.control.approvals import ApprovalRow, ApprovalsAsked
from bastion.control.codec import to_json

LOOK: Final = 1.0
"""Seconds between two questions to the gateway, while anybody looks: one for all who do."""

AGAIN: Final = 5.0
"""Seconds after which a list is sent again though nothing has changed: how long each waits has."""

_log = Logger(namespace="bastion.console")


def row(one: ApprovalRow, now: float) -> dict[str, Any]:
    """A request as a page and a program get it. `age` and `left` are seconds."""
    return {**to_json(one), "age": round(now - one.made_at), "left": round(one.expires_at - now)}


async def rows_of(gateway: GatewaySocket, now: float) -> list[dict[str, Any]]:
    """What the gateway lists. Raises Trouble."""
    return [row(one, now) for one in (await gateway.ask(ApprovalsAsked())).requests]


class Feed:
    """Asks the gateway for all who look, as long as somebody does."""

    def __init__(self, timers: Timers, clock: Clock, gateway: GatewaySocket) -> None:
        self._timers, self._clock, self._gateway = timers, clock, gateway
        self._lines: dict[LineStream, tuple[object, float]] = {}  # what each was sent last, and when
        self._timer: DelayedCall | None = None
        self._asking = False

    def join(self, line: LineStream) -> None:
        """It is sent the list from now on."""
        self._lines[line] = (None, float("-inf"))
        line.on_over.append(lambda: self._left(line))
        line.on_room = self._look_soon

    def _left(self, line: LineStream) -> None:
        self._lines.pop(line, None)
        if not self._lines and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_soon(self, seconds: float = 0.0) -> None:
        if self._timer is None and not self._asking and self._lines:
            self._timer = self._timers.callLater(seconds, self._look)

    def _look(self) -> None:
        self._timer, self._asking = None, True
        looked = Deferred.fromCoroutine(self._asked())
        looked.addErrback(lambda failure: _log.failure("following requests failed", failure=failure))
        looked.addBoth(self._looked)

    def _looked(self, _: object) -> None:
        self._asking = False
        self._look_soon(LOOK)

    async def _asked(self) -> None:
        now = self._clock.time()
        try:
            rows = await rows_of(self._gateway, now)
            mark: object = [(one["id"], one["state"]) for one in rows]
            told: dict[str, Any] = {"requests": rows}
        except Trouble as trouble:
            mark, told = trouble.text, {"fault": trouble.text}
        for line, (seen, at) in list(self._lines.items()):
            if line.has_room and (seen != mark or now - at >= AGAIN):
                self._lines[line] = (mark, now)
                line.send(told)

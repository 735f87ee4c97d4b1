"""The gateway's control socket, asked for whoever may (L4).

What the console may there is what its own account may (`[control]` groups); what the person may is the table of routes'
business, before. Invariants: nothing is asked twice by itself; a gateway that is not there is told as such.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypeVar

from twisted.internet.defer import CancelledError, TimeoutError
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory

from bastion.console.reads import Trouble
from bastion.control.asking import ControlError, Request
from bastion.control.link import Limits, Link
from bastion.errors import ConsoleReason, ControlReason

R = TypeVar("R")

CONNECT: Final = 5.0
LIMITS: Final = Limits(half=10.0, idle=30.0, output=1 << 20, questions=1)
"""Of what the gateway may do here: answer."""

_REASONS: Final = {
    ControlReason.NOT_FOUND: ConsoleReason.NOT_FOUND,
    ControlReason.AMBIGUOUS: ConsoleReason.NOT_FOUND,
    ControlReason.MALFORMED: ConsoleReason.BAD_REQUEST,
    ControlReason.NO_ROLE: ConsoleReason.UNAVAILABLE,
}


class GatewaySocket:
    """One per console. `place` None: the gateway has no socket."""

    def __init__(self, reactor: Any, place: Path | None) -> None:
        self._reactor, self._place = reactor, place

    async def ask(self, request: Request[R]) -> R:
        """The gateway's answer, on a connection of its own. Raises Trouble, in words for whoever asked."""
        if self._place is None:
            raise Trouble(
                ConsoleReason.UNAVAILABLE, "this gateway can be asked nothing: [control] socket is off"
            )
        link = Link(self._reactor, "the gateway", limits=LIMITS)
        factory = Factory.forProtocol(lambda: link)
        factory.noisy = False
        end = UNIXClientEndpoint(self._reactor, str(self._place), timeout=CONNECT)  # type: ignore[no-untyped-call]
        try:
            await end.connect(factory)  # type: ignore[no-untyped-call]
        except (ConnectError, TimeoutError, CancelledError, OSError):
            raise Trouble(ConsoleReason.UNAVAILABLE, "no gateway answers at its control socket") from None
        try:
            return await link.ask(request)
        except ControlError as error:
            text = error.text
            if error.reason is ControlReason.NO_ROLE:
                text = f"the console's own account may not do that at the gateway: {text}"
            raise Trouble(_REASONS.get(error.reason, ConsoleReason.UNAVAILABLE), text) from None
        finally:
            link.drop()

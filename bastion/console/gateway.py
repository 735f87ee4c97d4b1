"""The gateway's control socket, asked for whoever may (L4).

What the console may there is what its own account may (`[control]` groups); what the person may is the table of routes'
business, before. Invariants: nothing is asked twice by itself; a gateway that is not there is told as such; how many
sessions are watched at once is bounded, and so are the connections for that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypeVar

from twisted.internet.defer import CancelledError, DeferredLock, TimeoutError
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory

from bastion.console.reads import Trouble
from bastion.control.asking import By, ControlError, Request, Stream
from bastion.control.link import Limits, Link
from bastion.control.orders import Watched, WatchSession
from bastion.errors import ConsoleReason, ControlReason

R = TypeVar("R")

CONNECT: Final = 5.0
LIMITS: Final = Limits(half=10.0, idle=30.0, output=1 << 20, questions=1)
"""Of what the gateway may do here: answer."""

EACH: Final = 8
"""Sessions watched over one connection: as many questions as the gateway answers there at once."""

LINKS: Final = 6
"""Connections for watching. The gateway has 16 for one account, and those for questions come and go."""

MOST_WATCHED: Final = EACH * LINKS
"""Sessions that are watched at once by all who are signed in; the gateway has places for 64 in a process."""

_REASONS: Final = {
    ControlReason.NOT_FOUND: ConsoleReason.NOT_FOUND,
    ControlReason.AMBIGUOUS: ConsoleReason.NOT_FOUND,
    ControlReason.MALFORMED: ConsoleReason.BAD_REQUEST,
    ControlReason.NO_ROLE: ConsoleReason.UNAVAILABLE,
}


def by(person: str) -> By:
    """Whom the console asks for. The gateway knows its account from the kernel."""
    return By(-1, "", person)


def trouble(error: ControlError) -> Trouble:
    """What the gateway has refused, in words for whoever asked."""
    text = error.text
    if error.reason is ControlReason.NO_ROLE:
        text = f"the console's own account may not do that at the gateway: {text}"
    return Trouble(_REASONS.get(error.reason, ConsoleReason.UNAVAILABLE), text)


class GatewaySocket:
    """One per console. `place` None: the gateway has no socket."""

    def __init__(self, reactor: Any, place: Path | None) -> None:
        self._reactor, self._place = reactor, place
        self._watching: dict[Link, int] = {}  # how many sessions over each
        self._watched = 0
        self._opening = DeferredLock()

    async def ask(self, request: Request[R]) -> R:
        """The gateway's answer, on a connection of its own. Raises Trouble, in words for whoever asked."""
        try:
            return await self.told(request)
        except ControlError as error:
            raise trouble(error) from None

    async def told(self, request: Request[R]) -> R:
        """The same, and raises ControlError as the gateway gives it. Trouble: nothing answers."""
        link = await self._connected()
        try:
            return await link.ask(request)
        finally:
            link.drop()

    async def watch(self, request: WatchSession, stream: Stream) -> Watched:
        """A session as it happens, in `stream`, until it is over or nobody wants to know. Raises Trouble."""
        if self._watched >= MOST_WATCHED:
            text = f"{MOST_WATCHED} sessions are watched here already: try again in a moment"
            raise Trouble(ConsoleReason.TOO_MANY, text)
        self._watched += 1
        try:
            link = await self._with_room()
            try:
                return await link.ask(request, stream)
            finally:
                self._left(link)
        except ControlError as error:
            raise trouble(error) from None
        finally:
            self._watched -= 1

    async def _with_room(self) -> Link:
        """A connection with a place, which is taken. One is opened at a time, so that all who wait for it share it."""
        await self._opening.acquire()
        try:
            for link, count in self._watching.items():
                if not link.lost and count < EACH:
                    self._watching[link] += 1
                    return link
            made = await self._connected()
            self._watching[made] = 1
            return made
        finally:
            self._opening.release()

    def _left(self, link: Link) -> None:
        self._watching[link] -= 1
        if not self._watching[link]:
            del self._watching[link]
            link.drop()

    async def _connected(self) -> Link:
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
        return link

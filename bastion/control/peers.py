"""Another gateway, as it is reached from here (L3): dialled, asked for its locks all the time, asked for people.

Invariants: it is who its certificate says, and nobody else is asked; one that does not answer is dialled again with
growing pauses and holds up nothing; what it says is bounded (`LIMITS`) and is never an order: this end of the
connection serves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.protocol import ClientFactory, connectionDone
from twisted.python.failure import Failure

from bastion.clock import Clock, DelayedCall
from bastion.control.asking import ControlError, Node, R, Request, Stream
from bastion.control.link import Limits, Link
from bastion.control.there import LocksHeld, LocksThere
from bastion.errors import ControlReason
from bastion.net.mutual_tls import MutualTls, NodeTls, Proved

BEAT: Final = 1.0
"""Seconds between two questions what is locked."""

GONE_AFTER: Final = 3.5
"""Seconds without an answer after which it is missing: a question that was lost, its time, and another."""

MISSES: Final = 3
"""Questions without an answer after which it is dialled again."""

MARK: Final = 128
"""Characters of a mark that is repeated; ours have less than 40."""

CONNECT: Final = 5.0
PAUSE_FIRST: Final = 0.25
PAUSE_LONGEST: Final = 5.0
"""Seconds: to connect; between two tries, doubling, and up to a half of it less by chance."""

LIMITS: Final = Limits(
    frame=1 << 20, half=10.0, idle=None, output=8 << 20, stall=10.0, questions=1, result=32 << 20
)
"""What another gateway may make us keep: its answers, of 20,000 locks at most."""


class Peer(Node):
    """One of the other gateways. `on_locks` hears what it has locked, `on_state` that it is there or is not."""

    def __init__(
        self,
        reactor: Any,
        clock: Clock,
        name: str,
        address: tuple[str, int],
        others: frozenset[str],
        tls: NodeTls,
        chance: Callable[[], float],
    ) -> None:
        """`others` are the names that its certificate may not have too: ours, and those of the other gateways."""
        self.name = name
        self.on_locks: Callable[[Peer, LocksHeld], object] = lambda peer, held: None
        self.on_state: Callable[[Peer, str], object] = lambda peer, why: None
        self.heard_at = float("-inf")  # the last answer, on the reactor's clock
        self.told_at = float("-inf")  # the last one of a gateway that knows what is locked
        self.here = False
        self._reactor, self._clock, self._tls, self._chance = reactor, clock, tls, chance
        self._address, self._others = address, others
        self._link: Link | None = None
        self._seen = ""
        self._pause = PAUSE_FIRST
        self._misses = 0
        self._asking = False
        self._running = False
        self._why = ""  # it cannot be reached
        self._timer: DelayedCall | None = None  # the next beat
        self._dialling: Any = None
        self._again: DelayedCall | None = None

    def start(self) -> None:
        """Reach it, and stay in touch."""
        if not self._running:
            self._running = True
            self._dial()
            self._beat()

    def stop(self) -> None:
        """Nothing fires after this."""
        self._running = False
        for timer in (self._timer, self._again):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = self._again = None
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.disconnect()
        if self._link is not None:
            self._link.drop()

    def ask(self, request: Request[R], stream: Stream | None = None) -> Deferred[R]:
        if self._link is None or not self.here:
            why = f": {self._why}" if self._why else ""
            return fail(ControlError(ControlReason.TIMEOUT, f"{self.name} is not there{why}"))
        return self._link.ask(request, stream)

    # -- what is locked there ----------------------------------------------------------------------------

    def look(self) -> None:
        """Ask it now, unless it is being asked."""
        link = self._link
        if link is None or self._asking:
            return
        self._asking = True
        asked = link.ask(LocksThere(self._seen))
        asked.addCallbacks(self._heard, self._missed)

    def _beat(self) -> None:
        self._timer = self._reactor.callLater(BEAT, self._beat)
        self.look()
        if self.here and self._reactor.seconds() - self.heard_at > GONE_AFTER:
            self._is(False, self._why or "it does not answer")

    def _heard(self, held: LocksHeld) -> None:
        self._asking, self._misses = False, 0
        if not self._running:
            return
        self.heard_at, self._pause, self._why = self._reactor.seconds(), PAUSE_FIRST, ""
        if held.mark != self._seen:
            self.on_locks(self, held)
            self._seen = held.mark if len(held.mark) <= MARK else ""  # it goes into each question
        if held.known:
            self.told_at = self.heard_at
        self._is(True, "")

    def _missed(self, failure: Failure) -> None:
        self._asking = False
        self._misses += 1
        self._why = failure.getErrorMessage()
        if self._misses >= MISSES and self._link is not None:
            self._misses = 0
            self._link.drop()

    def _is(self, here: bool, why: str) -> None:
        if here is not self.here:
            self.here = here
            self.on_state(self, why)

    # -- the connection ----------------------------------------------------------------------------------

    def _dial(self) -> None:
        self._again = None
        host, port = self._address
        self._dialling = self._reactor.connectTCP(
            host, port, _Dialler(self._made, self._failed), timeout=CONNECT
        )

    def _made(self) -> MutualTls:
        context = self._tls.context(server=False)
        return MutualTls(self._reactor, self._clock, context, False, self._admit, self._over)

    def _admit(self, proved: Proved) -> Link | None:
        if self.name not in proved.names or proved.names & self._others:
            self._why = f"its certificate is not that of {self.name} alone"
            return None
        self._seen = ""  # it may have been started again
        self._asking, self._misses = False, 0
        self._link = link = _PeerLink(self._reactor, self.name, limits=LIMITS, on_lost=self._lost)
        link.on_made = self.look
        return link

    def _over(self, tls: MutualTls, why: str) -> None:
        if why:
            self._why = why

    def _lost(self, link: Link) -> None:
        self._link = None
        self._asking = False

    def _failed(self, why: str) -> None:
        """It could not be connected to, or the connection is over."""
        self._dialling = None
        self._why = why or self._why
        if self._running and self._again is None:
            wait = self._pause * (1.0 - self._chance() / 2)
            self._pause = min(PAUSE_LONGEST, self._pause * 2)
            self._again = self._reactor.callLater(wait, self._dial)


class _PeerLink(Link):
    """A link that says when it can be asked."""

    on_made: Callable[[], object] = str

    def connectionMade(self) -> None:
        super().connectionMade()
        self.on_made()


class _Dialler(ClientFactory):
    """One connection."""

    noisy = False

    def __init__(self, make: Callable[[], MutualTls], failed: Callable[[str], None]) -> None:
        self._make, self._failed = make, failed

    def buildProtocol(self, addr: Any) -> MutualTls:
        return self._make()

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self._failed(reason.getErrorMessage())

    def clientConnectionLost(self, connector: Any, reason: Failure = connectionDone) -> None:
        self._failed("")

"""Where other gateways connect to (L3): each proves its name by a certificate, and then asks and orders.

Invariants: a name that is not listed is nobody, whatever its certificate says; what strangers can hold are UNKNOWN
connections for HANDSHAKE seconds each, the oldest of which gives way, at RATE new ones a second; a gateway has
LINKS_EACH connections, and what it asks at once and leaves unread is bounded (`LIMITS`).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory

from bastion.clock import Clock
from bastion.control.asking import ControlError, Request, Stream
from bastion.control.link import Limits, Link
from bastion.control.rate import Rate
from bastion.control.there import ASKED_BY_NODES
from bastion.errors import ControlReason
from bastion.net.mutual_tls import MutualTls, NodeTls, Proved
from bastion.observe.events import AuditEvent
from bastion.observe.events.nodes import NodeRefused
from bastion.observe.families.nodes import NODE_REFUSALS
from bastion.observe.meters import Meters
from bastion.wire.printable import printable

UNKNOWN: Final = 32
"""Connections that have not proved a name yet."""

RATE: Final = 50.0
"""New connections a second, and at once: each costs a signature. What is over is closed before it costs anything."""

LINKS_EACH: Final = 2
"""Connections of one gateway: while it hands over to another process of itself there are two."""

QUESTIONS: Final = 50.0
"""Questions of one gateway a second, twice as many at once: it asks once a second, and what people type there."""

LINES: Final = 10
"""Audit lines of refusals at once, and one in ten seconds after that: the counter has all of them."""

LIMITS: Final = Limits(frame=1 << 20, half=10.0, idle=30.0, output=32 << 20, stall=10.0, questions=16)
"""What another gateway may do: it asks once a second, so one that is silent is gone."""

Answer = Callable[[str, Request[Any], Stream], Deferred[Any]]
"""Answers what the gateway of that name asks; fails with ControlError."""


class NodesDoor(Factory):
    """Builds a connection for everybody, and a link for who is one of `names`. `own` is the name of this gateway."""

    noisy = False

    def __init__(
        self,
        reactor: Any,
        clock: Clock,
        tls: NodeTls,
        own: str,
        names: frozenset[str],
        answer: Answer,
        meters: Meters,
        note: Callable[[AuditEvent], None],
    ) -> None:
        self._reactor, self._clock, self._tls = reactor, clock, tls
        self._own, self._names, self._answer = own, names, answer
        self._meters, self._note = meters, note
        self._unknown: dict[MutualTls, str] = {}  # address; oldest first
        self._links: list[tuple[str, Link]] = []
        self._port: Any = None
        self._coming = Rate(reactor, RATE, RATE)
        self._lines = Rate(reactor, 1.0 / LINES, LINES)
        self._questions = {name: Rate(reactor, QUESTIONS, 2 * QUESTIONS) for name in names}

    # -- listening ---------------------------------------------------------------------------------------

    def listen(self, host: str, port: int) -> None:
        """Raises OSError."""
        if self._port is not None:
            return
        with _listening(host, port) as made:
            self._port = self._reactor.adoptStreamPort(made.fileno(), made.family, self)

    def close(self) -> None:
        """Nobody is answered any more."""
        port, self._port = self._port, None
        if port is not None:
            port.stopListening()
        for unknown in list(self._unknown):
            unknown.abortConnection()
        for _, link in list(self._links):
            link.drop()

    # -- who comes ---------------------------------------------------------------------------------------

    def buildProtocol(self, addr: IAddress | None) -> MutualTls | None:
        address = str(getattr(addr, "host", ""))
        if not self._coming.allows():
            text = f"more than {RATE:.0f} connections in a second"
            self._refused(ControlError(ControlReason.TOO_MANY, text), address=address)
            return None
        if len(self._unknown) >= UNKNOWN:
            oldest = next(iter(self._unknown))
            self._refused(
                ControlError(ControlReason.TOO_MANY, "its place was needed"), address=self._unknown[oldest]
            )
            oldest.abortConnection()
        proved: list[MutualTls] = []

        def admit(found: Proved) -> Link | None:
            return self._admit(found, proved[0])

        made = MutualTls(self._reactor, self._clock, self._tls.context(server=True), True, admit, self._over)
        proved.append(made)
        self._unknown[made] = address
        return made

    def _admit(self, proved: Proved, tls: MutualTls) -> Link | None:
        address = self._unknown.pop(tls, "")
        found = proved.names & self._names
        if len(found) != 1 or self._own in proved.names:
            shown = printable(", ".join(sorted(proved.names)[:8]) or "none", 200)
            text = f"its certificate has the names: {shown}; not one gateway of [nodes] peers"
            self._refused(ControlError(ControlReason.STRANGER, text), address=address)
            return None
        (name,) = found
        asked: list[str] = []

        def answer(command: str, request: Request[Any], stream: Stream) -> Deferred[Any]:
            asked[:] = [command, str(getattr(getattr(request, "by", None), "name", ""))]
            if not self._questions[name].allows():
                raise ControlError(ControlReason.TOO_MANY, f"more than {QUESTIONS:.0f} questions in a second")
            return self._answer(name, request, stream)

        def refused(error: ControlError) -> None:
            command, who = asked or ("", "")
            asked.clear()
            self._refused(error, name, command, who, address)

        link = Link(self._reactor, name, answer, LIMITS, self._lost, ASKED_BY_NODES)
        link.on_refused = refused
        same = [one for known, one in self._links if known == name]
        for old in same[: len(same) + 1 - LINKS_EACH]:
            old.drop()
        self._links.append((name, link))
        return link

    def _lost(self, link: Link) -> None:
        self._links = [one for one in self._links if one[1] is not link]

    def _over(self, tls: MutualTls, why: str) -> None:
        address = self._unknown.pop(tls, None)
        if address is not None and why:
            self._refused(ControlError(ControlReason.STRANGER, why), address=address)

    def _refused(
        self, error: ControlError, node: str = "", command: str = "", who: str = "", address: str = ""
    ) -> None:
        if (error.reason,) not in NODE_REFUSALS_SAID:
            return
        self._meters.add(NODE_REFUSALS, error.reason)
        if self._lines.allows():
            self._note(NodeRefused(error.reason, error.text, node, command, printable(who, 64), address))


NODE_REFUSALS_SAID: Final = frozenset(NODE_REFUSALS.combinations())
"""Refusals that say something about who asked; the others are answers."""


def _listening(host: str, port: int) -> socket.socket:
    """A socket that another process of this gateway may have too: while one hands over to the next, both listen."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.setblocking(False)
        made.bind((host, port))
        made.listen(UNKNOWN)
    except OSError:
        made.close()
        raise
    return made

"""A listening socket of the front door, and who comes to it behind a load balancer (L3).

A `Doorway` is the factory of one socket. Where `listen.proxy_protocol` names balancers for it, only those may connect,
and each connection of theirs begins with a header that says where it comes from (`wire.proxy_header`). A `HeaderWait`
reads it, hands the socket to the transport with the bytes behind it, and is gone: from then on the connection is one of
that address and costs what any other costs. Everybody else is refused before a byte of SSH.

Invariant: no header is looked at of a peer that is not listed, and a header's address is judged as a peer's would be.
What balancers say of themselves (LOCAL, UNKNOWN, or their own address, as HAProxy's health checks in version 1) is a
`Probe`: it is told our version, and is no login, because the only address that it has is the balancer's, which rules
may trust for other things.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory
from twisted.python.failure import Failure

from bastion.auth.restrictions import normal_address
from bastion.clock import DelayedCall
from bastion.doors.listener import Front
from bastion.errors import HeaderResult, ProtocolError
from bastion.observe.events.logins import HeaderRefused
from bastion.observe.meters import CONNECTIONS_ACCEPTED, CONNECTIONS_CLOSED, PROXY_HEADERS
from bastion.options.kinds import Address, Network
from bastion.session.gateway import Balancers
from bastion.transport.transport import server_transport
from bastion.wire.numbers import Disconnect
from bastion.wire.proxy_header import HeaderFault, HeaderReader

HEADER_WAIT: Final = 3.0
"""Seconds from accept to the header's last byte: a balancer sends it with the first packet."""

PROBE_WAIT: Final = 3.0
"""Seconds that a health check may look at our version."""

WAITING_MOST: Final = 1024
"""Connections of balancers that wait for their header, or are probes, at the same time: 3 KiB each, and a descriptor.
They are in nobody's count of unfinished logins yet."""

VERSION_MOST: Final = 255
"""Bytes of a version line (RFC 4253 section 4.2), which a health check may send."""


class Doorway(ServerFactory[Any]):
    """Builds what an accepted connection of one socket begins with, or refuses it."""

    noisy = False

    def __init__(self, front: Front, host: str, port: int) -> None:
        """`host` and `port` are the socket's, as it says them itself."""
        self._front = front
        self._place = host, port

    @property
    def gives_way(self) -> Any:
        """As the front's (`net.socket.Port`): None where nobody else accepts."""
        return getattr(self._front, "gives_way", None)

    def out_of_descriptors(self) -> None:
        self._front.out_of_descriptors()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        front = self._front
        networks = balancers_of(front.gateway.balancers, self._place)
        if networks is None:
            return front.buildProtocol(addr)
        peer = _normal(str(getattr(addr, "host", "")))
        if not _is_listed(peer, networks):
            _turn_away(front, peer, HeaderResult.NOT_LISTED, "no load balancer of this listener")
        elif len(front.waiting) >= WAITING_MOST:
            _turn_away(front, peer, HeaderResult.TOO_MANY, "too many connections without a header")
        else:
            return HeaderWait(front, peer)
        return None


def balancers_of(balancers: Balancers, place: tuple[str, int]) -> tuple[Network, ...] | None:
    """Who must send headers to a listener; None where everybody may come, and nobody's header is looked at."""
    if not balancers:
        return None
    found = balancers.get(place)
    return balancers.get((place[0], 0)) if found is None else found


def unserved(balancers: Balancers, places: Sequence[tuple[str, int]]) -> str:
    """Of those listeners the ones that are none of `places`, where sockets listen: what was meant for balancers alone
    would be open to everybody. Sockets that were handed in may be others than the configuration has."""
    missing = [place for place in balancers if not any(place in (one, (one[0], 0)) for one in places)]
    return ", ".join(str(Address(*place)) for place in missing)


def _normal(peer: str) -> str:
    try:
        return str(normal_address(peer))
    except ProtocolError:
        return peer


def _is_listed(peer: str, networks: tuple[Network, ...]) -> bool:
    try:
        address = normal_address(peer)
    except ProtocolError:
        return False
    return any(address in network for network in networks)


def _turn_away(front: Front, peer: str, reason: HeaderResult, text: str) -> None:
    """Count a connection that comes to nothing, and write it down. `text` is ours."""
    gateway = front.gateway
    for family in (CONNECTIONS_ACCEPTED, CONNECTIONS_CLOSED):
        gateway.meters.add(family)
    gateway.meters.add(PROXY_HEADERS, reason)
    if reason is not HeaderResult.SILENT:
        event = HeaderRefused(source=peer, reason=reason, text=text)
        gateway.rationed.note(gateway.budget.source(peer), peer, event)


class HeaderWait:
    """One connection of a balancer until its header is whole; for Twisted an IProtocol."""

    __slots__ = ("_below", "_came", "_front", "_peer", "_reader", "_timer")

    def __init__(self, front: Front, peer: str) -> None:
        self._front, self._peer = front, peer
        self._reader = HeaderReader()
        self._came = front.gateway.reactor.seconds()
        self._below: Any = None
        self._timer: DelayedCall | None = None

    def makeConnection(self, below: Any) -> None:
        self._below = below
        self._timer = self._front.gateway.reactor.callLater(HEADER_WAIT, self._late)
        self._front.waiting.add(self)

    def dataReceived(self, data: bytes | memoryview) -> None:
        """Take what is the header's; `data` is used again by whoever has read it."""
        if self._timer is None:
            return  # refused, and not closed yet
        reader = self._reader
        try:
            taken = reader.feed(data)
        except HeaderFault as fault:
            self._refuse(fault.reason, fault.text)
            return
        if reader.header is not None:
            source = reader.header.source
            self._enter("" if source == self._peer else source, data[taken:])

    def connectionLost(self, reason: Failure | None = None) -> None:
        if self._over():
            cut = self._reader.held
            result = HeaderResult.CUT_SHORT if cut else HeaderResult.SILENT
            _turn_away(self._front, self._peer, result, f"closed after {cut} bytes of a header")
        self._below = None

    def drop(self) -> None:
        """The gateway stops."""
        if self._over():
            self._below.loseConnection()

    def _late(self) -> None:
        text = f"no whole header within {HEADER_WAIT:g} s"
        self._refuse(HeaderResult.LATE, text)

    def _refuse(self, reason: HeaderResult, text: str) -> None:
        if self._over():
            _turn_away(self._front, self._peer, reason, text)
            self._below.loseConnection()

    def _over(self) -> bool:
        """It waits no more; False when it did not before."""
        timer, self._timer = self._timer, None
        self._front.waiting.discard(self)
        if timer is None:
            return False
        if timer.active():
            timer.cancel()
        return True

    def _enter(self, source: str, rest: bytes | memoryview) -> None:
        """Whoever is spoken for takes the socket, and what came behind the header; "": the balancer itself."""
        self._over()
        front, below, self._below = self._front, self._below, None
        front.gateway.meters.add(PROXY_HEADERS, HeaderResult.OK if source else HeaderResult.LOCAL)
        above: Any = front.admit(source, self._came) if source else Probe.admitted(front, self._peer)
        if above is None:
            below.loseConnection()
            return
        below.give_to(above)
        if rest:
            above.dataReceived(rest)


class Probe:
    """A balancer that looks whether we are there; for Twisted an IProtocol. It gets our version line."""

    __slots__ = ("_front", "_heard", "_peer", "_transport")

    def __init__(self, front: Front, peer: str) -> None:
        self._front, self._peer = front, peer
        self._heard = bytearray()
        settings = replace(front.gateway.services.front_settings, login_grace=PROBE_WAIT)
        self._transport = server_transport(settings, front.gateway.reactor, "a health check front")

    @classmethod
    def admitted(cls, front: Front, peer: str) -> Probe | None:
        """None while the gateway drains: so that the balancer sends nobody any more."""
        front.gateway.meters.add(CONNECTIONS_ACCEPTED)
        if front.gateway.draining:
            front.gateway.meters.add(CONNECTIONS_CLOSED)
            return None
        return cls(front, peer)

    def makeConnection(self, below: Any) -> None:
        self._front.waiting.add(self)
        self._transport.makeConnection(below)

    def dataReceived(self, data: bytes | memoryview) -> None:
        """A version line is good manners; more is somebody who wants to log in."""
        transport, heard = self._transport, self._heard
        if transport.closed:
            transport.dataReceived(data)
            return
        heard += data[: VERSION_MOST + 1]
        line = heard.find(b"\n") + 1
        if len(heard) <= VERSION_MOST and (not line or line == len(heard)):
            return
        gateway = self._front.gateway
        gateway.meters.add(PROXY_HEADERS, HeaderResult.NOBODY)
        event = HeaderRefused(
            source=self._peer, reason=HeaderResult.NOBODY, text="a login, and no address that it comes from"
        )
        gateway.rationed.note(gateway.budget.source(self._peer), self._peer, event)
        words = "bastion: the load balancer does not say which address you come from"
        transport.disconnect(Disconnect.BY_APPLICATION, words)

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._front.waiting.discard(self)
        self._front.gateway.meters.add(CONNECTIONS_CLOSED)
        self._transport.connectionLost(reason)

    def drop(self) -> None:
        """The gateway stops."""
        self._transport.disconnect(Disconnect.BY_APPLICATION, "bastion: the gateway is closing down")

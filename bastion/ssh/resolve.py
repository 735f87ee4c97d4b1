"""Names to addresses, through the reactor's own resolver (getaddrinfo in its thread pool)."""

from __future__ import annotations

from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from zope.interface import implementer


@implementer(IResolutionReceiver)
class _Addresses:
    """Collects what the resolver finds."""

    def __init__(self) -> None:
        self.done: Deferred[list[str]] = Deferred()
        self._found: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        pass

    def addressResolved(self, address: IAddress) -> None:
        if isinstance(address, IPv4Address | IPv6Address) and address.host not in self._found:
            self._found.append(address.host)

    def resolutionComplete(self) -> None:
        if self._found:
            self.done.callback(self._found)
        else:
            self.done.errback(DNSLookupError("no address"))


def resolve(reactor: Any, host: str) -> Deferred[list[str]]:
    """The numeric addresses of `host` in the system's order of preference; fails with DNSLookupError.

    A numeric address resolves to itself at once. The caller keeps the deadline: getaddrinfo has none.
    """
    if isIPAddress(host) or isIPv6Address(host):
        return succeed([host])  # Twisted would ask a thread
    receiver = _Addresses()
    reactor.nameResolver.resolveHostName(receiver, host)
    return receiver.done

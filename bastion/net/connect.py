"""From a name to a connection: resolve once, judge every address, connect to one that was judged good.

Nothing is resolved twice, so what was judged is what is connected to. Addresses that are not allowed are left out;
when none is left, the first one's fault is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError, TimeoutError
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from bastion.auth.budget import Purse
from bastion.errors import Reason, Refused, UpstreamReason
from bastion.net.descriptors import EXHAUSTED, WORDS, none_left
from bastion.net.resolver import resolve
from bastion.net.socket import connect

# Seconds for one address when there are more to try; the whole way has a limit of its own.
ADDRESS_TIMEOUT = 5.0
# Addresses of one name that are tried: a name with more is a mistake or an attack on the timer.
MAX_ADDRESSES = 8


class Reach:
    """One try to connect to `host`. Ends in `build`, whose protocol gets the connection, or in `fail`; or in `stop`.

    `judge` raises Refused for an address that may not be connected to. `resolved` is told when there are
    addresses to try. `payer` pays for the look-up. `timeout` in seconds is for the last address; the caller keeps the
    deadline of all.
    """

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int,
        *,
        judge: Callable[[str], None],
        build: Callable[[str], Any],
        fail: Callable[[Reason, str], None],
        timeout: float,
        payer: Purse | None = None,
        resolved: Callable[[], None] = lambda: None,
    ) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._judge = judge
        self._build: Callable[[str], Any] | None = build
        self._fail = fail
        self._timeout = timeout
        self._payer = payer
        self._lookup: Deferred[list[str]] | None = None
        self._when_resolved = resolved
        self._addresses: list[str] = []
        self._connector: Any = None

    def start(self) -> None:
        self._lookup = resolve(self._reactor, self._host, self._payer)
        self._lookup.addCallbacks(self._resolved, self._unresolved)

    def stop(self) -> None:
        """Give up; a connection that `build` already got is closed too."""
        self._build = None
        lookup, self._lookup = self._lookup, None
        if lookup is not None:
            lookup.cancel()
        connector, self._connector = self._connector, None
        if connector is not None:
            connector.disconnect()

    def _resolved(self, addresses: list[str]) -> None:
        self._lookup = None
        if self._build is None:
            return
        fault: Refused | None = None
        for address in addresses[:MAX_ADDRESSES]:
            try:
                self._judge(address)
            except Refused as refused:
                fault = fault or refused
            else:
                self._addresses.append(address)
        if not self._addresses and fault is not None:
            self._over(fault.reason, fault.text)
            return
        self._when_resolved()
        self._try_next()

    def _unresolved(self, failure: Failure) -> None:
        self._lookup = None
        if isinstance(failure.value, Refused):
            self._over(failure.value.reason, failure.value.text)
            return
        if self._build is not None and none_left():
            self._over(UpstreamReason.NO_DESCRIPTOR, WORDS)
            return
        self._over(UpstreamReason.NAME_NOT_FOUND, f"the name {self._host} does not resolve")

    def _try_next(self) -> None:
        address = self._addresses.pop(0)
        timeout = ADDRESS_TIMEOUT if self._addresses else self._timeout
        factory = _Factory(self, address)
        self._connector = connect(self._reactor, address, self._port, factory, timeout)

    def connected(self, address: str) -> Any:
        """The protocol for a connection just made, None when nobody wants it any more."""
        build, self._build = self._build, None
        return None if build is None else build(address)

    def connect_failed(self, failure: Failure) -> None:
        """One address did not answer; the next one is tried, or the last one's reason told."""
        if self._build is None:
            return
        if getattr(failure.value, "osError", None) in EXHAUSTED:  # no other address would do better
            self._over(UpstreamReason.NO_DESCRIPTOR, WORDS)
        elif self._addresses:
            self._try_next()
        elif isinstance(failure.value, ConnectionRefusedError):
            self._over(UpstreamReason.CONNECTION_REFUSED, "connection refused")
        elif isinstance(failure.value, TimeoutError):
            self._over(UpstreamReason.CONNECT_TIMEOUT, "no answer to the connection attempt")
        else:
            self._over(UpstreamReason.UNREACHABLE, "no route to it")

    def _over(self, reason: Reason, text: str) -> None:
        if self._build is not None:
            self._build = None
            self._fail(reason, text)


class _Factory(ClientFactory):
    """Hands Twisted's connection events to the reach, once."""

    noisy = False

    def __init__(self, reach: Reach, address: str) -> None:
        self._reach: Reach | None = reach
        self._address = address

    def buildProtocol(self, addr: object) -> IProtocol | None:
        reach, self._reach = self._reach, None
        return None if reach is None else reach.connected(self._address)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        reach, self._reach = self._reach, None
        if reach is not None:
            reach.connect_failed(reason)

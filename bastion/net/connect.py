"""From a name to a connection: resolve once, judge every address, connect to one that was judged good.

Nothing is resolved twice, so what was judged is what is connected to. Addresses that are not allowed are left out;
when none is left, the first one's fault is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError, TimeoutError
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from bastion.auth.budget import Purse
from bastion.errors import Refused, UpstreamReason
from bastion.net.descriptors import EXHAUSTED, WORDS, none_left
from bastion.net.resolver import resolve
from bastion.net.socket import connect

# Seconds for one address when there are more to try; the whole way has a limit of its own.
ADDRESS_TIMEOUT = 5.0
# Addresses of one name that are tried: a name with more is a mistake or an attack on the timer.
MAX_ADDRESSES = 8


async def reach(
    reactor: Any,
    host: str,
    port: int,
    *,
    judge: Callable[[str], None],
    build: Callable[[str], Any],
    timeout: float,
    payer: Purse | None = None,
    resolved: Callable[[], None] = lambda: None,
) -> Any:
    """Connect to `host`: what `build(address)` made for the connection, which it gets in this turn. Raises Refused.

    `judge` raises Refused for an address that may not be connected to. `resolved` is called when there are
    addresses to try. `payer` pays for the look-up. `timeout` in seconds is for the last address; the caller keeps
    the deadline of all, and cancels.
    """
    addresses = judged(await addresses_of(reactor, host, payer), judge)
    resolved()
    while True:
        address = addresses.pop(0)
        try:
            return await _connection(reactor, address, port, build, ADDRESS_TIMEOUT if addresses else timeout)
        except CancelledError:
            raise
        except Exception as error:
            refusal = _refusal_of(error)
            # Where there are no descriptors left no other address would do better.
            if not addresses or refusal.reason is UpstreamReason.NO_DESCRIPTOR:
                raise refusal from None


async def addresses_of(reactor: Any, host: str, payer: Purse | None) -> list[str]:
    """Where `host` is. Raises Refused."""
    try:
        return await resolve(reactor, host, payer)
    except (CancelledError, Refused):
        raise
    except Exception:
        if none_left():
            raise Refused(UpstreamReason.NO_DESCRIPTOR, WORDS) from None
        raise Refused(UpstreamReason.NAME_NOT_FOUND, f"the name {host} does not resolve") from None


def judged(found: list[str], judge: Callable[[str], None]) -> list[str]:
    """Those of the first MAX_ADDRESSES that may be connected to. Raises the first one's Refused when none may."""
    good: list[str] = []
    fault: Refused | None = None
    for address in found[:MAX_ADDRESSES]:
        try:
            judge(address)
        except Refused as refused:
            fault = fault or refused
        else:
            good.append(address)
    if fault is not None and not good:
        raise fault
    return good


def _refusal_of(error: Exception) -> Refused:
    """Why an address could not be connected to."""
    if getattr(error, "osError", None) in EXHAUSTED:
        return Refused(UpstreamReason.NO_DESCRIPTOR, WORDS)
    if isinstance(error, ConnectionRefusedError):
        return Refused(UpstreamReason.CONNECTION_REFUSED, "connection refused")
    if isinstance(error, TimeoutError):
        return Refused(UpstreamReason.CONNECT_TIMEOUT, "no answer to the connection attempt")
    return Refused(UpstreamReason.UNREACHABLE, "no route to it")


def _connection(
    reactor: Any, address: str, port: int, build: Callable[[str], Any], timeout: float
) -> Deferred[Any]:
    """One address; cancelling gives the attempt up."""
    factory = _Factory(address, build)
    made = factory.made
    assert made is not None
    connector = connect(reactor, address, port, factory, timeout)
    if factory.made is not None:
        factory.connector = connector
    return made


class _Factory(ClientFactory):
    """Hears from Twisted how one attempt went. It lives as long as the connection does, so it keeps nothing then."""

    noisy = False

    def __init__(self, address: str, build: Callable[[str], Any]) -> None:
        self._address = address
        self._build: Callable[[str], Any] | None = build
        self.made: Deferred[Any] | None = Deferred(self._given_up)
        self.connector: Any = None

    def _let_go(self) -> Deferred[Any] | None:
        made, self.made = self.made, None
        self._build = self.connector = None
        return made

    def buildProtocol(self, addr: object) -> IProtocol | None:
        build = self._build
        made = self._let_go()
        if made is None or build is None:
            return None  # nobody wants the connection any more
        protocol: IProtocol = build(self._address)
        made.callback(protocol)
        return protocol

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        made = self._let_go()
        if made is not None:
            made.errback(reason)

    def _given_up(self, _: object) -> None:
        connector = self.connector
        self._let_go()
        if connector is not None:
            connector.disconnect()

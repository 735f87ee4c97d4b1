"""Names to addresses: getaddrinfo in the reactor's threads, bounded and shared fairly between those who ask.

getaddrinfo can neither be cancelled nor told a deadline, and a name whose servers are dead keeps its thread for half a
minute. So the look-ups of one process are bounded, those of one payer more narrowly, and what waits for a thread
waits in turns: 60 dead names of one engineer leave the others their threads. Whoever asks may cancel; what is
waiting then goes, what runs is let go of and its thread counted until it is back.

Invariants: one look-up for a name at a time, whoever asks for it (`join`); a payer's place is held until its
look-up is answered, cancelled or, when it has a thread, until that is back.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any, Final
from weakref import WeakKeyDictionary

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from bastion.auth.budget import Hold, Purse, Work
from bastion.errors import Refused

THREADS: Final = 32
"""Look-ups under way at once in the process. The reactor's pool is made this large (`Resolver.make_room`): nothing else
uses it. A thread that waits costs some 100 KiB."""

THREADS_EACH: Final = 4
"""... and of one payer: eight engineers with dead names only, all at once, are needed to make somebody wait."""

DEADLINE: Final = 30.0
"""Seconds after which a look-up has failed, for those who have no limit of their own (a dial has 20 in all). What runs
and is wanted by nobody any more is stuck: its thread counts until it is back. resolv.conf's defaults are 5 a server,
twice."""


@implementer(IResolutionReceiver)
class _Lookup:
    """One name being looked up, or waiting for it."""

    def __init__(self, resolver: Resolver, host: str, payer: Purse | None) -> None:
        self.host = host
        self.payer = payer
        self.asking: dict[Deferred[list[str]], Hold | None] = {}
        self.hold: Hold | None = None  # the payer's place while it has a thread
        self.running = False
        self.stuck = False
        self._resolver = resolver
        self._found: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        pass

    def addressResolved(self, address: IAddress) -> None:
        if isinstance(address, IPv4Address | IPv6Address) and address.host not in self._found:
            self._found.append(address.host)

    def resolutionComplete(self) -> None:
        self._resolver._answered(self, self._found)

    def answer(self, found: list[str]) -> None:
        """Tell everybody who asks; their places are free."""
        asking, self.asking = self.asking, {}
        for waiting, hold in asking.items():
            if hold is not None:
                hold.release()
            if found:
                waiting.callback(list(found))
            else:
                waiting.errback(DNSLookupError("no address"))


class Resolver:
    """All look-ups of one reactor. `running`, `stuck` (of those, wanted by nobody) and `waiting` are counts."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._lookups: dict[str, _Lookup] = {}
        self._queues: OrderedDict[Purse | None, deque[_Lookup]] = OrderedDict()  # whose turn is first, first
        self._threads: dict[Purse | None, int] = {}
        self.running = 0
        self.stuck = 0

    def make_room(self) -> None:
        """Let the reactor's pool have as many threads as may be used here."""
        self._reactor.suggestThreadPoolSize(THREADS)

    @property
    def waiting(self) -> int:
        return sum(map(len, self._queues.values()))

    def resolve(self, host: str, payer: Purse | None = None) -> Deferred[list[str]]:
        """The numeric addresses of `host` in the system's order of preference; fails with DNSLookupError, or
        Refused(BUDGET_NAME_LOOKUP) when `payer` asks for too much at once. To be cancelled when nobody wants it.

        A numeric address resolves to itself at once.
        """
        if isIPAddress(host) or isIPv6Address(host):
            return succeed([host])  # Twisted would ask a thread
        hold: Hold | None = None
        if payer is not None:
            try:
                hold = payer.take(Work.NAME_LOOKUP)
            except Refused as refusal:
                return fail(refusal)
        lookup = self._lookups.get(host)
        if lookup is None:
            lookup = self._lookups[host] = _Lookup(self, host, payer)
            self._queues.setdefault(payer, deque()).append(lookup)
        elif not lookup.running and self._threads.get(payer, 0) < THREADS_EACH:
            self._unqueue(lookup)  # it may wait behind what somebody else has asked
            lookup.payer = payer
            self._queues.setdefault(payer, deque()).append(lookup)
        found = lookup
        waiting: Deferred[list[str]] = Deferred(lambda asked: self._cancelled(found, asked))
        lookup.asking[waiting] = hold
        late = self._reactor.callLater(DEADLINE, self._late, lookup, waiting)
        waiting.addBoth(_stop_timer, late)
        self._start_some()
        return waiting

    def _start_some(self) -> None:
        """Give free threads to those who wait, one each in turns."""
        while self.running < THREADS:
            lookup = self._next()
            if lookup is None:
                return
            self.running += 1
            self._threads[lookup.payer] = self._threads.get(lookup.payer, 0) + 1
            lookup.running = True
            self._reactor.nameResolver.resolveHostName(lookup, lookup.host)

    def _next(self) -> _Lookup | None:
        """Of those who wait, one of who has fewest threads; of equals the one who has waited for a turn longest."""
        payer = min(self._queues, key=self._threads_of, default=None)
        if payer not in self._queues or self._threads_of(payer) >= THREADS_EACH:
            return None
        queue = self._queues[payer]
        lookup = queue.popleft()
        if queue:
            self._queues.move_to_end(payer)
        else:
            del self._queues[payer]
        return lookup

    def _threads_of(self, payer: Purse | None) -> int:
        return self._threads.get(payer, 0)

    def _answered(self, lookup: _Lookup, found: list[str]) -> None:
        """The thread is back."""
        self.running -= 1
        self.stuck -= lookup.stuck
        left = self._threads[lookup.payer] - 1
        if left:
            self._threads[lookup.payer] = left
        else:
            del self._threads[lookup.payer]
        if lookup.hold is not None:
            lookup.hold.release()
        if self._lookups.get(lookup.host) is lookup:
            del self._lookups[lookup.host]
        lookup.answer(found)
        self._start_some()

    def _cancelled(self, lookup: _Lookup, asked: Deferred[list[str]]) -> None:
        hold = lookup.asking.pop(asked, None)
        if not lookup.asking:
            hold = self._let_go(lookup, hold)
        if hold is not None:
            hold.release()

    def _let_go(self, lookup: _Lookup, hold: Hold | None) -> Hold | None:
        """Nobody waits for `lookup` any more. The place goes on being held while a thread works for nobody."""
        if lookup.running:
            if lookup.hold is None:
                lookup.hold, hold = hold, None
            if not lookup.stuck:
                lookup.stuck = True
                self.stuck += 1
            return hold
        del self._lookups[lookup.host]
        self._unqueue(lookup)
        return hold

    def _unqueue(self, lookup: _Lookup) -> None:
        queue = self._queues[lookup.payer]
        queue.remove(lookup)
        if not queue:
            del self._queues[lookup.payer]

    def _late(self, lookup: _Lookup, asked: Deferred[list[str]]) -> None:
        self._cancelled(lookup, asked)
        asked.errback(DNSLookupError("no answer in time"))


def _stop_timer(result: list[str] | Failure, timer: Any) -> list[str] | Failure:
    if timer.active():
        timer.cancel()
    return result


_RESOLVERS: WeakKeyDictionary[Any, Resolver] = WeakKeyDictionary()


def resolver_of(reactor: Any) -> Resolver:
    """The one of `reactor`, whose threads it shares out."""
    made = _RESOLVERS.get(reactor)
    if made is None:
        made = _RESOLVERS[reactor] = Resolver(reactor)
    return made


def resolve(reactor: Any, host: str, payer: Purse | None = None) -> Deferred[list[str]]:
    """`Resolver.resolve` of `reactor`'s."""
    return resolver_of(reactor).resolve(host, payer)

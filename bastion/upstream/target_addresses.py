"""Where the targets' names lead, looked up in the background: what a tunnel to a bare address is compared with.

A target that is written by name has an address too, and whoever writes that address, or another name that leads there,
would reach its SSH server past the recorder. So every name is asked for again every `REFRESH` seconds. A name that
does not answer any more keeps what it last led to: a resolver that fails opens nothing.

Bounded: `PARALLEL` look-ups at once, one begun every `GAP` seconds, `MAX_ADDRESSES` kept of each. What is not seen: an
address that a name has had for less than one round.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from bastion.clock import DelayedCall, Timers
from bastion.policy.patterns import Address, address_of

REFRESH: Final = 300.0
"""Seconds from the begin of one round to that of the next."""

GAP: Final = 0.02
"""Seconds from one look-up to the next: 10,000 names take 200 s, so a round ends before the next one is due up to
15,000 of them; with more it takes longer. A look-up costs the process some 0.3 ms, so a round takes 1.5 % of a core."""

PARALLEL: Final = 4
"""Look-ups that may be under way: getaddrinfo cannot be cancelled, and its threads are everybody's."""

LOOKUP_TIMEOUT: Final = 10.0
"""Seconds after which a name counts as asked. Its place is free when the thread is back."""

MAX_ADDRESSES: Final = 64
"""Addresses kept of one name, 150 bytes each: 1 KiB for a usual one. The dialler tries 8."""

Resolve = Callable[[str], "Deferred[list[str]]"]


class TargetAddresses:
    """Implements `policy.targets.Resolved`. `follow_names` names the names; `stop` ends it."""

    def __init__(self, timers: Timers, resolve: Resolve) -> None:
        self._timers = timers
        self._resolve = resolve
        self._led: dict[str, frozenset[Address]] = {}  # by name; empty: asked, and it leads nowhere
        self._names: dict[Address, set[str]] = {}
        self._followed: frozenset[str] = frozenset()
        self._in_order: tuple[str, ...] = ()
        self._due: deque[str] = deque()
        self._under_way: set[str] = set()
        self._began = 0.0
        self._timer: DelayedCall | None = None

    # -- policy.targets.Resolved ---------------------------------------------------------------------------

    def names_at(self, address: Address) -> Iterable[str]:
        """The names of targets that lead to `address`."""
        return self._names.get(address, ())

    @property
    def complete(self) -> bool:
        """Every name has been asked for once."""
        return len(self._led) >= len(self._followed)

    # -- the rounds ----------------------------------------------------------------------------------------

    def follow_names(self, names: tuple[str, ...]) -> None:
        """From now on these names are asked for, new ones first; others are forgotten. What `names_among` gave: with
        10,000 hosts that takes 20 ms, and may be done in a thread."""
        self._in_order, self._followed = names, frozenset(names)
        for name in self._led.keys() - self._followed:
            self._learn(name, frozenset())
            del self._led[name]
        self._begin_round()

    def stop(self) -> None:
        """No look-up is begun any more."""
        self._followed = frozenset()
        self._due.clear()
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _begin_round(self) -> None:
        self._began = self._timers.seconds()
        known = self._led.keys()
        self._due = deque(name for name in self._in_order if name not in known)
        self._due.extend(name for name in self._in_order if name in known)
        self._again(0.0)

    def _again(self, wait: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._timers.callLater(wait, self._step) if self._followed else None

    def _step(self) -> None:
        """Begin one look-up, or the next round when its time has come."""
        self._timer = None
        if not self._due:
            wait = self._began + REFRESH - self._timers.seconds()
            if wait <= 0.0:
                self._begin_round()
            else:
                self._again(wait)
            return
        if len(self._under_way) < PARALLEL:
            name = self._due.popleft()
            if name in self._followed and name not in self._under_way:
                self._ask(name)
        self._again(GAP)

    def _ask(self, name: str) -> None:
        self._under_way.add(name)
        late = self._timers.callLater(LOOKUP_TIMEOUT, self._failed, name)

        def over(result: Any) -> None:
            self._under_way.discard(name)
            if late.active():
                late.cancel()
            if isinstance(result, Failure):
                self._failed(name)
            elif name in self._followed:
                found = (address_of(text) for text in result[:MAX_ADDRESSES])
                self._learn(name, frozenset(one for one in found if one is not None))

        self._resolve(name).addBoth(over)

    def _failed(self, name: str) -> None:
        """What it led to before still counts."""
        if name in self._followed:
            self._led.setdefault(name, frozenset())

    def _learn(self, name: str, found: frozenset[Address]) -> None:
        for address in self._led.get(name, frozenset()) - found:
            names = self._names[address]
            names.discard(name)
            if not names:
                del self._names[address]
        for address in found:
            self._names.setdefault(address, set()).add(name)
        self._led[name] = found


def names_among(hosts: Iterable[str]) -> tuple[str, ...]:
    """The hosts that are no addresses, each once and sorted."""
    return tuple(sorted({host for host in hosts if address_of(host) is None}))

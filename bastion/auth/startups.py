"""Who may begin to log in while many do (L1, pure): places for unfinished logins, shared fairly between sources.

`StartupLimiter` bounds connections that have not logged in yet. Up to `full` of them there is room; then a newcomer
of a source that holds less takes the place of the oldest one of the source that holds most, so that whoever has none
gets one however many others hold. Sources are weighed twice: by network (IPv4 /24, IPv6 /48), then within one network
by address (IPv4, IPv6 /64), since a flood comes from many addresses of few networks.

Invariants: no more than `full` places are taken, and memory is one record for each; a place is taken from a source
that holds at least two more than the newcomer's, or else, where all hold the same, from a login that has been
unfinished for SETTLED seconds; whoever loses a place is told once, and holds none afterwards.

Of several workers (`sharing.rows`) the numbers are those of all together: `begin`, `rate`, `full` and what one block
may hold are kept exactly. Places are weighed and taken within the worker that the newcomer came to, since only it can
end its connections. Where that worker has none to take while it holds less than its share (`full` over the number of
workers), whoever has no place at all gets one on credit, and the workers that hold more than their share give back
what is too much within REPAY seconds (`repay`), the heaviest source first: the credit is at most one share for each
worker, and it takes a flood that stands in the other workers alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from bastion.auth.penalty_sources import REMEMBERED_SOURCES, source_block
from bastion.auth.restrictions import normal_address
from bastion.errors import LimitReason, ProtocolError, Refused
from bastion.sharing.rows import ALONE, Cell, Elsewhere

SETTLED: Final = 5.0
"""Seconds after which an unfinished login gives its place to a newcomer where no source holds more than others, as in a
flood from a thousand networks. A key logs in within one; a password is typed in more, and then competes with those."""

REPAY: Final = 0.25
"""Seconds between two looks for places to give back, where there are several workers."""


@lru_cache(maxsize=REMEMBERED_SOURCES)
def source_network(address: str) -> str:
    """What sources are weighed by first: an IPv4 /24, an IPv6 /48 (one site)."""
    try:
        peer = normal_address(address)
    except ProtocolError:
        return "?"
    length = 48 if isinstance(peer, ipaddress.IPv6Address) else 24
    below = peer.max_prefixlen - length
    return f"{type(peer)(int(peer) >> below << below)}/{length}"


class Startup:
    """One admitted connection that has not logged in yet. `release` when it has or is gone; twice is once.

    `on_displaced` is called when its place is given to another; it has been released then.
    """

    __slots__ = ("_limiter", "block", "network", "on_displaced", "since")

    def __init__(self, limiter: StartupLimiter, network: str, block: str, since: float) -> None:
        self._limiter: StartupLimiter | None = limiter
        self.network, self.block, self.since = network, block, since
        self.on_displaced: Callable[[], None] | None = None

    def release(self) -> None:
        limiter, self._limiter = self._limiter, None
        if limiter is not None:
            limiter._release(self)


class _Weights:
    """How many places each key holds, and which holds most: both in constant time, since counts move by one."""

    __slots__ = ("_by_count", "_counts", "most")

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._by_count: dict[int, dict[str, None]] = {}  # each in the order in which keys reached that count
        self.most = 0

    def __getitem__(self, key: str) -> int:
        return self._counts.get(key, 0)

    def heaviest(self) -> str:
        """The key that has held most for longest. Only while something is held."""
        return next(iter(self._by_count[self.most]))

    def move(self, key: str, by: int) -> None:
        """`by` is 1 or -1."""
        before = self._counts.pop(key, 0)
        now = before + by
        if before:
            level = self._by_count[before]
            del level[key]
            if not level:
                del self._by_count[before]
        if now:
            self._counts[key] = now
            self._by_count.setdefault(now, {})[key] = None
        if now > self.most or (before == self.most and before not in self._by_count):
            self.most = now


class _Network:
    """The places that one network holds, by block, the oldest first."""

    __slots__ = ("held", "weights")

    def __init__(self) -> None:
        self.weights = _Weights()
        self.held: dict[str, dict[Startup, None]] = {}

    def oldest(self) -> Startup:
        """Of the block that holds most."""
        return next(iter(self.held[self.weights.heaviest()]))


class StartupLimiter:
    """Places for unfinished logins: `begin:rate:full`, after sshd_config(5) MaxStartups.

    From `begin` waiting connections on, a newcomer whose source holds places, and as many as any, is refused by
    chance: `rate` per cent, rising to all at `full`. At `full` a place must be taken from somebody. `per_source` bounds
    one block. `random` gives floats in [0, 1).
    """

    def __init__(
        self,
        random: Callable[[], float],
        begin: int = 100,
        rate: int = 30,
        full: int = 1000,
        per_source: int = 100,
        others: Elsewhere = ALONE,
    ) -> None:
        """`others` knows what the other workers hold, and is told what this one does."""
        self._random = random
        self._others = others
        self.set_limits(begin, rate, full, per_source)
        self._weights = _Weights()
        self._networks: dict[str, _Network] = {}
        self.waiting = 0

    def set_limits(self, begin: int, rate: int, full: int, per_source: int) -> None:
        """From now on; whoever waits keeps the place."""
        if not (0 < begin <= full and 0 <= rate <= 100 and per_source > 0):
            raise ValueError("startup limits need 0 < begin <= full, a rate in per cent and a source limit")
        self._begin, self._rate, self._full, self._per_source = begin, rate, full, per_source

    def admit(self, address: str, now: float = 0.0) -> Startup:
        """A place for one new connection at `now` (monotonic seconds), perhaps another's.

        Raises Refused(STARTUPS or SOURCE_STARTUPS) and changes nothing.
        """
        block, network = source_block(address), source_network(address)
        self._count(network, block, 1)  # before the others are read, so that they see this one
        try:
            own = self._held(network, block) + self._others.elsewhere_of(block)
            if own >= self._per_source:
                raise Refused(LimitReason.SOURCE_STARTUPS, "too many unfinished logins from your address")
            if self.in_all >= self._begin:
                self._make_room(network, block, own, now)
        except Refused:
            self._count(network, block, -1)
            raise
        made = Startup(self, network, block, now)
        self.waiting += 1
        self._weights.move(network, 1)
        home = self._networks.get(network)
        if home is None:
            home = self._networks[network] = _Network()
        home.weights.move(block, 1)
        home.held.setdefault(block, {})[made] = None
        return made

    @property
    def in_all(self) -> int:
        """Unfinished logins of this worker and the others."""
        return self.waiting + self._others.elsewhere(Cell.STARTUPS)

    def repay(self) -> None:
        """Give back places that were given on credit, as far as this worker holds more than its share."""
        while self.waiting > self._share and self.in_all > self._full:
            self._displace(self._networks[self._weights.heaviest()].oldest())

    @property
    def _share(self) -> int:
        return self._full // self._others.workers

    def _count(self, network: str, block: str, by: int) -> None:
        self._others.add(Cell.STARTUPS, by)
        self._others.add_name(network, by)
        self._others.add_name(block, by)

    def _held(self, network: str, block: str) -> int:
        home = self._networks.get(network)
        return 0 if home is None else home.weights[block]

    def _make_room(self, network: str, block: str, own: int, now: float) -> None:
        """Refuse the newcomer, or make sure that there is a place."""
        victim, waiting = self._heavier(network, block, own), self.in_all
        if waiting < self._full:
            if victim is None and own and self._random() * 100 < self._chance(waiting):
                raise Refused(LimitReason.STARTUPS, "too many unfinished logins, try again in a moment")
            return
        if victim is None and not own:
            if waiting > self.waiting and self.waiting < self._share:
                return  # on credit
            if not self._networks:
                raise Refused(LimitReason.STARTUPS, "too many unfinished logins, try again in a moment")
            oldest = self._networks[self._weights.heaviest()].oldest()
            victim = oldest if now - oldest.since >= SETTLED else None
        if victim is None:
            raise Refused(LimitReason.STARTUPS, "too many unfinished logins, try again in a moment")
        self._displace(victim)

    def _displace(self, victim: Startup) -> None:
        on_displaced, victim.on_displaced = victim.on_displaced, None
        victim.release()
        if on_displaced is not None:
            on_displaced()

    def _heavier(self, network: str, block: str, own: int) -> Startup | None:
        """The oldest login of the source that holds most here, when that is still more than ours with one more."""
        if self._weights[network] + self._others.elsewhere_of(network) + 1 < self._weights.most:
            return self._networks[self._weights.heaviest()].oldest()
        home = self._networks.get(network)
        if home is not None and own + 1 < home.weights.most:
            return home.oldest()
        return None

    def _chance(self, waiting: int) -> float:
        """Per cent of such connections to refuse now: a straight line from rate at begin to 100 at full."""
        if self._full == self._begin:
            return 100.0
        return self._rate + (100 - self._rate) * (waiting - self._begin) / (self._full - self._begin)

    def _release(self, startup: Startup) -> None:
        self.waiting -= 1
        self._count(startup.network, startup.block, -1)
        self._weights.move(startup.network, -1)
        home = self._networks[startup.network]
        home.weights.move(startup.block, -1)
        held = home.held[startup.block]
        del held[startup]
        if not held:
            del home.held[startup.block]
        if not home.held:
            del self._networks[startup.network]

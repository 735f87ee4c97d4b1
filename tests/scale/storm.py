"""Everybody connects within a minute to one gateway, after an outage.

The limits are the gateway's own code, on the simulation's clock: places for unfinished logins and early drop
(`auth.startups`), and the purse that a source pays key exchanges and its places at the directory from (`auth.budget`).
A connection waits in the kernel's queue until a worker has accepted it, and finds out then whether there is a place for
it; where that queue is full its SYN is dropped, and the kernel sends it again. A login then passes its worker four
times, for equal parts of what it costs: key exchange, proof, the target's handshake, the session. Who has not logged in
yet waits behind those who have, as in `net.epoll`. Who is turned away tries again.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from bastion.auth.budget import Budget, Hold, Work
from bastion.auth.startups import Startup, StartupLimiter
from bastion.errors import Refused
from bastion.net.listening import BACKLOG
from tests.scale.inputs import Inputs
from tests.scale.machine import Loop, Process, Processors, Threads

PARTS: Final = 4
MS: Final = 1e-3
LONGEST: Final = 300.0
"""Seconds after which the simulation stops: who is not in by then has gone for lunch."""

AGAIN: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""Seconds after which Linux sends a SYN again that nobody answered (tcp_syn_retries 6)."""


@dataclass
class Told:
    """What came of it. `waits` are the seconds from each person's first try to the session, for each session; `begun`
    tries that were answered, `dropped` SYNs that were not."""

    sessions: int
    waits: list[float] = field(default_factory=list)
    begun: int = 0
    dropped: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    last: float = 0.0
    busy: float = 0.0
    most_unfinished: int = 0
    most_asking: int = 0
    most_in_a_second: int = 0
    places_left: int = 0

    def share(self, part: float) -> float:
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


class Gateway:
    """One gateway, with its limits."""

    def __init__(self, loop: Loop, inputs: Inputs, chance: random.Random) -> None:
        site, self.costs, self.site = inputs.site, inputs.costs, inputs.site
        self.loop, self.chance = loop, chance
        workers = int(site.processors)
        self.processors = Processors(loop, workers)
        self.workers = [Process(self.processors) for _ in range(workers)]
        self.open = [0] * workers
        self.knocking = 0
        self.directory = Threads(loop, int(site.threads))
        self.limiter = StartupLimiter(
            chance.random, int(site.begin), int(site.rate), int(site.places), int(site.per_source)
        )
        self.budget = Budget(loop)

    def least_busy(self) -> int:
        """The worker with the fewest connections."""
        return min(range(len(self.workers)), key=self.open.__getitem__)


class Attempt:
    """One connection, from its accept until its session is there or it is turned away."""

    def __init__(self, gateway: Gateway, told: Told, address: str, over: Callable[[str], None]) -> None:
        self._gateway, self._told, self._over, self._address = gateway, told, over, address
        self._purse = gateway.budget.source(address)
        self._paid = 0
        self._hold: Hold | None = None
        self._alive = True
        self._place: Startup | None = None
        self._number: int | None = None
        self._worker = gateway.workers[0]
        self._knock(0)

    def _knock(self, tried: int) -> None:
        """A SYN: into the queue of what waits to be accepted, if there is room."""
        gateway = self._gateway
        if gateway.knocking >= BACKLOG:
            self._told.dropped += 1
            if tried == len(AGAIN):
                self._told.begun += 1
                self._end("no_answer")
            else:
                gateway.loop.after(AGAIN[tried], lambda: self._knock(tried + 1))
            return
        gateway.knocking += 1
        self._number = gateway.least_busy()
        self._worker = gateway.workers[self._number]
        gateway.open[self._number] += 1
        self._worker.work(gateway.costs.refused * MS, self._accepted)

    def _accepted(self) -> None:
        gateway = self._gateway
        gateway.knocking -= 1
        self._told.begun += 1
        try:
            self._place = gateway.limiter.admit(self._address, gateway.loop.now)
        except Refused as refusal:
            self._end(refusal.reason.value)
            return
        self._place.on_displaced = lambda: self._end("displaced")
        self._told.most_unfinished = max(self._told.most_unfinished, gateway.limiter.waiting)
        gateway.loop.after(gateway.site.grace, self._too_late)
        self._later(gateway.site.round_trip * MS, self._exchange)

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        self._gateway.loop.after(seconds, lambda: self._alive and act())

    def _part(self, then: Callable[[], None], urgent: bool = False) -> None:
        """A part of a login's work."""
        seconds = (self._gateway.costs.login - self._gateway.costs.refused) * MS / PARTS
        self._worker.work(seconds, lambda: self._alive and then(), urgent)  # type: ignore[arg-type,return-value]

    def _exchange(self) -> None:
        try:
            self._purse.spend(Work.KEY_EXCHANGE, int(self._gateway.costs.exchange))
        except Refused as refusal:
            self._end(refusal.reason.value)
            return
        self._paid = int(self._gateway.costs.exchange)
        self._part(lambda: self._later(self._gateway.site.round_trip * MS, self._prove))

    def _prove(self) -> None:
        self._part(self._ask)

    def _ask(self) -> None:
        try:
            self._hold = self._purse.take(Work.DIRECTORY)
        except Refused as refusal:
            self._end(refusal.reason.value)
            return
        gateway = self._gateway
        gateway.directory.call(gateway.site.ldap * MS, self._answered)
        self._told.most_asking = max(self._told.most_asking, gateway.directory.most)

    def _answered(self) -> None:
        """The thread is back, whether anybody waits or not."""
        assert self._hold is not None
        self._hold.release()
        if not self._alive:
            return
        assert self._place is not None
        self._place.on_displaced = None
        self._place.release()
        self._place = None
        self._purse.refund(Work.KEY_EXCHANGE, self._paid)
        self._part(lambda: self._later(self._gateway.site.target * MS, self._dialled), urgent=True)

    def _dialled(self) -> None:
        self._part(lambda: self._end(""), urgent=True)

    def _too_late(self) -> None:
        if self._alive and self._place is not None:
            self._end("login_grace")

    def _end(self, reason: str) -> None:
        """With a session when there is no reason."""
        self._alive = False
        if self._place is not None:
            self._place.on_displaced = None
            self._place.release()
            self._place = None
        if reason and self._number is not None:
            self._gateway.open[self._number] -= 1
        self._over(reason)


def storm(inputs: Inputs, engineers: int, seed: int = 1) -> Told:
    """`engineers` of one gateway connect again, each with as many sessions as were open."""
    loop, chance = Loop(), random.Random(seed)
    gateway = Gateway(loop, inputs, chance)
    habits = inputs.habits
    each = int(habits.open)
    told = Told(engineers * each)
    seconds: Counter[int] = Counter()

    def connect(address: str, since: float) -> None:
        def over(reason: str) -> None:
            if reason:
                told.refused[reason] += 1
                pause = habits.again * chance.uniform(0.5, 2.0)
                loop.after(pause, lambda: connect(address, since))
                return
            told.waits.append(loop.now - since)
            told.last = loop.now
            seconds[int(loop.now)] += 1

        Attempt(gateway, told, address, over)

    for number in range(engineers):
        address = _address(number // int(habits.behind))
        for _ in range(each):
            at = chance.uniform(0.0, habits.minute)
            loop.after(at, lambda address=address, at=at: connect(address, at))  # type: ignore[misc]
    loop.run(LONGEST)
    told.busy = gateway.processors.busy
    told.most_in_a_second = max(seconds.values(), default=0)
    told.places_left = gateway.limiter.waiting
    return told


def _address(number: int) -> str:
    """Addresses of networks of their own: an office each."""
    return f"10.{number >> 8 & 255}.{number & 255}.{1 + (number >> 16)}"

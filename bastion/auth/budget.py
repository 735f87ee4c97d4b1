"""What one payer may cost the gateway (L1, pure): a source before login, an identity after it.

Guessing is the business of `auth.throttle`; this is about work. Whatever costs the process something that others
need (processor time, threads, log, disk, memory) is asked for here first, by the purse of whoever causes it.

Invariants: nothing is done before it is paid for; a refusal costs the payer nothing and changes nothing; memory is
bounded whatever the peers do. Every kind of work has two limits, one for each payer and one for everybody of its
kind. When everybody's is used up, a payer still gets through, up to twice that limit, the further the less of what is
used is its own: so those who caused it wait, and somebody who comes now does not, also when many cause it together.
What is a payer's own is remembered for as long as everybody's bucket takes to empty: its own empties sooner, and then
two sources that never have anything in theirs keep everybody's full.

Two ways to pay. A *rate* is a leaky bucket: `spend` pours in, it empties at so much a second. A *holding* is given
back: `take` until `Hold.release`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from bastion.auth.throttle import source_block
from bastion.clock import Clock
from bastion.errors import LimitReason, Refused
from bastion.sharing.buckets import SharedBucket
from bastion.sharing.rows import ALONE, Elsewhere

MAX_PAYERS: Final = 16_384
"""Purses remembered of each kind of payer, about 600 bytes each with two kinds of work used: 20 MB at most."""

SAMPLE: Final = 16
"""Purses looked at when a new one needs a place: the one that is emptiest goes."""

NEWCOMER: Final = 4
"""Whose own is this fraction (1/4) of what one payer may have gets nothing beyond everybody's limit; with half of that,
one and a half times everybody's; with hardly anything, twice. The first exchange by a curve of a source gets through
until 300 sources a second that have asked for nothing in the last seconds ask for one each."""

KIB: Final = 1024
MIB: Final = 1024 * KIB


class Payer(StrEnum):
    """Who pays; a metric label."""

    SOURCE = "source"
    IDENTITY = "identity"


class Work(StrEnum):
    """What is paid for; a metric label."""

    PUBLIC_KEY = "public_key"
    KEY_EXCHANGE = "key_exchange"
    DIRECTORY = "directory"
    NAME_LOOKUP = "name_lookup"
    LOG = "log"
    NOTES = "notes"
    BUFFERED = "buffered"


REASONS: Final[Mapping[Work, LimitReason]] = {
    Work.PUBLIC_KEY: LimitReason.BUDGET_PUBLIC_KEY,
    Work.KEY_EXCHANGE: LimitReason.BUDGET_KEY_EXCHANGE,
    Work.DIRECTORY: LimitReason.BUDGET_DIRECTORY,
    Work.NAME_LOOKUP: LimitReason.BUDGET_NAME_LOOKUP,
    Work.LOG: LimitReason.BUDGET_LOG,
    Work.NOTES: LimitReason.BUDGET_NOTES,
    Work.BUFFERED: LimitReason.BUDGET_BUFFERED,
}

TEXTS: Final[Mapping[Work, str]] = {
    Work.PUBLIC_KEY: "too many keys to check, please try again in a moment",
    Work.KEY_EXCHANGE: "too many key exchanges, please try again in a moment",
    Work.DIRECTORY: "too many questions to the directory at once, please try again in a moment",
    Work.NAME_LOOKUP: "too many host names to look up at once, please try again in a moment",
    Work.LOG: "too much to write down, please try again in a moment",
    Work.NOTES: "too many requests to record, please try again in a moment",
    Work.BUFFERED: "too much waits for readers that do not read",
}


@dataclass(frozen=True, slots=True)
class Limit:
    """`each` for one payer and `everybody` for all of its kind. With rates they are what a bucket holds, and
    `each_rate`, `everybody_rate` what leaves it in a second; without, they are what may be held at once."""

    each: int
    everybody: int
    each_rate: int = 0
    everybody_rate: int = 0


LIMITS: Final[Mapping[tuple[Payer, Work], Limit]] = {
    # Microseconds. A signature costs 50 to 300, so a source may log in 300 times a second for a while and 300 keys a
    # second for ever; all strangers together take a quarter of a core.
    (Payer.SOURCE, Work.PUBLIC_KEY): Limit(1_000_000, 2_000_000, 100_000, 250_000),
    (Payer.IDENTITY, Work.PUBLIC_KEY): Limit(1_000_000, 2_000_000, 100_000, 250_000),
    # Microseconds: `transport.rekeys.COSTS`. A source may begin 600 logins by a curve at once and 250 a second that
    # fail (what one that succeeds has cost is given back), or 26 and 10 by the 8192-bit group; strangers take a
    # quarter of a core together, where 30 of those a second would keep one busy (DHEat, CVE-2002-20001).
    (Payer.SOURCE, Work.KEY_EXCHANGE): Limit(500_000, 1_000_000, 200_000, 250_000),
    (Payer.IDENTITY, Work.KEY_EXCHANGE): Limit(1_000_000, 2_000_000, 50_000, 250_000),
    # Places in the queue of the directory, held until the thread is back.
    (Payer.SOURCE, Work.DIRECTORY): Limit(100, 1_000),
    (Payer.IDENTITY, Work.DIRECTORY): Limit(16, 1_000),
    # Places in the queue of the resolver, held until the thread is back.
    (Payer.IDENTITY, Work.NAME_LOOKUP): Limit(16, 256),
    # Bytes of audit log. A line is about 300: a source gets 200 lines and then 3 a second, all strangers together
    # 32 KiB a second, 2.6 GiB a day.
    (Payer.SOURCE, Work.LOG): Limit(64 * KIB, MIB, KIB, 32 * KIB),
    # An engineer's channel is two lines, 700: 12,000 channels (a browser behind -D, a load test through -L) and then
    # 190 a second.
    (Payer.IDENTITY, Work.LOG): Limit(8 * MIB, 64 * MIB, 128 * KIB, 512 * KIB),
    # Bytes of a recording that are no channel data. A session with a terminal, four variables and a command of 1 KiB
    # has 4.3 KiB, a channel of -L or -D 840: 1,900 runs of Ansible and 60 a second, 9,900 channels and 310 a second.
    (Payer.IDENTITY, Work.NOTES): Limit(8 * MIB, 256 * MIB, 256 * KIB, 4 * MIB),
    # Bytes of memory that wait in the channels of outer connections. 256 sessions over a client that stops leave 512
    # KiB each, 128 MiB; 128 tunnels to places that read nothing 60 MiB.
    (Payer.IDENTITY, Work.BUFFERED): Limit(192 * MIB, 512 * MIB),
}


COUNTED_TOGETHER: Final = tuple(
    (payer, work) for payer in Payer for work in (Work.PUBLIC_KEY, Work.KEY_EXCHANGE)
)
"""Processor time of which all processes together take what one alone would: strangers do not get more of a machine
because it has more workers, and whoever logs in well gets back what it cost, so nobody else needs it. The place of each
is that of its bucket in `sharing.buckets`."""

SHARED_OUT: Final = (Work.DIRECTORY, Work.LOG)
"""Work whose limits are of something that all processes of the gateway use together: the directory, the log's disk."""


def divided(limits: Mapping[tuple[Payer, Work], Limit], workers: int) -> Mapping[tuple[Payer, Work], Limit]:
    """The limits of one of so many processes. Memory and what is written of a session are its own. Of what is counted
    together a payer's rate is shared out, since its connections are; its burst is not: some single piece of work is a
    twentieth of it."""
    return limits if workers == 1 else {key: _part(*key, limit, workers) for key, limit in limits.items()}


def _part(payer: Payer, work: Work, limit: Limit, workers: int) -> Limit:
    if work in SHARED_OUT:
        numbers = (limit.each, limit.everybody, limit.each_rate, limit.everybody_rate)
        return Limit(*(max(1, number // workers) if number else 0 for number in numbers))
    if (payer, work) in COUNTED_TOGETHER:
        return replace(limit, each_rate=max(1, limit.each_rate // workers))
    return limit


class _Total:
    """How full everybody's limit of one kind is, in a gateway of one process; else it is a `SharedBucket`."""

    __slots__ = ("_at", "_level", "_rate")

    def __init__(self, rate: int, now: float) -> None:
        self._level, self._rate, self._at = 0.0, rate, now

    def level(self, now: float) -> float:
        if self._rate:
            self._level = max(0.0, self._level - self._rate * max(0.0, now - self._at))
            self._at = now
        return self._level

    def pour(self, amount: int, now: float) -> None:
        self._level += amount

    def give_back(self, amount: int) -> None:
        self._level = max(0.0, self._level - amount)


class _Bucket:
    """How full one limit of one payer is, and `share`: what of everybody's is this payer's."""

    __slots__ = ("at", "level", "share", "shared_at")

    def __init__(self, now: float) -> None:
        self.level = self.share = 0.0
        self.at = self.shared_at = now

    def settle_share(self, limit: Limit, now: float) -> float:
        """The share now; it fades as everybody's bucket empties, so that a steady payer's is its part of that."""
        if limit.everybody_rate:
            passed = max(0.0, now - self.shared_at)
            self.share *= math.exp(-passed * limit.everybody_rate / limit.everybody)
            self.shared_at = now
        return self.share

    def settle(self, rate: int, now: float) -> float:
        """The level now, after what has run out since."""
        if rate:
            self.level = max(0.0, self.level - rate * max(0.0, now - self.at))
            self.at = now
        return self.level


class Hold:
    """Something held. `release` gives it back; twice is once."""

    __slots__ = ("_amount", "_purse", "_work")

    def __init__(self, purse: Purse, work: Work, amount: int) -> None:
        self._purse: Purse | None = purse
        self._work = work
        self._amount = amount

    def release(self) -> None:
        purse, self._purse = self._purse, None
        if purse is not None:
            purse._give_back(self._work, self._amount)


class Purse:
    """What one payer has spent and holds."""

    __slots__ = ("_buckets", "_budget", "payer")

    def __init__(self, budget: Budget, payer: Payer) -> None:
        self._budget = budget
        self.payer = payer
        self._buckets: dict[Work, _Bucket] = {}

    def spend(self, work: Work, amount: int) -> None:
        """Pay `amount` of a rate. Raises Refused(LimitReason.BUDGET_...) and takes nothing."""
        self._pour(work, amount)

    def pay_line(self, size: int) -> None:
        """`spend` for a line of the audit log: `observe.rationed.Purse`."""
        self.spend(Work.LOG, size)

    def allows(self, work: Work, amount: int) -> bool:
        """Would `spend` or `take` be possible now? Counts nothing."""
        limit = self._budget.limits[self.payer, work]
        return self._fits(work, limit, amount, self._budget.clock.monotonic())

    def take(self, work: Work, amount: int = 1) -> Hold:
        """Hold `amount` until it is released. Raises Refused(LimitReason.BUDGET_...) and takes nothing."""
        self._pour(work, amount)
        return Hold(self, work, amount)

    def refund(self, work: Work, amount: int) -> None:
        """Give back what was spent on work that turned out to be nobody's misuse. Never more than is in the bucket."""
        bucket = self._buckets.get(work)
        if bucket is None:
            return
        bucket.share = max(0.0, bucket.share - amount)
        amount = min(amount, int(bucket.level))
        bucket.level -= amount
        self._budget.total(self.payer, work).give_back(amount)

    @property
    def load(self) -> float:
        """How full the fullest bucket is, 0.0 to 1.0; 2.0 is added while anything is held."""
        limits, now = self._budget.limits, self._budget.clock.monotonic()
        fullest = 0.0
        for work, bucket in self._buckets.items():
            limit = limits[self.payer, work]
            level = bucket.settle(limit.each_rate, now)
            fullest = max(fullest, level / limit.each + (2.0 if level and not limit.each_rate else 0.0))
        return fullest

    def _pour(self, work: Work, amount: int) -> None:
        if amount < 0:
            raise ValueError("nobody is paid")
        budget = self._budget
        limit, now = budget.limits[self.payer, work], budget.clock.monotonic()
        if not self._fits(work, limit, amount, now):
            budget.on_refused(work, self.payer)
            raise Refused(REASONS[work], TEXTS[work])
        bucket = self._buckets.get(work)
        if bucket is None:
            bucket = self._buckets[work] = _Bucket(now)
        bucket.level += amount
        bucket.share += amount
        budget.total(self.payer, work).pour(amount, now)

    def _fits(self, work: Work, limit: Limit, amount: int, now: float) -> bool:
        bucket = self._buckets.get(work)
        own = 0.0 if bucket is None else bucket.settle(limit.each_rate, now)
        if own + amount > limit.each:
            return False
        everybody = self._budget.total(self.payer, work).level(now) + amount
        if everybody <= limit.everybody:
            return True
        share = amount + (0.0 if bucket is None else bucket.settle_share(limit, now))
        if (self.payer, work) in COUNTED_TOGETHER:
            share *= self._budget.workers  # it has as much of it in each
        return everybody <= limit.everybody * (2 - min(1.0, NEWCOMER * share / limit.each))

    def _give_back(self, work: Work, amount: int) -> None:
        self._buckets[work].level -= amount
        self._buckets[work].share -= amount
        self._budget.total(self.payer, work).give_back(amount)


def _ignore(work: Work, payer: Payer) -> None:
    """Nobody counts."""


class Budget:
    """All purses of one process. `on_refused(work, payer)` hears of every refusal; `others` are the other processes of
    the gateway, with which COUNTED_TOGETHER is counted."""

    def __init__(
        self,
        clock: Clock,
        limits: Mapping[tuple[Payer, Work], Limit] = LIMITS,
        on_refused: Callable[[Work, Payer], None] = _ignore,
        payers: int = MAX_PAYERS,
        others: Elsewhere = ALONE,
    ) -> None:
        self.clock = clock
        self.limits = limits
        self.on_refused = on_refused
        self._payers = payers
        self._purses: dict[Payer, OrderedDict[str, Purse]] = {payer: OrderedDict() for payer in Payer}
        self.workers = others.workers
        now = clock.monotonic()
        self._totals: dict[tuple[Payer, Work], _Total | SharedBucket] = {
            key: _Total(limit.everybody_rate, now) for key, limit in limits.items()
        }
        if self.workers > 1:
            for place, key in enumerate(COUNTED_TOGETHER):
                self._totals[key] = SharedBucket(others, place, limits[key].everybody_rate)

    def source(self, address: str) -> Purse:
        """The purse of the block that `address` lies in: an IPv4 address, an IPv6 /64."""
        return self._find(Payer.SOURCE, source_block(address))

    def identity(self, name: str) -> Purse:
        """The purse of somebody who has proved to be `name`."""
        return self._find(Payer.IDENTITY, name)

    def total(self, payer: Payer, work: Work) -> _Total | SharedBucket:
        """What all payers of a kind have spent or hold together."""
        return self._totals[payer, work]

    def held(self, payer: Payer, work: Work) -> int:
        """The same as a number, for a gauge."""
        return round(self._totals[payer, work].level(self.clock.monotonic()))

    def __len__(self) -> int:
        """Purses remembered, for a gauge."""
        return sum(map(len, self._purses.values()))

    def _find(self, payer: Payer, key: str) -> Purse:
        purses = self._purses[payer]
        purse = purses.get(key)
        if purse is None:
            if len(purses) >= self._payers:
                _forget_one(purses)
            purse = purses[key] = Purse(self, payer)
        return purse


def _forget_one(purses: OrderedDict[str, Purse]) -> None:
    """Forget the emptiest of the next SAMPLE; the others go to the end, so that each is looked at once a round.

    A purse that something is held from goes only when all of the sample do; what it holds stays in the total.
    """
    sample = [purses.popitem(last=False) for _ in range(min(SAMPLE, len(purses)))]
    loads = [purse.load for _, purse in sample]
    goes = loads.index(min(loads))
    for place, (key, purse) in enumerate(sample):
        if place != goes:
            purses[key] = purse

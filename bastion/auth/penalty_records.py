"""The records behind penalties (L1, pure): bounded tables, in which the least harmful is forgotten first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, NamedTuple

MAX_ENTRIES = 65_536
"""Records per table. A record is about 240 bytes with its key: both tables full measured 30 MB. One that is blocked
also knows whom it is about, 100 to 200 bytes."""

SAMPLE = 32
"""Records compared when a full table takes a new one: about 20 us, where a search of all costs 60 ms."""

KEPT_MAX: Final = 4096
"""Blocks that are kept over a restart, those of the latest; the file has about 80 bytes of each."""

KEPT_FROM: Final = 60.0
"""Seconds that a block must last to be kept."""

UNKNOWN: Final = "?"
"""What stands for an account that was blocked before a restart, or by another gateway: only its digest is known."""


class Kept(NamedTuple):
    """A block for the next process: `key` is the digest in hex, `named` whether it is about an account.
    `at` is on the wall clock: the block's end; for an account alone, since when its guesses come back."""

    key: str
    source: str
    named: bool
    at: float
    failures: int


class Record:
    """Failures of a pair or blocks of a source: `count` so far, `last` seen, blocked before `until`. `who` is known of
    those that were blocked: (source block, account)."""

    __slots__ = ("bits", "count", "last", "since", "until", "who")

    def __init__(self, now: float) -> None:
        self.count = 0
        self.last = self.since = now
        self.until = 0.0
        self.bits = 0
        self.who: tuple[str, str] | None = None


MAX_SHOWN: Final = 64
"""Characters that are kept of the typed name of an account that is blocked: it may be a password."""


class Blocked(NamedTuple):
    """Who must wait, for `left` seconds: an account from a source, a source (`account` is ""), or an account from
    wherever nobody has logged in to it before (`source` is ""). `nodes`: the gateways that say so, where there are
    several."""

    source: str
    account: str
    left: float
    failures: int
    nodes: tuple[str, ...] = ()


class Table:
    """At most MAX_ENTRIES records by key."""

    def __init__(self, forget: float, limit: int) -> None:
        self.forget = forget
        self._limit = limit
        self._records: OrderedDict[bytes, Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def find(self, key: bytes, now: float) -> Record | None:
        record = self._records.get(key)
        if record is not None and now >= max(record.last, record.until) + self.forget:
            del self._records[key]
            return None
        return record

    def find_or_add(self, key: bytes, now: float) -> Record:
        record = self.find(key, now)
        if record is None:
            if len(self._records) >= self._limit:
                self._evict(now)
            record = self._records[key] = Record(now)
        return record

    def drop(self, key: bytes) -> None:
        self._records.pop(key, None)

    def clear(self) -> None:
        self._records.clear()

    def blocks(self) -> Iterator[tuple[bytes, float]]:
        return ((key, record.until) for key, record in self._records.items())

    def __iter__(self) -> Iterator[tuple[bytes, Record]]:
        return iter(self._records.items())

    def _evict(self, now: float) -> None:
        """Forget the least harmful of the next SAMPLE records; the others go to the end of the queue.

        So every record is looked at once per round, and an insertion costs the same however full the table is.
        """
        records = self._records
        sample = [records.popitem(last=False) for _ in range(min(SAMPLE, len(records)))]
        spared = min(range(len(sample)), key=lambda place: harm(sample[place][1], now, self.forget))
        for place, (key, record) in enumerate(sample):
            if place != spared:
                records[key] = record


def harm(record: Record, now: float, forget: float) -> tuple[bool, bool, int, int, float]:
    """What is forgotten first: the outdated, the unblocked, few failures, few accounts, long ago."""
    current = now < max(record.last, record.until) + forget
    return current, record.until > now, record.count, record.bits.bit_count(), record.last

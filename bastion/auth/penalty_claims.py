"""Penalties of several gateways as one (L1, pure): what each says of those that it makes wait, put together.

A gateway *claims* of a source, of an account from a source or of an account alone how often it has failed there and
how long it waits; of each key it has one claim, and the later one takes the earlier one's place. Failures of all are
added up, the longest wait counts, and what somebody has forgotten is void wherever it was said: claims made until
then. So claims may come in any order and any number of times, and whoever has the same claims judges alike.

Claims are shared from the first block on: what is below that is nobody else's business, and too much to tell.

Invariants: of each gateway MOST_EACH claims are known at most, the oldest forgotten first, and no more of them than
KNOWN_PAIRS_EACH and KNOWN_SOURCES_EACH are about somebody who has logged in here: a gateway that lies holds up those,
and strangers, and not everybody. None lasts longer than a block of our own could, whatever clock it was made by.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from bastion.auth.penalty_limits import PenaltyLimits
from bastion.auth.penalty_sources import is_block, is_exempt
from bastion.clock import Clock

MOST_EACH: Final = 1024
"""Claims of one gateway: some 400 bytes each, 26 MB of 32 others with a console each that all claim as many."""

KNOWN_PAIRS_EACH: Final = 64
KNOWN_SOURCES_EACH: Final = 16
"""Of those, about pairs and sources that have logged in here. Malware that guesses from engineers' own machines blocks
a few; a gateway that was stolen would block all of them."""

MOST_FAILURES: Final = 64
"""Failures that a claim counts for: with twenty a block is as long as it gets."""

BATCH: Final = 128
"""Claims that are told together, and so in a second."""

DAY: Final = 86400.0
"""Seconds that another gateway's clock may be ahead. What it forgets may be two days ahead: whatever was claimed can be
forgotten."""

STEP: Final = 0.001
"""Seconds by which what is said here is later than what was known."""

_KEY: Final = re.compile(r"\A[0-9a-f]{24}\Z")
_MICROSECONDS: Final = 1_000_000


class Of(StrEnum):
    """What a claim is about."""

    PAIR = "pair"
    SOURCE = "source"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Claim:
    """What one gateway says of `key`, the digest in hex. Times are of its wall clock, in seconds.

    `until`: the block's end; of an account alone since when its guesses come back, one in a while. `failures` 0: it
    waits no longer there. Claims of anybody that were `made_at` `cleared_at` or before are void. `revision` grows
    with each claim of a gateway; `written_at` is when this one was told, and `ends_at` when it says nothing any more.
    """

    key: str
    of: Of
    source: str
    failures: int
    until: float
    made_at: float
    cleared_at: float
    written_at: float
    ends_at: float
    revision: int


@dataclass(slots=True)
class _Held:
    """A claim of another, on our own monotonic clock."""

    claim: Claim
    until: float
    ends: float
    known: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """What all others say of a key together: `until` is monotonic, `nodes` says who."""

    of: Of
    source: str
    failures: int
    until: float
    nodes: tuple[str, ...]


class Claims:
    """Those of this gateway, once it `shares`, and those of others. Keys are digests (`throttle.Penalties`)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.limits = PenaltyLimits()
        self.name = ""  # of this gateway, once it shares
        self.left_out = {"malformed": 0, "known": 0, "exempt": 0}
        self._own: OrderedDict[bytes, Claim] = OrderedDict()
        self._untold: OrderedDict[bytes, None] = OrderedDict()
        self._revision = 0
        self._others: dict[str, OrderedDict[bytes, _Held]] = {}
        self._by_key: dict[bytes, dict[str, _Held]] = {}

    def __len__(self) -> int:
        """Claims of others."""
        return sum(map(len, self._others.values()))

    @property
    def shares(self) -> bool:
        return bool(self.name)

    def begin(self, name: str) -> None:
        """Share from now on, as the gateway of that name."""
        self.name = name

    def forget_all(self) -> None:
        """Keys are made otherwise from now on: none of these is one any more."""
        self._own.clear()
        self._untold.clear()
        self._others.clear()
        self._by_key.clear()

    # -- said here ---------------------------------------------------------------------------------------

    def say(self, key: bytes, of: Of, source: str, failures: int, until: float) -> None:
        """It waits here until then (monotonic; of an account: its guesses come back since then)."""
        if not self.shares:
            return
        now, wall = self._clock.monotonic(), self._clock.time()
        until_wall = wall + until - now
        cleared = self.cleared_at(key)
        made = max(wall, cleared + STEP)
        ends = self._wall_end(of, failures, until_wall, wall)
        self._put(key, Claim(key.hex(), of, source, failures, until_wall, made, cleared, 0.0, ends, 0))

    def clear(self, key: bytes, of: Of, source: str, always: bool = False) -> None:
        """Whatever anybody has claimed of it until now is void. Nothing when nobody has, unless `always`."""
        if not self.shares or not (always or self.is_claimed(key)):
            return
        wall = self._clock.time()
        made = [one.claim.made_at for one in self._by_key.get(key, {}).values()]
        own = self._own.get(key)
        if own is not None:
            made.append(own.made_at)
        cleared = max([wall, self.cleared_at(key), *(one + STEP for one in made)])
        ends = wall + max(self.limits.longest_block, self.limits.longest_source_block) + self.limits.forget
        self._put(key, Claim(key.hex(), of, source, 0, 0.0, cleared, cleared, 0.0, ends, 0))

    def is_claimed(self, key: bytes) -> bool:
        """Somebody says that it waits or has failed, here or elsewhere."""
        return self.is_own(key) or any(True for _ in self._valid(key))

    def is_own(self, key: bytes) -> bool:
        """This gateway says that it waits."""
        own = self._own.get(key)
        return own is not None and own.failures > 0

    def batch(self) -> list[Claim]:
        """What is to be told next: the oldest news of at most BATCH keys, as they are now."""
        wall = self._clock.time()
        found: list[Claim] = []
        while self._untold and len(found) < BATCH:
            key, _ = self._untold.popitem(last=False)
            claim = self._own.get(key)
            if claim is not None:
                self._revision = max(self._revision + 1, int(wall * _MICROSECONDS))
                found.append(replace(claim, written_at=wall, revision=self._revision))
        return found

    def not_told(self, claims: Iterable[Claim]) -> None:
        """The store has not taken them: again, with what has become of them since."""
        for claim in claims:
            self._untold[bytes.fromhex(claim.key)] = None

    def resume(self, claims: Iterable[Claim]) -> None:
        """What the store has of this gateway, from before it was started: it goes on where that ended."""
        found = [claim for claim in claims if self._is_sound(claim)]
        self._revision = max([self._revision, *(claim.revision for claim in found)])
        kept = [claim for claim in found if bytes.fromhex(claim.key) not in self._own]
        self.take(self.name, kept, False, lambda key, of: False)

    def _put(self, key: bytes, claim: Claim) -> None:
        if key in self._others.get(self.name, ()):
            self._drop(self.name, key)
        self._own[key] = claim
        self._own.move_to_end(key)
        self._untold[key] = None
        if len(self._own) > MOST_EACH:
            gone, _ = self._own.popitem(last=False)
            self._untold.pop(gone, None)

    def _wall_end(self, of: Of, failures: int, until: float, wall: float) -> float:
        if of is Of.ACCOUNT:
            return until + failures * self.limits.strange_refill
        return max(until, wall) + self.limits.forget

    # -- said by others ----------------------------------------------------------------------------------

    def take(
        self, node: str, claims: Iterable[Claim], fresh: bool, is_known: Callable[[bytes, Of], bool]
    ) -> tuple[list[bytes], list[bytes]]:
        """What `node` claims. `fresh`: it has said so just now. The keys of which something is another way now, and
        those that it has forgotten."""
        changed, cleared = [], []
        for claim in claims:
            if not self._is_sound(claim):
                self.left_out["malformed"] += 1
                continue
            key = bytes.fromhex(claim.key)
            before = self._by_key.get(key, {}).get(node)
            if before is not None and before.claim.revision >= claim.revision:
                continue
            known = claim.failures > 0 and ((before is not None and before.known) or is_known(key, claim.of))
            if not self._may(node, claim, known and (before is None or not before.known)):
                continue
            self._hold(node, key, self._held(claim, fresh, known))
            if claim.of is not Of.ACCOUNT:  # nobody is asked about one alone
                changed.append(key)
            if claim.cleared_at > (0.0 if before is None else before.claim.cleared_at):
                cleared.append(key)
                own = self._own.get(key)
                if own is not None and own.made_at <= claim.cleared_at:
                    del self._own[key]
                    self._untold.pop(key, None)
        return changed, cleared

    def _held(self, claim: Claim, fresh: bool, known: bool) -> _Held:
        """How long it is from when it was said; of one that was said before we looked, also by the calendar."""
        now, limits = self._clock.monotonic(), self.limits
        offset = claim.until - claim.written_at
        if not fresh:
            offset = min(offset, claim.until - self._clock.time())
        failures = min(claim.failures, MOST_FAILURES)
        if not failures:
            longest = max(limits.longest_block, limits.longest_source_block) + limits.forget
            return _Held(claim, 0.0, now + longest, False)
        if claim.of is Of.ACCOUNT:
            since = now + min(0.0, offset)
            return _Held(claim, since, since + failures * limits.strange_refill, known)
        longest = limits.longest_block if claim.of is Of.PAIR else limits.longest_source_block
        until = now + min(max(0.0, offset), longest)
        return _Held(claim, until, until + limits.forget, known)

    def _hold(self, node: str, key: bytes, held: _Held) -> None:
        of_node = self._others.setdefault(node, OrderedDict())
        of_node[key] = held
        of_node.move_to_end(key)
        self._by_key.setdefault(key, {})[node] = held
        while len(of_node) > MOST_EACH:
            self._drop(node, next(iter(of_node)))

    def _drop(self, node: str, key: bytes) -> None:
        del self._others[node][key]
        at_key = self._by_key[key]
        del at_key[node]
        if not at_key:
            del self._by_key[key]

    def _may(self, node: str, claim: Claim, new_known: bool) -> bool:
        """Is there room for it among what this node may say?"""
        if claim.of is Of.SOURCE and is_exempt(claim.source, self.limits.exempt):
            self.left_out["exempt"] += 1
            return False
        if not new_known:
            return True
        most = KNOWN_SOURCES_EACH if claim.of is Of.SOURCE else KNOWN_PAIRS_EACH
        now = self._clock.monotonic()
        held = self._others.get(node)
        alike = [] if held is None else [one for one in held.values() if one.known and one.ends > now]
        if sum(one.claim.of is claim.of for one in alike) >= most:
            self.left_out["known"] += 1
            return False
        return True

    def _is_sound(self, claim: Claim) -> bool:
        wall = self._clock.time()
        if not _KEY.match(claim.key) or len(claim.source) > 64 or claim.failures < 0:
            return False
        if claim.of is not Of.ACCOUNT and not is_block(claim.source):
            return False
        made = claim.made_at <= wall + (DAY if claim.failures else 2 * DAY)
        return made and claim.cleared_at <= min(claim.made_at, wall + 2 * DAY)

    def sweep(self) -> None:
        """Forget what says nothing any more; a millisecond for a full node."""
        now, wall = self._clock.monotonic(), self._clock.time()
        for node, held in list(self._others.items()):
            for key in [key for key, one in held.items() if one.ends <= now]:
                self._drop(node, key)
        for key in [key for key, own in self._own.items() if own.ends_at <= wall]:
            del self._own[key]
            self._untold.pop(key, None)

    # -- asked -------------------------------------------------------------------------------------------

    def until(self, key: bytes) -> float:
        """Until when it waits for others' sake, monotonic; 0: it does not."""
        if key not in self._by_key:
            return 0.0
        return max((one.until for _, one in self._valid(key) if one.claim.of is not Of.ACCOUNT), default=0.0)

    def failures(self, key: bytes) -> int:
        """How often it has failed elsewhere."""
        if key not in self._by_key:
            return 0
        return sum(min(one.claim.failures, MOST_FAILURES) for _, one in self._valid(key))

    def guesses(self, key: bytes) -> int:
        """How many guesses of an account's strangers were used up elsewhere, and have not come back yet."""
        if key not in self._by_key:
            return 0
        now, refill = self._clock.monotonic(), self.limits.strange_refill
        return sum(
            max(0, min(one.claim.failures, MOST_FAILURES) - int((now - one.until) / refill))
            for _, one in self._valid(key)
        )

    def nodes(self, key: bytes) -> tuple[str, ...]:
        """Who else says that it waits, or has failed."""
        return tuple(sorted(node for node, _ in self._valid(key)))

    def standing(self) -> Iterator[tuple[bytes, Standing]]:
        """Everything that others claim and that counts, by key."""
        for key in list(self._by_key):
            valid = list(self._valid(key))
            if valid:
                claim = valid[0][1].claim
                told = self.nodes(key)
                failures = self.guesses(key) if claim.of is Of.ACCOUNT else self.failures(key)
                yield key, Standing(claim.of, claim.source, failures, self.until(key), told)

    def _valid(self, key: bytes) -> Iterator[tuple[str, _Held]]:
        """Claims of others that nobody has voided, and whose time is not over."""
        cleared, now = self.cleared_at(key), self._clock.monotonic()
        for node, one in self._by_key.get(key, {}).items():
            if one.claim.failures and one.claim.made_at > cleared and one.ends > now:
                yield node, one

    def cleared_at(self, key: bytes) -> float:
        """When it was forgotten last, wherever that was; 0.0: never."""
        own = self._own.get(key)
        found = [0.0 if own is None else own.cleared_at]
        found += [one.claim.cleared_at for one in self._by_key.get(key, {}).values()]
        return max(found)

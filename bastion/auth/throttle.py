"""Turning away guessing (L1, pure): the clock is an argument. Floods are the business of `auth.startups`.

`Penalties` slows guessing per (source, account), so that one engineer's wrong passwords do not lock out the office
behind the same address; a source alone is penalised only for many distinct failing accounts (`limits.penalties`),
and an account alone only towards sources from which nobody has ever logged in to it.
Invariants: a guess is charged before it is judged (`open`), so that attempts made at once are judged no more
often than one after the other; memory is bounded whatever the peers do, and what is forgotten first is what did
least harm.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator

from bastion.auth.account_failures import AccountFailures
from bastion.auth.guesses import Guess as Guess
from bastion.auth.guesses import Queue
from bastion.auth.penalty_claims import Claim, Claims, Of
from bastion.auth.penalty_limits import PenaltyLimits as PenaltyLimits
from bastion.auth.penalty_reasons import CODES, FREE_ALWAYS, is_free
from bastion.auth.penalty_records import (
    KEPT_FROM,
    KEPT_MAX,
    MAX_ENTRIES,
    MAX_SHOWN,
    UNKNOWN,
    Kept,
    Record,
    Table,
)
from bastion.auth.penalty_records import Blocked as Blocked
from bastion.auth.penalty_sources import is_exempt
from bastion.auth.penalty_sources import source_block as source_block
from bastion.clock import Clock
from bastion.errors import AuthReason

MAX_WAITING = 256
"""Guesses of one source that wait for others of it to be settled; the next is refused. With as many accounts, looking
whose turn it is takes 1.5 ms. More than the unfinished logins that one source may have by default."""

REMEMBERED_LOGINS = 16_384
"""Pairs of source and account that logged in well, the least recent forgotten first: about 150 bytes each, 2.5 MB."""


def _nobody_asks(key: bytes, until: float) -> None:
    """All are asked here."""


class Penalties:
    """Who must wait. All times come from `clock.monotonic`; accounts are the typed names, kept as digests.

    `on_block(key, until)` hears of every block, of a source or a pair, and with 0 of one that is lifted.
    """

    def __init__(
        self,
        clock: Clock,
        limits: PenaltyLimits | None = None,
        entries: int = MAX_ENTRIES,
        secret: bytes = b"",
    ) -> None:
        self._clock = clock
        # Keyed, so that nobody can choose names that fall on the same bit of a source's bitmap.
        self._secret = secret or secrets.token_bytes(16)
        self._limits = limits or PenaltyLimits()
        self._pairs = Table(self._limits.forget, entries)
        self._sources = Table(self._limits.forget, entries)
        # ... and long enough that a slow stream of guesses never finds the account's count forgotten
        refill = self._limits.strange_guesses * self._limits.strange_refill
        self._accounts = Table(max(self._limits.forget, refill), entries)
        self.claims = Claims(clock)  # those of other gateways, and what they are told
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._known_sources: OrderedDict[bytes, None] = OrderedDict()
        self._failures = AccountFailures(entries)
        self._queues: dict[str, Queue] = {}
        self._held: dict[str, None] = {}  # sources in which a guess waits for one of another source
        self.on_block: Callable[[bytes, float], None] = _nobody_asks
        self._long: OrderedDict[bytes, Record] = OrderedDict()  # what is worth keeping, the latest last
        self.changes = 0  # of that
        self.begun = {"account": 0, "source": 0}  # blocks, for a counter
        self.claims.limits = self._limits

    def set_limits(self, limits: PenaltyLimits) -> None:
        """From now on these. Records stay, and a block that runs ends when it was to end: a reload is no amnesty."""
        self._limits = self.claims.limits = limits
        self._pairs.forget = self._sources.forget = limits.forget

    def __len__(self) -> int:
        """Records held, for a gauge."""
        return len(self._pairs) + len(self._sources) + len(self._accounts)

    def running(self) -> dict[str, int]:
        """How many blocks run now, by what is blocked; some 10 ms for two full tables."""
        now = self._clock.monotonic()
        tables = {"account": self._pairs, "source": self._sources}
        return {what: sum(until > now for _, until in table.blocks()) for what, table in tables.items()}

    def blocks(self) -> Iterator[tuple[bytes, float]]:
        """Every block that runs now: its key, and until when."""
        now = self._clock.monotonic()
        found = {key: until for table in (self._sources, self._pairs) for key, until in table.blocks()}
        for key, standing in self.claims.standing():
            found[key] = max(found.get(key, 0.0), standing.until)
        yield from ((key, until) for key, until in found.items() if until > now)

    def allows(self, source: str, account: str) -> bool:
        """May an attempt for this account from this source be judged now?"""
        return self.wait(source, account) == 0.0

    def allows_source(self, source: str) -> bool:
        """The same before a name is known: at accept."""
        return self._left(self._sources, self._digest(source_block(source))) == 0.0

    def wait(self, source: str, account: str) -> float:
        """Seconds until `allows`; 0 = now."""
        block = source_block(source)
        pair = self._left(self._pairs, self._digest(block, account))
        return max(pair, self._left(self._sources, self._digest(block)))

    def open(self, source: str, account: str) -> Guess:
        """One password for `account`, to be charged before it is judged: `begin` it, and `settle` it."""
        pair = self._digest(source_block(source), account)
        return Guess(self._begin, self._settle, source, account, pair)

    def failed(self, source: str, account: str, reason: AuthReason, method: str = "password") -> None:
        """One attempt failed. Not every failure is a guess: see `is_free`."""
        if is_free(reason, method):
            return
        now, limits = self._clock.monotonic(), self._limits
        block = source_block(source)
        key = self._digest(block, account)
        pair = self._pairs.find_or_add(key, now)
        pair.count += 1
        pair.last = now
        excess = pair.count + self.claims.failures(key) - limits.free
        if excess > 0:
            pair.until = now + _doubled(limits.first_block, excess - 1, limits.longest_block)
            self._tell(key, pair)
            self.begun["account"] += 1
            pair.who = block, account[:MAX_SHOWN]
            self.claims.say(key, Of.PAIR, block, pair.count, pair.until)
            if pair.until - now >= KEPT_FROM:
                self._keep(key, pair)
        self._count_account(block, account, now)

    def succeeded(self, source: str, account: str) -> None:
        """The pair's failures were typing errors: neither the pair nor its source has them counted any more. What
        others have failed at stays: it clears nobody else.

        From now on the account knows this source: guesses from elsewhere do not slow it down here.
        """
        key = self._digest(source_block(source), account)
        blocked = self._pairs.find(key, self._clock.monotonic())
        if blocked is not None:
            self._pairs.drop(key)
            self._keep_no_more(key)
        claimed = self.claims.is_claimed(key)
        self.claims.clear(key, Of.PAIR, source_block(source))
        if claimed or (blocked is not None and blocked.until):
            self.on_block(key, 0.0)
        source_key = self._digest(source_block(source))
        source_record = self._sources.find(source_key, self._clock.monotonic())
        if source_record is not None:
            source_record.bits &= ~(1 << key[0])
        for known, one in ((self._known, key), (self._known_sources, source_key)):
            known[one] = None
            known.move_to_end(one)
            if len(known) > REMEMBERED_LOGINS:
                known.popitem(last=False)

    # -- for whoever looks ------------------------------------------------------------------------------

    def waiting(self) -> list[Blocked]:
        """Who must wait now."""
        return [blocked for _, _, _, blocked in self._blocked()]

    def forget(self, source: str = "", account: str = "") -> list[Blocked]:
        """Forget the blocks of a source, an account, or an account from a source; all of them when nothing is said."""
        block = source_block(source) if source else ""
        if account and not source:
            self._failures.forget(self._digest("", account))
            self.claims.clear(self._digest("", account), Of.ACCOUNT, "", always=True)
        forgotten = []
        for table, key, of, blocked in list(self._blocked()):
            meant = account[:MAX_SHOWN] in ("", blocked.account)
            if blocked.account == UNKNOWN and not meant:
                meant = key == self._digest(blocked.source, account)
            if meant and block in ("", blocked.source):
                table.drop(key)
                self._keep_no_more(key)
                self.claims.clear(key, of, blocked.source)
                self.on_block(key, 0.0)
                forgotten.append(blocked)
        return forgotten

    # -- where several gateways share them ---------------------------------------------------------------

    def learn(self, node: str, claims: Iterable[Claim], fresh: bool) -> None:
        """What `node`, another gateway, claims, and has forgotten. `fresh`: it has said so just now."""
        changed, cleared = self.claims.take(node, claims, fresh, self._is_known)
        now = self._clock.monotonic()
        for key in cleared:
            if not self.claims.is_own(key) and not self._failed_since(key, now):
                for table in (self._pairs, self._sources, self._accounts):
                    table.drop(key)
                self._keep_no_more(key)
                self._failures.forget(key)
        for key in changed:
            record = self._pairs.find(key, now) or self._sources.find(key, now)
            self._tell(key, record)

    def _failed_since(self, key: bytes, now: float) -> bool:
        """Did it fail here after it was forgotten elsewhere? Of that we may hear late, as one that begins does."""
        since = now - (self._clock.time() - self.claims.cleared_at(key))
        tables = (self._pairs, self._sources, self._accounts)
        return any(
            record is not None and record.last > since for record in (t.find(key, now) for t in tables)
        )

    def _is_known(self, key: bytes, of: Of) -> bool:
        """Is it about somebody who has logged in here?"""
        return key in (self._known_sources if of is Of.SOURCE else self._known)

    def _tell(self, key: bytes, record: Record | None) -> None:
        """Until when it waits now, for our own sake or others'."""
        until = max(0.0 if record is None else record.until, self.claims.until(key))
        self.on_block(key, until if until > self._clock.monotonic() else 0.0)

    def rekey(self, secret: bytes) -> None:
        """Key digests with this from now on, as all gateways of the store do. Whatever was known by another key is
        forgotten."""
        if secret == self._secret:
            return
        for key, _ in list(self.blocks()):
            self.on_block(key, 0.0)
        self._secret = secret
        for table in (self._pairs, self._sources, self._accounts):
            table.clear()
        for known in (self._known, self._known_sources, self._long):
            known.clear()
        self._failures.clear()
        self.claims.forget_all()
        self.changes += 1

    # -- over a restart ---------------------------------------------------------------------------------

    def use_key(self, secret: bytes) -> None:
        """Key digests with this from now on: before anything is known."""
        self._secret = secret

    def kept(self) -> list[Kept]:
        """What the next process is to know. Takes 1 us each."""
        now, wall = self._clock.monotonic(), self._clock.time()
        found = []
        for key, record in list(self._long.items()):
            source, account = record.who or ("", "")
            if source and record.until <= now:
                del self._long[key]
                continue
            at = record.until if source else record.since
            found.append(Kept(key.hex(), source, account != "", wall + at - now, record.count))
        return found

    def restore(self, kept: Iterable[Kept]) -> None:
        """Take what the process before this one knew. No block gets longer than the longest."""
        now, wall, limits = self._clock.monotonic(), self._clock.time(), self._limits
        for one in kept:
            key = bytes.fromhex(one.key)
            if not one.source:
                record = self._accounts.find_or_add(key, now)
                record.since = now - max(0.0, wall - one.at)
            else:
                longest = limits.longest_block if one.named else limits.longest_source_block
                left = min(one.at - wall, longest)
                if left <= 0:
                    continue
                record = (self._pairs if one.named else self._sources).find_or_add(key, now)
                record.until = now + left
                self.on_block(key, record.until)
            record.count = one.failures
            record.who = one.source, UNKNOWN if one.named else ""
            self._keep(key, record)
            of = Of.ACCOUNT if not one.source else Of.PAIR if one.named else Of.SOURCE
            self.claims.say(key, of, one.source, one.failures, record.until if one.source else record.since)

    def _keep(self, key: bytes, record: Record) -> None:
        self._long[key] = record
        self._long.move_to_end(key)
        if len(self._long) > KEPT_MAX:
            self._long.popitem(last=False)
        self.changes += 1

    def _keep_no_more(self, key: bytes) -> None:
        if self._long.pop(key, None) is not None:
            self.changes += 1

    def _blocked(self) -> Iterator[tuple[Table, bytes, Of, Blocked]]:
        now, limits, claims = self._clock.monotonic(), self._limits, self.claims
        seen: set[bytes] = set()
        for table, of in ((self._pairs, Of.PAIR), (self._sources, Of.SOURCE)):
            for key, record in table:
                until = max(record.until, claims.until(key))
                if until > now and record.who is not None:
                    seen.add(key)
                    failures = record.count + claims.failures(key)
                    nodes = (claims.name, *claims.nodes(key)) if claims.name else ()
                    yield table, key, of, Blocked(*record.who, until - now, failures, nodes)
        for key, record in self._accounts:
            back = int((now - record.since) / limits.strange_refill)
            failures = max(0, record.count - back) + claims.guesses(key)
            if failures >= limits.strange_guesses and record.who is not None:
                seen.add(key)
                left = record.since + (back + 1) * limits.strange_refill - now
                nodes = (claims.name, *claims.nodes(key)) if claims.name else ()
                yield self._accounts, key, Of.ACCOUNT, Blocked(*record.who, left, failures, nodes)
        yield from self._blocked_elsewhere(seen)

    def _blocked_elsewhere(self, seen: set[bytes]) -> Iterator[tuple[Table, bytes, Of, Blocked]]:
        now, limits = self._clock.monotonic(), self._limits
        tables = {Of.PAIR: self._pairs, Of.SOURCE: self._sources, Of.ACCOUNT: self._accounts}
        for key, one in self.claims.standing():
            if key in seen:
                continue
            left = one.until - now
            if one.of is Of.ACCOUNT:
                left = limits.strange_refill if one.failures >= limits.strange_guesses else 0.0
            if left > 0.0:
                who = one.source, "" if one.of is Of.SOURCE else UNKNOWN
                yield tables[one.of], key, one.of, Blocked(*who, left, one.failures, one.nodes)

    # -- guesses that are under way ----------------------------------------------------------------------

    def _begin(self, guess: Guess) -> None:
        block = source_block(guess.source)
        queue = self._queues.get(block)
        if queue is None:
            queue = self._queues[block] = Queue()
        if len(queue.waiting) >= MAX_WAITING:
            guess.settled = True
            guess.go(False)
            return
        queue.waiting[guess] = None
        self._advance(block)

    def _settle(self, guess: Guess, reason: AuthReason) -> None:
        block = source_block(guess.source)
        queue = self._queues[block]
        if guess.judged:
            queue.judged[guess.pair] -= 1
            if not queue.judged[guess.pair]:
                del queue.judged[guess.pair]
            if reason is AuthReason.OK:
                self.succeeded(guess.source, guess.account)
            else:
                self.failed(guess.source, guess.account, reason)
            if guess.strange and reason in FREE_ALWAYS:
                self._refund(guess.account)
            wrong = reason not in FREE_ALWAYS and reason not in CODES
            self._failures.settle(self._digest("", guess.account), wrong)
        else:
            queue.waiting.pop(guess, None)
        held, self._held = self._held, {}
        for one in {block: None} | held:
            if one in self._queues:
                self._advance(one)

    def _advance(self, block: str) -> None:
        """Let those go whose turn has come, first come first served. Never within itself: who goes may settle at
        once, and a queue of a hundred must not be a stack of a hundred."""
        queue = self._queues[block]
        if queue.advancing:
            queue.again = True
            return
        queue.advancing = queue.again = True
        while queue.again:
            queue.again = False
            not_yet: set[bytes] = set()  # pairs
            for guess in list(queue.waiting):
                if guess.pair in not_yet or guess not in queue.waiting:
                    continue
                allowed = self._may_go(queue, guess)
                if allowed is None:
                    not_yet.add(guess.pair)
                    continue
                del queue.waiting[guess]
                guess.judged, guess.settled = allowed, not allowed
                if allowed:
                    queue.judged[guess.pair] = queue.judged.get(guess.pair, 0) + 1
                guess.go(allowed)
        queue.advancing = False
        if not queue.waiting and not queue.judged:
            del self._queues[block]

    def _may_go(self, queue: Queue, guess: Guess) -> bool | None:
        """None: not yet. As many may be judged at once as could fail one after the other before a block."""
        if self.wait(guess.source, guess.account):
            return False
        now, limits = self._clock.monotonic(), self._limits
        pair = self._pairs.find(guess.pair, now)
        failed = self.claims.failures(guess.pair) + (0 if pair is None else pair.count)
        if queue.judged.get(guess.pair, 0) >= max(1, limits.free + 1 - failed):
            return None
        source = self._sources.find(self._digest(source_block(guess.source)), now)
        bits = 0 if source is None or now >= source.since + limits.window else source.bits
        for key in queue.judged:
            bits |= 1 << key[0]
        if queue.judged and guess.pair not in queue.judged and bits.bit_count() >= limits.accounts:
            return None
        key = self._digest("", guess.account)
        allowed = self._failures.take(key, now, limits.account_failures, limits.account_window)
        if not allowed:
            if allowed is None:
                self._held[source_block(guess.source)] = None
            return allowed
        guess.strange = guess.pair not in self._known
        if guess.strange and not self._take_strange(guess.account):
            self._failures.settle(key, wrong=False)
            return False
        return True

    def _take_strange(self, account: str) -> bool:
        """One of the guesses that all strange sources have for this account together."""
        now, limits, key = self._clock.monotonic(), self._limits, self._digest("", account)
        record = self._accounts.find_or_add(key, now)
        back = int((now - record.since) / limits.strange_refill)
        record.count = max(0, record.count - back)
        record.since = record.since + back * limits.strange_refill if record.count else now
        elsewhere = self.claims.guesses(key)
        if record.count + elsewhere >= limits.strange_guesses:
            return False
        record.count += 1
        record.last = now
        if record.count + elsewhere >= limits.strange_guesses:
            record.who = "", account[:MAX_SHOWN]
            self._keep(key, record)
            self.claims.say(key, Of.ACCOUNT, "", record.count, record.since)
        return True

    def _refund(self, account: str) -> None:
        key = self._digest("", account)
        record = self._accounts.find(key, self._clock.monotonic())
        if record is not None and record.count:
            record.count -= 1
            if self.claims.is_own(key):
                self.claims.say(key, Of.ACCOUNT, "", record.count, record.since)

    def _count_account(self, block: str, account: str, now: float) -> None:
        """Many distinct accounts failing from one source is spraying, whoever they are."""
        limits = self._limits
        if is_exempt(block, limits.exempt):
            return
        key = self._digest(block)
        record = self._sources.find_or_add(key, now)
        if now >= record.since + limits.window:
            record.since, record.bits = now, 0
        record.last = now
        # A bitmap of 256 bits, one picked by the digest: fixed memory, and it never counts too many.
        record.bits |= 1 << self._digest(block, account)[0]
        if record.bits.bit_count() >= limits.accounts:
            before = record.count + self.claims.failures(key)
            record.until = now + _doubled(limits.source_block, before, limits.longest_source_block)
            self._tell(key, record)
            self.begun["source"] += 1
            record.who = block, ""
            record.count += 1
            record.since, record.bits = now, 0
            self.claims.say(key, Of.SOURCE, block, record.count, record.until)
            if record.until - now >= KEPT_FROM:
                self._keep(key, record)

    def _digest(self, block: str, account: str = "") -> bytes:
        """A key of fixed size, however long a name is sent; its first byte picks the bitmap's bit."""
        text = f"{block}\0{account}".encode("utf-8", "backslashreplace")
        return hashlib.blake2b(text, digest_size=12, key=self._secret).digest()

    def _left(self, table: Table, key: bytes) -> float:
        now = self._clock.monotonic()
        record = table.find(key, now)
        until = max(0.0 if record is None else record.until, self.claims.until(key))
        return max(0.0, until - now)


def _doubled(first: float, times: int, longest: float) -> float:
    """`first` doubled `times` times, at most `longest`; the exponent is bounded before it is used."""
    return min(longest, first * float(1 << min(times, 32)))

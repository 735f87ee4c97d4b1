"""The locks of a gateway: made, taken away, kept, and followed where other gateways change them (L3).

One, where the control socket is. Invariant: a lock is in force in every process of the gateway before whoever made it
is told so; what other gateways and the store know is put into the same list, and is written down when it changes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final, cast

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion.clock import Clock, DelayedCall, Timers
from bastion.control.account_id import NO_ANSWER, AccountId, IdAsked
from bastion.control.asking import By, ControlError, Ended, ended_together
from bastion.control.hub import Hub
from bastion.control.orders import (
    AddLock,
    KeepLock,
    KeptLocks,
    LockMade,
    Locks,
    LocksAsked,
    RemoveLock,
    SetLocks,
)
from bastion.control.rate import Rate
from bastion.control.words import everywhere, reason_of
from bastion.errors import ControlReason
from bastion.observe.events import AuditEvent
from bastion.observe.events.control import Locked, LockFollowed, Unlocked, UnlockFollowed
from bastion.observe.meters import LOCKS, Meters
from bastion.policy.lock_list import Gone, Learned, LockList, Place
from bastion.policy.locks import MAX_LOCKS, MAX_REASON, Lock, LockKind, value_of
from bastion.wire.printable import printable

_log = Logger(namespace="bastion.control")

LONGEST_LOCK: Final = 10 * 365 * 86400.0
"""Seconds; what is to last longer has no end at all."""

EXPIRY_LOOK: Final = 60.0
"""Seconds between two looks for locks whose time is over. They are not in force any more; their lines go."""

LOOKUP: Final = 4.0
"""Seconds in which the directory says whose a name is that was locked. The name is locked meanwhile."""

ID_AGAIN: Final = 30.0
"""Seconds until the directory is asked again whose a name is that was locked while it did not answer."""

LOAD_AGAIN: Final = 10.0
"""Seconds until locks are asked for again when the store has not answered at the start."""

LINES_AT_ONCE: Final = 2000.0
LINES_A_SECOND: Final = 5.0
"""Audit lines of what others have locked and unlocked. Another gateway that was stolen may not fill the log: what is
beyond is in force, and told in one line of the operator's log for each answer."""

KEEPS_AT_ONCE: Final = 200.0
KEEPS_A_SECOND: Final = 20.0
KEEP_AGAIN: Final = 1.0
"""What others have locked and unlocked, as it is written to the store and its copy: one write, and a small file that is
synced, for each. The rest waits, one for each place."""

APPLIES_AT_ONCE: Final = 50.0
APPLIES_A_SECOND: Final = 5.0
APPLY_AGAIN: Final = 0.5
"""How often what others say is told to all processes, which is the whole list; what comes meanwhile is in force with
the next."""

Share = Callable[[tuple[Lock, ...], tuple[Gone, ...]], Deferred[Ended]]
"""Tells other gateways what was locked and unlocked here; what that has ended there, and who gave no answer. Never
fails."""


class LockKeeper:
    """Tells `hub`, the processes of this gateway. `note` writes an audit line."""

    def __init__(
        self, hub: Hub, clock: Clock, timers: Timers, note: Callable[[AuditEvent], None], meters: Meters
    ) -> None:
        self._hub, self._clock, self._timers, self._note, self._meters = hub, clock, timers, note, meters
        self.share: Share = lambda locks, gone: succeed(Ended())
        # Seconds for which a lock whose time is over is no news to others: our clock may be ahead of theirs.
        self.patience = 0.0
        self._began = clock.time()
        self._over: dict[Place, float] = {}  # of those, which have their line: when they were made
        self.list = LockList()
        self.known = False  # the store has said what is locked, or its copy, or all other gateways
        self._timer: DelayedCall | None = None
        self._loading: DelayedCall | None = None
        self._nameless: dict[Place, tuple[Lock, By]] = {}  # on names whose account is still to be had
        self._asking_ids: DelayedCall | None = None
        self._lines = Rate(timers, LINES_A_SECOND, LINES_AT_ONCE)
        self._later: dict[Place, tuple[Lock, bool]] = {}  # learned, and not kept yet
        self._keeps = Rate(timers, KEEPS_A_SECOND, KEEPS_AT_ONCE)
        self._keeping: DelayedCall | None = None
        self._applies = Rate(timers, APPLIES_A_SECOND, APPLIES_AT_ONCE)
        self._applying: DelayedCall | None = None
        self._waiting: list[Deferred[Ended]] = []  # for what is put in force next

    @property
    def locks(self) -> tuple[Lock, ...]:
        """The locks of now, for a process that joins."""
        now = self._clock.time()
        return tuple(lock for lock in self.list if lock.holds(now))

    def listed(self, request: LocksAsked) -> Locks:
        """The same for people."""
        return Locks(tuple(sorted(self.locks, key=lambda lock: lock.made_at)))

    def stop(self) -> None:
        """Nothing fires after this."""
        for timer in (self._timer, self._loading, self._asking_ids, self._keeping, self._applying):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = self._loading = self._asking_ids = self._keeping = self._applying = None
        self._nameless.clear()
        self._later.clear()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(Ended())

    # -- kept --------------------------------------------------------------------------------------------

    def load(self) -> Deferred[object]:
        """Put in force what the store has kept, as soon as it answers: what has begun meanwhile ends. Call it at the
        start. Fires when the store has answered, or has not."""
        self._loading = None
        asked: Deferred[object] = self._hub.ask_any(KeptLocks()).addCallback(
            lambda kept: self._loaded(kept.locks)
        )
        return asked.addErrback(self._not_loaded)

    def use(self, locks: Iterable[Lock]) -> Deferred[Ended] | None:
        """Put these in force beside those that are: the store's, or those of the process before this one."""
        for lock in locks:
            self.list.put(lock)
        return self._apply() if len(self.list) else None

    def _loaded(self, locks: Iterable[Lock]) -> Deferred[Ended] | None:
        self.known = True
        return self.use(locks)

    def _not_loaded(self, failure: Failure) -> None:
        _log.warn("locks that were kept are not in force yet: {text}", text=failure.getErrorMessage())
        self._loading = self._timers.callLater(LOAD_AGAIN, self.load)

    def _keep(self, lock: Lock, gone: bool = False) -> None:
        """In the store too. It owes what it cannot write; that nobody could be told is all that can go wrong."""
        asked = self._hub.ask_any(KeepLock(lock, gone))
        asked.addErrback(
            lambda failure: _log.warn("a lock is not kept: {text}", text=failure.getErrorMessage())
        )

    def _apply(self) -> Deferred[Ended]:
        for kind in LockKind:
            self._meters.set(LOCKS, sum(lock.kind is kind for lock in self.locks), kind)
        if self._timer is None and len(self.list):
            self._timer = self._timers.callLater(EXPIRY_LOOK, self._look_at_ends)
        return self._hub.ask(SetLocks(self.locks))

    def _look_at_ends(self) -> None:
        self._timer = None
        now = self._clock.time()
        for lock in [lock for lock in self.list if not lock.holds(now)]:
            place, until = (lock.kind, lock.value), lock.until or now
            # A gateway that begins says nothing of those that were over before: others have.
            if self._over.get(place) != lock.made_at and (until >= self._began or not self.patience):
                self._over[place] = lock.made_at
                self._note(Unlocked(lock.kind, lock.value))
            if now >= until + self.patience:
                self._keep(self.list.take(place), gone=True)
        self._over = {place: made for place, made in self._over.items() if place in self.list}
        self._quietly(self._apply())

    def _quietly(self, applied: Deferred[Ended]) -> None:
        applied.addErrback(lambda failure: _log.failure("putting locks in force failed", failure=failure))

    # -- what others have changed ------------------------------------------------------------------------

    def learn(self, node: str, locks: Iterable[Lock], gone: Iterable[Gone]) -> Deferred[Ended]:
        """What `node`, another gateway, has locked and unlocked. What that ends here."""
        learned = self.list.learn(self._clock.time(), locks, gone, node)
        for lock in learned.put:
            self._later[lock.kind, lock.value] = lock, False
        for lock in learned.gone:
            self._later[lock.kind, lock.value] = lock, True
        self._keep_learned()
        return self._followed(node, learned)

    def _keep_learned(self) -> None:
        """What others have told, in the store too, which whoever it comes from does as well; and what the store lacks.
        So this has time."""
        while self._later and self._keeps.allows():
            place = next(iter(self._later))
            self._keep(*self._later.pop(place))
        if self._later and (self._keeping is None or not self._keeping.active()):
            self._keeping = self._timers.callLater(KEEP_AGAIN, self._keep_learned)

    def seen(self, rows: Iterable[Lock], gone: Iterable[Gone] = (), lost: bool = False) -> None:
        """What the store has now. `lost`: another server has become it, which may lack what the one before had."""
        self.known = True
        learned, again = self.list.stored(self._clock.time(), rows, gone, lost)
        if lost and again:
            text = "the store is another server, and is told {locks} locks and {gone} ends of locks again"
            _log.warn(text, locks=len(again.locks), gone=len(again.gone))
        for lock in again.locks:
            self._later[lock.kind, lock.value] = lock, False
        for one in again.gone:
            self._later[one.kind, one.value] = Lock(one.kind, one.value, "", "", one.made_at), True
        self._keep_learned()
        self._quietly(self._followed("", learned))

    def _followed(self, node: str, learned: Learned) -> Deferred[Ended]:
        if not learned:
            return succeed(Ended())
        if not self._lines.allows(len(learned.put) + len(learned.gone)):
            counts = len(learned.put), len(learned.gone)
            text = (
                "{put} locks and {gone} ends of locks of {node} are in force and not written down one by one"
            )
            _log.warn(text, put=counts[0], gone=counts[1], node=node or "the store")
            return self._apply_soon()
        for lock in learned.put:
            by = printable(lock.made_by, len(lock.made_by)), printable(lock.reason, len(lock.reason))
            self._note(LockFollowed(lock.kind, lock.value, *by, node, lock.until, uid=lock.uid or None))
        for lock in learned.gone:
            self._note(UnlockFollowed(lock.kind, lock.value, node))
        return self._apply_soon()

    def _apply_soon(self) -> Deferred[Ended]:
        if not self._waiting and self._applies.allows():
            return self._apply()
        if self._applying is None:
            self._applying = self._timers.callLater(APPLY_AGAIN, self._apply_waiting)
        soon: Deferred[Ended] = Deferred()
        self._waiting.append(soon)
        return soon

    def _apply_waiting(self) -> None:
        """What that ends is told to the first who waits for it."""
        self._applying = None
        (first, *others), self._waiting = self._waiting, []
        for one in others:
            one.callback(Ended())
        self._apply().chainDeferred(first)

    # -- made here ---------------------------------------------------------------------------------------

    def add(self, request: AddLock) -> Deferred[LockMade]:
        """Lock it. Raises ControlError."""
        lock = self._lock_of(request)
        made = (
            self._lock_user(lock, request.by) if lock.kind is LockKind.USER else self._lock(lock, request.by)
        )
        return Deferred.fromCoroutine(made)

    def _lock_of(self, request: AddLock) -> Lock:
        """What is asked for. Raises ControlError."""
        try:
            value = value_of(request.kind, request.value)
        except ValueError as error:
            raise ControlError(ControlReason.MALFORMED, f"{printable(request.value, 64)}: {error}") from None
        reason = reason_of(request.reason)
        seconds = request.seconds
        if seconds is not None and not 0 < seconds <= LONGEST_LOCK:
            raise ControlError(
                ControlReason.MALFORMED, "a lock lasts from a second to ten years, or has no end"
            )
        place, now = (request.kind, value), self._clock.time()
        if place not in self.list and self.list.own >= MAX_LOCKS:
            raise ControlError(
                ControlReason.TOO_MANY, f"there are {MAX_LOCKS} locks: change the rules instead"
            )
        until = None if seconds is None else now + seconds
        return Lock(*place, reason, str(request.by), self.list.moment(place, now), until)

    async def _lock_user(self, lock: Lock, by: By) -> LockMade:
        """The name is locked at once; as soon as the directory has said whose it is, that account is in its place."""
        place = lock.kind, lock.value
        before = self.list.get(place)
        if before is not None and before.uid and before.holds(self._clock.time()):
            found = await self._id_of(lock.value)
            if found.uid != before.uid:  # replaced, the lock on that account would be none any more
                why = found.why or "another has the name now"
                text = f"{lock.value} is locked as the account {before.uid}, and {why}: unlock it first"
                raise ControlError(ControlReason.ALREADY, text)
            return await self._lock(replace(lock, uid=found.uid), by)
        in_force = self._enforce(lock)
        found = await self._id_of(lock.value)
        if found.uid and self.list.get(place) is lock:
            return await self._lock(replace(lock, uid=found.uid), by, in_force)
        if found.why == NO_ANSWER:
            self._nameless[place] = lock, by
            self._ask_ids_later()
        return await self._lock(lock, by, in_force, found.why)

    def _ask_ids_later(self) -> None:
        if self._nameless and (self._asking_ids is None or not self._asking_ids.active()):
            self._asking_ids = self._timers.callLater(ID_AGAIN, self._ask_ids)

    def _ask_ids(self) -> None:
        asked = Deferred.fromCoroutine(self._name_them())
        asked.addErrback(lambda failure: _log.failure("asking whose names are failed", failure=failure))

    async def _name_them(self) -> None:
        """One after the other, as long as the directory answers."""
        for place, (lock, by) in list(self._nameless.items()):
            if self.list.get(place) is not lock or not lock.holds(self._clock.time()):
                self._nameless.pop(place, None)
                continue
            found = await self._id_of(lock.value)
            if found.why == NO_ANSWER:
                break
            self._nameless.pop(place, None)
            if found.uid and self.list.get(place) is lock:
                await self._lock(replace(lock, uid=found.uid), by)
        self._ask_ids_later()

    async def _lock(
        self, lock: Lock, by: By, in_force: Deferred[Ended] | None = None, on_name: str = ""
    ) -> LockMade:
        """Put it in force, write it down, and say what that has ended. `in_force`: it is already, by its name."""
        parts = [] if in_force is None else [in_force]
        if in_force is None or lock.uid:
            parts.append(self._enforce(lock))
        results = await DeferredList(parts, consumeErrors=True)
        ended = ended_together([result for done, result in results if done])
        counts = ended.sessions, ended.tunnels, ended.connections
        self._note(
            Locked(
                by.name,
                by.uid,
                lock.kind,
                lock.value,
                lock.reason,
                lock.until,
                *counts,
                uid=lock.uid or None,
                person=by.person,
            )
        )
        for done, failed in results:
            if not done:
                cast(Failure, failed).raiseException()
        everywhere(ended)
        return LockMade(*counts, ended.ids, uid=lock.uid, on_name=on_name)

    def _enforce(self, lock: Lock) -> Deferred[Ended]:
        self.list.put(lock)
        self._keep(lock)
        return self._shared((lock,))

    def _shared(self, locks: tuple[Lock, ...] = (), gone: tuple[Gone, ...] = ()) -> Deferred[Ended]:
        """In force here and, as far as they answer, at the other gateways."""
        there = self.share(locks, gone)

        async def both() -> Ended:
            here = await self._apply()
            return ended_together((here, await there))

        return Deferred.fromCoroutine(both())

    def _id_of(self, name: str) -> Deferred[AccountId]:
        """Never fails, and takes LOOKUP seconds at most."""
        asked: Deferred[AccountId] = self._hub.ask_any(IdAsked(name))
        asked.addTimeout(LOOKUP, cast(Any, self._timers))

        def unknown(failure: Failure) -> AccountId:
            _log.warn("a lock stays on a name: {text}", text=failure.getErrorMessage())
            return AccountId(why=NO_ANSWER)

        return asked.addErrback(unknown)

    def add_certificates(self, locks: list[Lock], by: By) -> Deferred[Ended]:
        """Lock these, however many there are."""
        made = [
            replace(lock, made_at=self.list.moment((lock.kind, lock.value), lock.made_at)) for lock in locks
        ]
        for lock in made:
            self.list.put(lock)
            self._keep(lock)
            self._note(Locked(by.name, by.uid, lock.kind, lock.value, lock.reason, lock.until))
        return self._shared(tuple(made))

    def remove(self, request: RemoveLock) -> Deferred[Locks]:
        """Unlock it. Fails with ControlError."""
        return Deferred.fromCoroutine(self._remove(request))

    async def _remove(self, request: RemoveLock) -> Locks:
        by, gone = request.by, self._meant(request)
        await self._check_other(by, gone)
        if self._meant(request) != gone:
            raise ControlError(ControlReason.ALREADY, "it was locked anew meanwhile: look again")
        self._keep(self.list.take((gone.kind, gone.value)), gone=True)
        why = request.reason[:MAX_REASON]
        self._note(Unlocked(gone.kind, gone.value, by.name, by.uid, why, by.person))
        ended = await self._shared((), (Gone(gone.kind, gone.value, gone.made_at),))
        return Locks((gone,), ended.silent)

    def _meant(self, request: RemoveLock) -> Lock:
        """The one lock that is to go. Raises ControlError."""
        found = [lock for lock in self.locks if _is_meant(request, lock)]
        if not found:
            raise ControlError(ControlReason.NOT_FOUND, f"{printable(request.value, 64)} is not locked")
        if len(found) > 1:
            kinds = ", ".join(lock.kind for lock in found)
            raise ControlError(ControlReason.AMBIGUOUS, f"that is locked as {kinds}: say which")
        if request.made_at not in (0.0, found[0].made_at):
            raise ControlError(ControlReason.ALREADY, "it was locked anew meanwhile: look again")
        return found[0]

    async def _check_other(self, by: By, lock: Lock) -> None:
        """Nobody unlocks himself: by the name, and whom somebody speaks for by the id, too. Root, and the gateway's
        account, are nobody's. Raises ControlError."""
        if lock.kind is not LockKind.USER or not (by.person or by.uid):
            return
        own = (by.person or by.name) == lock.value
        if not own and by.person and lock.uid:
            found = await self._id_of(by.person)
            if found.why == NO_ANSWER:
                text = f"the directory does not say whether {by.person} is another than {lock.value}"
                raise ControlError(ControlReason.FAILED, text)
            own = found.uid == lock.uid
        if own:
            raise ControlError(ControlReason.NO_ROLE, f"nobody unlocks himself: {lock.value} is locked")


def _is_meant(request: RemoveLock, lock: Lock) -> bool:
    if request.kind is not None and request.kind is not lock.kind:
        return False
    try:
        return value_of(lock.kind, request.value) == lock.value
    except ValueError:
        return False

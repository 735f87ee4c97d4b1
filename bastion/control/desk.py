"""What people ask of and tell a gateway, over one node or many (L3): keeps the locks, and writes down who did what.

Where there are several processes this is in the one that owns the control socket. Invariant: what acts has a line in
the audit log with who asked, what and why, and a lock is in force everywhere before whoever made it is told so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final, cast

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion.auth.throttle import Penalties
from bastion.clock import Clock, DelayedCall, Timers
from bastion.control import blocks
from bastion.control.account_id import NO_ANSWER, AccountId, IdAsked
from bastion.control.asking import By, ControlError, Ended, Node, R, Request, Stream, ended_together
from bastion.control.glass import CloseGlass, Glass, OpenGlass
from bastion.control.glass_keeping import GlassKeeper
from bastion.control.hub import Hub
from bastion.control.node import Kill, Selection
from bastion.control.orders import (
    AddLock,
    AnswerRequest,
    ApprovalsAsked,
    CertificatesAsked,
    ClearPenalties,
    Enrolment,
    EnrolTotp,
    Forgotten,
    Invitation,
    InviteTotp,
    KeepLock,
    KeptLocks,
    KeysOfAsked,
    LevelSet,
    LockMade,
    Locks,
    LocksAsked,
    LogLevel,
    PenaltiesAsked,
    PenaltyList,
    RemoveLock,
    ResetTotp,
    SetLocks,
    SetLogLevel,
    TotpAsked,
)
from bastion.errors import ControlReason
from bastion.observe.events import AuditEvent
from bastion.observe.events.control import (
    Killed,
    Locked,
    LogLevelSet,
    PenaltiesCleared,
    TotpEnrolled,
    TotpInvited,
    TotpTakenAway,
    Unlocked,
)
from bastion.observe.meters import LOCKS, Meters
from bastion.policy.locks import MAX_LOCKS, MAX_REASON, Lock, LockKind, value_of
from bastion.wire.printable import printable

_log = Logger(namespace="bastion.control")

LONGEST_LOCK: Final = 10 * 365 * 86400.0
"""Seconds; what is to last longer has no end at all."""

EXPIRY_LOOK: Final = 60.0
"""Seconds between two looks for locks whose time is over. They are not in force any more; their lines go."""


LOOKUP: Final = 4.0
"""Seconds in which the directory says whose a name is that was locked. The name is locked meanwhile."""

MOST_IDS: Final = 128
"""Names in the audit line of what was ended; the counts have all."""

ID_AGAIN: Final = 30.0
"""Seconds until the directory is asked again whose a name is that was locked while it did not answer."""

LOAD_AGAIN: Final = 10.0
"""Seconds until locks are asked for again when the store has not answered at the start."""


class Desk(Node):
    """Asks `hub`, and answers itself what is about locks. `note` writes an audit line. `penalties` are those of a
    gateway whose processes do not keep their own."""

    def __init__(
        self,
        hub: Hub,
        clock: Clock,
        timers: Timers,
        note: Callable[[AuditEvent], None],
        meters: Meters,
        penalties: Penalties | None = None,
    ) -> None:
        self.name = hub.name
        self._hub = hub
        self._clock, self._timers = clock, timers
        self._note = note
        self._meters = meters
        self._penalties = penalties
        self.on_level: Callable[[LogLevel], object] = str  # of the process that the desk is in
        self._glass = GlassKeeper(hub, clock, timers, note)
        self._locks: dict[tuple[LockKind, str], Lock] = {}
        self._timer: DelayedCall | None = None
        self._loading: DelayedCall | None = None
        self._nameless: dict[
            tuple[LockKind, str], tuple[Lock, By]
        ] = {}  # on names whose account is still to be had
        self._asking_ids: DelayedCall | None = None
        self._table: dict[type[Request[Any]], Callable[[Any], Any]] = {
            AddLock: self._add_lock,
            RemoveLock: self._remove_lock,
            LocksAsked: self._list_locks,
            Kill: self._kill,
            ClearPenalties: self._clear_penalties,
            SetLogLevel: self._set_log_level,
            EnrolTotp: self._enrol_totp,
            InviteTotp: self._invite_totp,
            ResetTotp: self._reset_totp,
            TotpAsked: self._hub.ask_any,
            OpenGlass: self._open_glass,
            CloseGlass: lambda request: self._glass.close(request.by),
            CertificatesAsked: self._hub.ask_any,
            KeysOfAsked: self._hub.ask_any,
            ApprovalsAsked: self._hub.ask_any,
            AnswerRequest: self._hub.ask_any,
        }

    def answers(self, kind: type[Request[R]], answer: Callable[[Any], R | Deferred[R]]) -> None:
        """From now on `answer` answers this kind of question, which no other process is asked."""
        self._table[kind] = answer

    def ask(self, request: Request[R], stream: Stream | None = None) -> Deferred[R]:
        answer = self._table.get(type(request))
        if isinstance(request, PenaltiesAsked) and self._penalties is not None:
            return succeed(cast(R, blocks.waiting(self._penalties)))
        if answer is None:
            return self._hub.ask(request, stream)
        return maybeDeferred(answer, request)

    # -- locks -------------------------------------------------------------------------------------------

    @property
    def locks(self) -> tuple[Lock, ...]:
        """The locks of now, for a process that joins: `SetLocks(desk.locks)` is the first that it is asked."""
        now = self._clock.time()
        return tuple(lock for lock in self._locks.values() if lock.holds(now))

    def load(self) -> Deferred[Any]:
        """Put in force what the store has kept, as soon as it answers: what has begun meanwhile ends. Call it at the
        start. Fires when the store has answered, or has not."""
        self._loading = None
        asked: Deferred[Any] = self._hub.ask_any(KeptLocks()).addCallback(lambda kept: self.use(kept.locks))
        return asked.addErrback(self._not_loaded)

    def use(self, locks: Iterable[Lock]) -> Deferred[Ended] | None:
        """Put these in force beside those that are: the store's, or those of the process before this one."""
        for lock in locks:
            self._locks.setdefault((lock.kind, lock.value), lock)
        return self._apply() if self._locks else None

    def _not_loaded(self, failure: Failure) -> None:
        _log.warn("locks that were kept are not in force yet: {text}", text=failure.getErrorMessage())
        self._loading = self._timers.callLater(LOAD_AGAIN, self.load)

    def _keep(self, lock: Lock, gone: bool = False) -> None:
        """In the store too. It owes what it cannot write; that nobody could be told is all that can go wrong."""
        asked = self._hub.ask_any(KeepLock(lock, gone))
        asked.addErrback(
            lambda failure: _log.warn("a lock is not kept: {text}", text=failure.getErrorMessage())
        )

    def stop(self) -> None:
        """Nothing fires after this."""
        self._glass.stop()
        for timer in (self._timer, self._loading, self._asking_ids):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = self._loading = self._asking_ids = None
        self._nameless.clear()

    def _apply(self) -> Deferred[Ended]:
        for kind in LockKind:
            self._meters.set(LOCKS, sum(lock.kind is kind for lock in self.locks), kind)
        if self._timer is None and self._locks:
            self._timer = self._timers.callLater(EXPIRY_LOOK, self._look_at_ends)
        return self._hub.ask(SetLocks(self.locks))

    def _look_at_ends(self) -> None:
        self._timer = None
        now = self._clock.time()
        over = [place for place, lock in self._locks.items() if not lock.holds(now)]
        for place in over:
            self._keep(self._locks.pop(place), gone=True)
            self._note(Unlocked(*place))
        applied = self._apply()
        applied.addErrback(lambda failure: _log.failure("taking locks away failed", failure=failure))

    def _add_lock(self, request: AddLock) -> Deferred[LockMade]:
        lock = self._lock_of(request)
        made = (
            self._lock_user(lock, request.by) if lock.kind is LockKind.USER else self._lock(lock, request.by)
        )
        return Deferred.fromCoroutine(made)

    def _lock_of(self, request: AddLock) -> Lock:
        """What is asked for. Raises ControlError."""
        now = self._clock.time()
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
        place = request.kind, value
        if place not in self._locks and len(self._locks) >= MAX_LOCKS:
            raise ControlError(
                ControlReason.TOO_MANY, f"there are {MAX_LOCKS} locks: change the rules instead"
            )
        return Lock(*place, reason, str(request.by), now, None if seconds is None else now + seconds)

    async def _lock_user(self, lock: Lock, by: By) -> LockMade:
        """The name is locked at once; as soon as the directory has said whose it is, that account is in its place."""
        place = lock.kind, lock.value
        before = self._locks.get(place)
        if before is not None and before.uid and before.holds(lock.made_at):
            found = await self._id_of(lock.value)
            if found.uid != before.uid:  # replaced, the lock on that account would be none any more
                why = found.why or "another has the name now"
                text = f"{lock.value} is locked as the account {before.uid}, and {why}: unlock it first"
                raise ControlError(ControlReason.ALREADY, text)
            return await self._lock(replace(lock, uid=found.uid), by)
        in_force = self._enforce(lock)
        found = await self._id_of(lock.value)
        if found.uid and self._locks.get(place) is lock:
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
            if self._locks.get(place) is not lock or not lock.holds(self._clock.time()):
                self._nameless.pop(place, None)
                continue
            found = await self._id_of(lock.value)
            if found.why == NO_ANSWER:
                break
            self._nameless.pop(place, None)
            if found.uid and self._locks.get(place) is lock:
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
                by.name, by.uid, lock.kind, lock.value, lock.reason, lock.until, *counts, uid=lock.uid or None
            )
        )
        for done, failed in results:
            if not done:
                cast(Failure, failed).raiseException()
        everywhere(ended)
        return LockMade(*counts, ended.ids, uid=lock.uid, on_name=on_name)

    def _enforce(self, lock: Lock) -> Deferred[Ended]:
        self._locks[lock.kind, lock.value] = lock
        self._keep(lock)
        return self._apply()

    def _id_of(self, name: str) -> Deferred[AccountId]:
        """Never fails, and takes LOOKUP seconds at most."""
        asked: Deferred[AccountId] = self._hub.ask_any(IdAsked(name))
        asked.addTimeout(LOOKUP, cast(Any, self._timers))

        def unknown(failure: Failure) -> AccountId:
            _log.warn("a lock stays on a name: {text}", text=failure.getErrorMessage())
            return AccountId(why=NO_ANSWER)

        return asked.addErrback(unknown)

    def _remove_lock(self, request: RemoveLock) -> Deferred[Locks]:
        by = request.by
        gone = [lock for place, lock in self._locks.items() if _is_meant(request, lock)]
        if not gone:
            raise ControlError(ControlReason.NOT_FOUND, f"{printable(request.value, 64)} is not locked")
        if len(gone) > 1:
            kinds = ", ".join(lock.kind for lock in gone)
            raise ControlError(ControlReason.AMBIGUOUS, f"that is locked as {kinds}: say which")
        for lock in gone:
            self._keep(self._locks.pop((lock.kind, lock.value)), gone=True)
            self._note(Unlocked(lock.kind, lock.value, by.name, by.uid, request.reason[:MAX_REASON]))
        return self._apply().addCallback(lambda _: Locks(tuple(gone)))

    def _list_locks(self, request: LocksAsked) -> Locks:
        return Locks(tuple(sorted(self.locks, key=lambda lock: lock.made_at)))

    # -- break-glass accounts ----------------------------------------------------------------------------

    @property
    def glass(self) -> Glass | None:
        """What somebody has opened, for a process that joins; None: nothing."""
        return self._glass.glass

    def follow_glass(self) -> None:
        """Do what was said last of them, here or at another gateway of the store. Call it at the start."""
        self._glass.follow()

    def _open_glass(self, request: OpenGlass) -> Deferred[Glass]:
        return self._glass.open(request.by, reason_of(request.reason), request.seconds)

    # -- what acts ---------------------------------------------------------------------------------------

    def _kill(self, request: Kill) -> Deferred[Ended]:
        by, reason, selected = request.by, reason_of(request.reason), in_words(request.selection)
        asked = self._hub.ask(replace(request, reason=reason))

        def told(ended: Ended) -> Ended:
            counts = ended.sessions, ended.tunnels, ended.connections
            self._note(Killed(by.name, by.uid, reason, selected, *counts, ended.ids[:MOST_IDS]))
            return everywhere(ended)

        def failed(failure: Failure) -> Failure:
            error = failure.value
            if not isinstance(error, ControlError) or error.reason not in _NOTHING_ENDS:
                self._note(Killed(by.name, by.uid, reason, selected))
            return failure

        return asked.addCallbacks(told, failed)

    def _clear_penalties(self, request: ClearPenalties) -> Deferred[PenaltyList]:
        by, penalties = request.by, self._penalties
        asked = self._hub.ask(request) if penalties is None else succeed(blocks.forgotten(penalties, request))

        def told(cleared: PenaltyList) -> PenaltyList:
            why = request.reason[:MAX_REASON]
            self._note(PenaltiesCleared(by.name, by.uid, cleared.all, request.source, request.account, why))
            return cleared

        return asked.addCallback(told)

    def _set_log_level(self, request: SetLogLevel) -> Deferred[LevelSet]:
        by = request.by

        def told(level: LevelSet) -> LevelSet:
            self.on_level(request.level)
            self._note(LogLevelSet(by.name, by.uid, level.level, level.before))
            return level

        return self._hub.ask(request).addCallback(told)

    # -- second factors ----------------------------------------------------------------------------------

    def _enrol_totp(self, request: EnrolTotp) -> Deferred[Enrolment]:
        def told(made: Enrolment) -> Enrolment:
            self._note(TotpEnrolled(request.by.name, request.by.uid, made.name, made.uid))
            return made

        return self._hub.ask_any(request).addCallback(told)

    def _invite_totp(self, request: InviteTotp) -> Deferred[Invitation]:
        def told(made: Invitation) -> Invitation:
            self._note(TotpInvited(request.by.name, request.by.uid, made.name, made.uid))
            return made

        return self._hub.ask_any(request).addCallback(told)

    def _reset_totp(self, request: ResetTotp) -> Deferred[Forgotten]:
        by, reason = request.by, reason_of(request.reason)

        def told(gone: Forgotten) -> Deferred[Forgotten]:
            self._note(TotpTakenAway(by.name, by.uid, printable(request.name, 64), reason))
            why = f"the second factor was taken away: {reason}"[:MAX_REASON]
            return self._lock_certificates(gone, by, why).addCallback(self._end_all_of, by, why)

        return self._hub.ask_any(request).addCallback(told)

    def _lock_certificates(self, gone: Forgotten, by: By, reason: str) -> Deferred[Forgotten]:
        """What carries a second factor that is none any more lets nobody in, and what it has opened ends."""
        if not gone.certificates:
            return succeed(gone)
        now = self._clock.time()
        for one in gone.certificates:
            lock = Lock(LockKind.CERTIFICATE, one.lock, reason, str(by), now, one.ends_at)
            self._locks[lock.kind, lock.value] = lock  # however many there are
            self._keep(lock)
            self._note(Locked(by.name, by.uid, lock.kind, lock.value, reason, lock.until))

        def told(ended: Ended) -> Forgotten:
            everywhere(ended)
            return gone

        return self._apply().addCallback(told)

    def _end_all_of(self, gone: Forgotten, by: By, reason: str) -> Deferred[Forgotten]:
        """Nothing goes on that was opened with a second factor which is none any more: nor do connections
        through which more could be opened. Nobody knows which of them asked for it."""
        if not gone.name:  # the process that answered is of the version before
            return succeed(gone)

        def nobody(failure: Failure) -> Forgotten:
            error = failure.value
            if not isinstance(error, ControlError) or error.reason not in _NOTHING_ENDS:
                failure.raiseException()
            return gone

        return self._kill(Kill(Selection(user=gone.name), reason, by)).addCallbacks(lambda _: gone, nobody)


_NOTHING_ENDS: Final = (ControlReason.NOT_FOUND, ControlReason.LINK_LOST)


def everywhere(ended: Ended) -> Ended:
    """`ended`, unless somebody is silent: then ControlError with what has been done all the same."""
    if not ended.silent:
        return ended
    silent = ", ".join(ended.silent)
    text = f"{silent} did not answer: told, and does it when it comes to; {ended.all} have ended elsewhere"
    raise ControlError(ControlReason.TIMEOUT, text)


def _is_meant(request: RemoveLock, lock: Lock) -> bool:
    if request.kind is not None and request.kind is not lock.kind:
        return False
    try:
        return value_of(lock.kind, request.value) == lock.value
    except ValueError:
        return False


def reason_of(text: str) -> str:
    """What engineers are told: one line that shows as itself. Raises ControlError when there is none."""
    shown = " ".join(text.split())
    if not shown:
        raise ControlError(
            ControlReason.MALFORMED, "a reason is needed: engineers read it, and so does the audit log"
        )
    if len(shown) > MAX_REASON:
        raise ControlError(ControlReason.MALFORMED, f"the reason is longer than {MAX_REASON} characters")
    return printable(shown, len(shown))


def in_words(selection: Selection) -> str:
    """What was selected, for the audit log."""
    named = (("id", selection.id), ("user", selection.user), ("target", selection.target))
    return ", ".join(f"{what} {value}" for what, value in named if value) or "all"

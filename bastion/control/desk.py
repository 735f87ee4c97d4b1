"""What people ask of and tell a gateway, over one node or many (L3): keeps the locks, and writes down who did what.

Where there are several processes this is in the one that owns the control socket. Invariant: what acts has a line in
the audit log with who asked, what and why, and a lock is in force everywhere before whoever made it is told so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final, cast

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure

from bastion.auth.throttle import Penalties
from bastion.clock import Clock, Timers
from bastion.control import blocks
from bastion.control.approvals import AnswerRequest, ApprovalsAsked
from bastion.control.asking import By, ControlError, Ended, Node, R, Request, Stream
from bastion.control.deletion import AnswerDeletion, AskDeletion, DeletionsAsked
from bastion.control.glass import CloseGlass, Glass, OpenGlass
from bastion.control.glass_keeping import GlassKeeper
from bastion.control.hub import Hub
from bastion.control.lock_keeping import LockKeeper
from bastion.control.node import Kill, Selection
from bastion.control.orders import (
    AddLock,
    CertificatesAsked,
    ClearPenalties,
    Enrolment,
    EnrolTotp,
    Forgotten,
    Invitation,
    InviteTotp,
    KeysOfAsked,
    LevelSet,
    LocksAsked,
    LogLevel,
    PenaltiesAsked,
    PenaltyList,
    RemoveLock,
    ResetTotp,
    SetLogLevel,
    TotpAsked,
)
from bastion.control.proving import UseCode
from bastion.control.words import everywhere, in_words, reason_of
from bastion.errors import ControlReason
from bastion.observe.events import AuditEvent
from bastion.observe.events.control import (
    Killed,
    LogLevelSet,
    PenaltiesCleared,
    TotpEnrolled,
    TotpInvited,
    TotpTakenAway,
)
from bastion.observe.meters import Meters
from bastion.policy.locks import MAX_REASON, Lock, LockKind
from bastion.wire.printable import printable

MOST_IDS: Final = 128
"""Names in the audit line of what was ended; the counts have all."""

Elsewhere = Callable[[Kill], Deferred[Ended]]
"""Ends the same at other gateways: what has ended there, and who gave no answer. Never fails."""


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
        self.clock = clock
        self._note = note
        self._penalties = penalties
        self.on_level: Callable[[LogLevel], object] = str  # of the process that the desk is in
        self._glass = GlassKeeper(hub, clock, timers, note)
        self.keeper = LockKeeper(hub, clock, timers, note, meters)
        self.kill_elsewhere: Elsewhere = lambda request: succeed(Ended())
        self._table: dict[type[Request[Any]], Callable[[Any], Any]] = {
            AddLock: self.keeper.add,
            RemoveLock: self.keeper.remove,
            LocksAsked: self.keeper.listed,
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
            UseCode: self._hub.ask_any,
            KeysOfAsked: self._hub.ask_any,
            ApprovalsAsked: self._hub.ask_any,
            AnswerRequest: self._hub.ask_any,
            DeletionsAsked: self._hub.ask_any,
            AskDeletion: self._hub.ask_any,
            AnswerDeletion: self._hub.ask_any,
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
        return self.keeper.locks

    def load(self) -> Deferred[Any]:
        """Put in force what the store has kept. Call it at the start. Fires when it has answered, or has not."""
        return self.keeper.load()

    def use(self, locks: Iterable[Lock]) -> Deferred[Ended] | None:
        """Put these in force beside those that are: those of the process before this one."""
        return self.keeper.use(locks)

    def stop(self) -> None:
        """Nothing fires after this."""
        self._glass.stop()
        self.keeper.stop()

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
            ids = ended.ids[:MOST_IDS]
            self._note(Killed(by.name, by.uid, reason, selected, *counts, ids, by.person))
            return everywhere(ended)

        def failed(failure: Failure) -> Failure:
            error = failure.value
            if not isinstance(error, ControlError) or error.reason not in _NOTHING_ENDS:
                self._note(Killed(by.name, by.uid, reason, selected, person=by.person))
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
        now = self.clock.time()
        locks = [
            Lock(LockKind.CERTIFICATE, one.lock, reason, str(by), now, one.ends_at)
            for one in gone.certificates
        ]

        def told(ended: Ended) -> Forgotten:
            everywhere(ended)
            return gone

        return self.keeper.add_certificates(locks, by).addCallback(told)

    def _end_all_of(self, gone: Forgotten, by: By, reason: str) -> Deferred[Forgotten]:
        """Nothing goes on that was opened with a second factor which is none any more: nor do connections
        through which more could be opened. Nobody knows which of them asked for it."""
        if not gone.name:  # the process that answered is of the version before
            return succeed(gone)

        kill = Kill(Selection(user=gone.name), reason, by)
        there = self.kill_elsewhere(kill)

        def nobody(failure: Failure) -> None:
            error = failure.value
            if not isinstance(error, ControlError) or error.reason not in _NOTHING_ENDS:
                failure.raiseException()

        async def everybody() -> Forgotten:
            await self._kill(kill).addErrback(nobody)
            everywhere(await there)
            return gone

        return Deferred.fromCoroutine(everybody())


_NOTHING_ENDS: Final = (ControlReason.NOT_FOUND, ControlReason.LINK_LOST)

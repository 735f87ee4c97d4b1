"""The node of this process (L3): what `session.gateway.Gateway` knows and can do, as answers.

`LocalNode` has a table, question -> what answers it. Rooms above add what they answer (`answers`): a reload, a drain.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from bastion import __version__
from bastion.auth.break_glass import Opening
from bastion.control import blocks
from bastion.control.account_id import IdAsked
from bastion.control.answering import Answering
from bastion.control.approvals import AnswerRequest, ApprovalsAsked
from bastion.control.code_using import CodeUsing
from bastion.control.confirming import ConfirmLocks, Heard, SharedLocks, SharedRows
from bastion.control.deleting import Deleting
from bastion.control.deletion import AnswerDeletion, AskDeletion, DeletionsAsked
from bastion.control.directory_id import id_of
from bastion.control.enrolling import Enrolling
from bastion.control.glass import Glass, GlassAsked, GlassKept, KeepGlass, Kept, SetGlass
from bastion.control.key_listing import KeyListing
from bastion.control.node import (
    ControlError,
    Counted,
    Ended,
    Kill,
    Live,
    LiveAsked,
    LiveRow,
    Node,
    NodeStatus,
    Part,
    R,
    Request,
    Selection,
    SnapshotAsked,
    Status,
    StatusAsked,
    Stream,
    ended_together,
)
from bastion.control.orders import (
    CertificatesAsked,
    ClearPenalties,
    EnrolTotp,
    InviteTotp,
    KeepLock,
    KeptLocks,
    KeysOfAsked,
    Locks,
    PenaltiesAsked,
    PenaltyList,
    ResetTotp,
    SetLocks,
    TotpAsked,
    WatchSession,
)
from bastion.control.penalty_orders import PenaltiesShared, SharePenalties
from bastion.control.penalty_store import share
from bastion.control.proving import UseCode
from bastion.control.watching import Watching
from bastion.errors import ControlReason, EndReason
from bastion.policy.locks import Lock, LockSet
from bastion.policy.targets import Inventory
from bastion.recording.format import REF_LENGTH
from bastion.session.ending import End
from bastion.session.gateway import Gateway
from bastion.session.present import Kind, Present
from bastion.state.database import Database
from bastion.state.glass_codes import keep_copy
from bastion.state.openings import Opened, newest, opened, read_copy, write_copy
from bastion.state.rows import Lock as KeptLock
from bastion.state.shared_locks import Rows, in_force, rows_since

Answer = Callable[[Any, Stream | None], Any]
"""Answers one kind of question: a value or a Deferred; raises ControlError."""

LONGEST_CONFIRMED: Final = 60.0
"""Seconds for which what is locked may be known, whatever is said."""

ORDER: Final = {kind: place for place, kind in enumerate(Kind)}


class LocalNode(Node):
    """This process. `on_look` is called before meters are copied, for gauges that are read when somebody looks."""

    def __init__(
        self, gateway: Gateway, name: str = "gateway", on_look: Callable[[], None] | None = None
    ) -> None:
        self.name = name
        self._gateway = gateway
        self._on_look = on_look
        self.watching = Watching(gateway)
        self._enrolling = Enrolling(gateway)
        self._answering = Answering(gateway)
        self._deleting = Deleting(gateway)
        self._started_at = gateway.clock.time()
        self.config_file = ""
        self.log_level: Callable[[], str] = str
        self.parts: Callable[[], Iterable[Part]] = tuple
        self._table: dict[type[Request[Any]], Answer] = {
            StatusAsked: self._status,
            SnapshotAsked: self._snapshot,
            LiveAsked: self._live,
            Kill: self._kill,
            SetLocks: self._set_locks,
            WatchSession: self.watching.watch,
            KeptLocks: self._kept_locks,
            KeepLock: self._keep_lock,
            SharedLocks: self._shared_locks,
            ConfirmLocks: self._confirm_locks,
            IdAsked: lambda request, stream: id_of(gateway.services.auth.directory, request.name),
            PenaltiesAsked: self._penalties,
            ClearPenalties: self._clear_penalties,
            SharePenalties: self._share_penalties,
            EnrolTotp: self._enrolling.enrol,
            InviteTotp: self._enrolling.invite,
            TotpAsked: self._enrolling.holders,
            ResetTotp: self._enrolling.reset,
            SetGlass: self._set_glass,
            GlassAsked: lambda request, stream: self._glass(),
            KeepGlass: self._keep_glass,
            GlassKept: self._glass_kept,
            CertificatesAsked: self._enrolling.certificates,
            UseCode: CodeUsing(gateway).use,
            KeysOfAsked: KeyListing(gateway).keys_of,
            ApprovalsAsked: self._answering.listed,
            AnswerRequest: self._answering.answer,
            DeletionsAsked: self._deleting.listed,
            AskDeletion: self._deleting.ask,
            AnswerDeletion: self._deleting.answer,
        }

    def answers(
        self, request: type[Request[R]], answer: Callable[[Any, Stream | None], R | Deferred[R]]
    ) -> None:
        """From now on `answer` answers this kind of question."""
        self._table[request] = answer

    def ask(self, request: Request[R], stream: Stream | None = None) -> Deferred[R]:
        answer = self._table.get(type(request))
        if answer is None:
            answered: Deferred[R] = Deferred()
            answered.errback(ControlError(ControlReason.UNKNOWN_COMMAND, f"{self.name} does not do that"))
            return answered
        return maybeDeferred(answer, request, stream)

    # -- answers -----------------------------------------------------------------------------------------

    def _status(self, request: StatusAsked, stream: Stream | None) -> Status:
        gateway = self._gateway
        disk = gateway.store.health()
        return Status(
            (
                NodeStatus(
                    name=self.name,
                    state="draining" if gateway.draining else "running",
                    version=__version__,
                    pid=os.getpid(),
                    started_at=self._started_at,
                    config=self.config_file,
                    reloads=gateway.reloads,
                    sessions=len(gateway.live),
                    connections=gateway.present.count(Kind.CONNECTION),
                    tunnels=gateway.present.count(Kind.TUNNEL),
                    watchers=self.watching.count(),
                    penalties=len(gateway.services.auth.penalties.waiting()),
                    locks=sum(lock.holds(gateway.clock.time()) for lock in gateway.locks),
                    log_level=self.log_level(),
                    parts=tuple(self.parts()),
                    disk_free=disk.free_bytes,
                    disk_floor=disk.floor_bytes,
                ),
            )
        )

    def _snapshot(self, request: SnapshotAsked, stream: Stream | None) -> Counted:
        if self._on_look is not None:
            self._on_look()
        meters = self._gateway.meters
        return Counted(meters.snapshot(), dict(meters.exemplars) or None)

    def _live(self, request: LiveAsked, stream: Stream | None) -> Live:
        return Live(tuple(self._row(present) for present in self._chosen(request.selection)))

    def _row(self, present: Present) -> LiveRow:
        party, counts = present.party, present.counts()
        return LiveRow(
            id=present.id,
            kind=present.kind,
            user=party.user,
            uid=party.uid,
            source=party.source,
            door=present.door,
            started_at=present.started_at,
            target=present.target,
            login=present.login,
            connection=present.connection,
            channels=counts.channels,
            bytes_in=counts.bytes_in,
            bytes_out=counts.bytes_out,
            watchers=self.watching.count(present.id) if present.kind is Kind.SESSION else 0,
            node=self.name,
        )

    def _kill(self, request: Kill, stream: Stream | None) -> Ended:
        chosen = self._chosen(request.selection)
        if not chosen:
            raise ControlError(ControlReason.NOT_FOUND, "nothing that is open fits")
        return end_all(chosen, EndReason.KILLED, request.reason)

    def _set_locks(self, request: SetLocks, stream: Stream | None) -> Ended:
        """In force at once, and what meets one of them ends in the same turn."""
        gateway = self._gateway
        gateway.locks = locks = LockSet(request.locks)
        now, inventory = gateway.clock.time(), gateway.services.inventory
        met: dict[str, list[Present]] = {}
        for present in gateway.present if len(locks) else ():
            lock = locks.party(present.party, now) or _of_place(locks, inventory, present, now)
            if lock is not None:
                met.setdefault(lock.reason, []).append(present)
        return ended_together([end_all(those, EndReason.LOCKED, reason) for reason, those in met.items()])

    def _set_glass(self, request: SetGlass, stream: Stream | None) -> Glass:
        glass = request.glass
        made = None if glass.until is None else Opening(glass.until, glass.reason, glass.opened_by)
        self._gateway.break_glass.opening = made
        return self._glass()

    def _glass(self) -> Glass:
        gateway = self._gateway
        opening = gateway.break_glass.opening
        names = tuple(sorted(gateway.services.auth.break_glass.names))
        if opening is None:
            return Glass(down=bool(gateway.broken_by), names=names)
        return Glass(opening.until, opening.reason, opening.by, names=names)

    def _keep_glass(self, request: KeepGlass, stream: Stream | None) -> Kept:
        state, glass = self._gateway.state, request.kept.glass
        said = Opened(request.kept.made_at, glass.until or 0.0, glass.reason, glass.opened_by)
        state.note([opened(state.writer.node, said)], soon=True)
        try:
            write_copy(state.place.folder, said)
        except OSError as error:
            self._gateway.log.warn("break-glass accounts: {file} cannot be written", file=error.filename)
        return request.kept

    def _glass_kept(self, request: GlassKept, stream: Stream | None) -> Deferred[Kept]:
        state = self._gateway.state
        folder = state.place.folder
        emergency = self._gateway.services.auth.break_glass.uids

        def look(database: Database) -> Opened:
            with suppress(OSError):
                keep_copy(database, folder, emergency)
            return newest(database, folder)

        asked = state.ask(look)
        return asked.addErrback(lambda _: read_copy(folder)).addCallback(_kept_of)

    def _penalties(self, request: PenaltiesAsked, stream: Stream | None) -> PenaltyList:
        return blocks.waiting(self._gateway.services.auth.penalties)

    def _clear_penalties(self, request: ClearPenalties, stream: Stream | None) -> PenaltyList:
        return blocks.forgotten(self._gateway.services.auth.penalties, request)

    def _share_penalties(self, request: SharePenalties, stream: Stream | None) -> Deferred[PenaltiesShared]:
        state, now = self._gateway.state, self._gateway.clock.time()
        if state.down:  # the store is tried again by who writes to it
            raise ControlError(ControlReason.FAILED, f"the state store does not answer: {state.down}")
        ask = state.decide if request.claims or request.sweep else state.ask
        return ask(lambda database: share(database, request, now)).addErrback(_no_store)

    def _kept_locks(self, request: KeptLocks, stream: Stream | None) -> Deferred[Locks]:
        return self._gateway.state.load_locks().addCallbacks(_locks_of, _no_store)

    def _keep_lock(self, request: KeepLock, stream: Stream | None) -> Locks:
        lock = request.lock
        if request.gone:
            self._gateway.state.remove_lock(lock.kind, lock.value, lock.made_at)
        else:
            row = KeptLock(
                lock.kind, lock.value, lock.reason, lock.made_by, lock.made_at, lock.until, lock.uid
            )
            self._gateway.state.add_lock(row)
        return Locks((lock,))

    def _shared_locks(self, request: SharedLocks, stream: Stream | None) -> Deferred[SharedRows]:
        state = self._gateway.state
        folder = state.place.folder
        now = self._gateway.clock.time()
        asked = state.ask(lambda database: rows_since(database, folder, request.seen, now))

        def told(found: Rows) -> SharedRows:
            rows = None if found.locks is None else in_force(found.locks)
            return SharedRows(found.mark, rows, found.timeline, found.gone)

        return asked.addCallbacks(told, _no_store)

    def _confirm_locks(self, request: ConfirmLocks, stream: Stream | None) -> Heard:
        self._gateway.know_locks(min(request.seconds, LONGEST_CONFIRMED))
        return Heard()

    def _chosen(self, selection: Selection) -> list[Present]:
        return [present for present in self._gateway.present if fits(selection, present)]


def _of_place(locks: LockSet, inventory: Inventory, present: Present, now: float) -> Lock | None:
    """The lock on where something leads, under any of its names."""
    if present.kind is Kind.TUNNEL:
        return locks.tunnel(inventory, present.target.rpartition(":")[0], present.address, now)
    for name in (present.target, *present.via):
        target = inventory.find(name) if name else None
        found = locks.place((name,), now) if target is None else locks.target(target, now)
        if found is not None:
            return found
    return None


def _locks_of(rows: list[KeptLock]) -> Locks:
    return Locks(in_force(rows))


def _kept_of(said: Opened) -> Kept:
    return Kept(Glass(said.until or None, said.reason, said.made_by), said.made_at)


def _no_store(failure: Failure) -> Any:
    raise ControlError(ControlReason.FAILED, f"the state store does not answer: {failure.getErrorMessage()}")


def fits(selection: Selection, present: Present) -> bool:
    """Is it meant? An empty selection means nothing."""
    if not (selection.id or selection.user or selection.target or selection.everything):
        return False
    if selection.id and selection.id != present.id:
        return False
    if selection.user and selection.user != present.party.user:
        return False
    host = present.target.rpartition(":")[0] if present.kind is Kind.TUNNEL else present.target
    return not selection.target or selection.target in (present.target, host)


def end_all(chosen: list[Present], reason: EndReason, why: str) -> Ended:
    """End what was chosen, what is inside before what it came through, and count it."""
    counted = dict.fromkeys(Kind, 0)
    for present in sorted(chosen, key=lambda one: ORDER[one.kind]):
        counted[present.kind] += 1
        text = f"ended by the security team: {why}"
        present.end(End(reason, text, ref=present.id[:REF_LENGTH]))
    ids = tuple(present.id for present in chosen)
    return Ended(
        counted[Kind.SESSION] + counted[Kind.OPENING], counted[Kind.TUNNEL], counted[Kind.CONNECTION], ids
    )

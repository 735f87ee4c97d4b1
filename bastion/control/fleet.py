"""All gateways as one (L3): who is here is the union, an ending is everybody's, a lock is everywhere; and whether what
is locked is known at all.

The list of locks is *confirmed* when the store has given it, or every other gateway has. Invariants: a process of this
gateway lets something new begin only while the list was confirmed within CONFIRMED seconds, which it is told here for
as long as that holds and never for longer; a gateway that does not answer within two seconds is named in the answer and
holds nothing up; an order that came from another gateway goes to no third one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion.clock import DelayedCall, slept
from bastion.control.asking import By, ControlError, Ended, Node, R, Request, Stream, ended_together
from bastion.control.confirming import ConfirmLocks, SharedLocks, SharedRows
from bastion.control.desk import Desk
from bastion.control.hub import Hub, ask_one
from bastion.control.node import Kill, Live, LiveAsked, Selection, Status, StatusAsked
from bastion.control.orders import WatchSession
from bastion.control.peers import Peer
from bastion.control.there import (
    MOST_TOLD,
    KillThere,
    LiveThere,
    LocksHeld,
    LocksTold,
    StatusThere,
    WatchThere,
)
from bastion.control.words import everywhere, reason_of
from bastion.errors import ControlReason
from bastion.observe.events import AuditEvent
from bastion.observe.events.nodes import NodeState
from bastion.observe.families.nodes import LOCKS_CONFIRMED_AGE_SECONDS, NODES
from bastion.observe.meters import MICROSECONDS, Meters
from bastion.policy.lock_list import DAY, Gone
from bastion.policy.locks import Lock
from bastion.wire.printable import printable

_log = Logger(namespace="bastion.nodes")

CONFIRMED: Final = 30.0
"""Seconds that a list of locks is good for."""

LOOK: Final = 1.0
"""Seconds between two looks into the store."""

WAKES: Final = 1.0
"""Seconds of sleep that are one: two clocks are read one after the other."""

MOST_TEXT: Final = 200
"""Characters of what another gateway says that people read."""

LAST_MOMENT: Final = 253402300799.0
"""The end of the year 9999."""

_Told = tuple[tuple[Lock, ...], tuple[Gone, ...]]


class Fleet(Node):
    """This gateway, `name`, whose processes are asked through `desk` and `hub`, and its `peers`."""

    def __init__(
        self,
        name: str,
        desk: Desk,
        hub: Hub,
        peers: Iterable[Peer],
        reactor: Any,
        meters: Meters,
        note: Callable[[AuditEvent], None],
    ) -> None:
        self.name = name
        self._desk, self._hub, self._peers = desk, hub, tuple(peers)
        self._reactor, self._meters, self._note = reactor, meters, note
        self._stored_at = float("-inf")  # when the store said last what is locked
        self._seen = self._timeline = ""
        self._asking = False
        self._timer: DelayedCall | None = None
        self._first: list[Deferred[None]] = []
        self._clock, self._slept = desk.clock, slept(desk.clock)
        self._own = _Own(name, desk)
        desk.keeper.share = self._share
        desk.keeper.patience = DAY
        desk.kill_elsewhere = self._kill_elsewhere
        for peer in self._peers:
            peer.on_locks, peer.on_state = self._learned, self._state

    # -- life --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Stay in touch with the others and the store from now on."""
        if self._timer is None:
            for peer in self._peers:
                peer.start()
            self._look()

    def stop(self) -> None:
        """Nothing fires after this. Another process of this gateway says from now on what is confirmed."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        for peer in self._peers:
            peer.stop()
        for state in ("connected", "missing"):
            self._meters.set(NODES, 0, state)
        self._meters.set(LOCKS_CONFIRMED_AGE_SECONDS, 0)

    def confirmed(self) -> Deferred[None]:
        """Fires when it is known what is locked, for a gateway that begins; or could not be told."""
        first: Deferred[None] = Deferred()
        if self.age < CONFIRMED:
            first.callback(None)
        else:
            self._first.append(first)
        return first

    # -- what is asked -----------------------------------------------------------------------------------

    def ask(self, request: Request[R], stream: Stream | None = None) -> Deferred[R]:
        """For nobody: of this gateway alone."""
        return self._desk.ask(request, stream)

    def ask_as(self, by: By, request: Request[R], stream: Stream | None = None) -> Deferred[R]:
        asked: Any = request
        if isinstance(request, Kill):
            return Deferred.fromCoroutine(self._kill(by, request))
        if isinstance(request, WatchSession):
            return Deferred.fromCoroutine(self._watch(by, request, stream))
        if isinstance(request, LiveAsked | StatusAsked):
            return self._everybody(by).ask(asked, stream)
        return self._desk.ask(asked, stream)

    def _everybody(self, by: By) -> Hub:
        return Hub(self._own, *self._there(by))

    def _there(self, by: By) -> list[Node]:
        return [_There(peer, by) for peer in self._peers]

    async def _watch(self, by: By, request: WatchSession, stream: Stream | None) -> Any:
        """What is here is shown from here, whoever else says that it has it."""
        if self._peers and not await self._is_here(request.id):
            return await Hub(*self._there(by)).ask(request, stream)
        return await self._own.ask(request, stream)

    async def _is_here(self, session: str) -> bool:
        try:
            return bool((await self._own.ask(LiveAsked(Selection(id=session)))).rows)
        except ControlError:
            return False

    async def _kill(self, by: By, request: Kill) -> Any:
        reason_of(request.reason)  # before anybody is told
        ended = await self._everybody(by).ask(request)
        return ended if request.selection.id and ended.all else everywhere(ended)

    def _kill_elsewhere(self, request: Kill) -> Deferred[Ended]:
        others = self._there(request.by)

        def nothing(failure: Failure) -> Ended:
            error = failure.value
            if isinstance(error, ControlError) and error.reason is ControlReason.NOT_FOUND:
                return Ended()
            return Ended(silent=tuple(node.name for node in others))

        return Hub(*others).ask(request).addErrback(nothing) if others else succeed(Ended())

    # -- locks -------------------------------------------------------------------------------------------

    def _share(self, locks: tuple[Lock, ...], gone: tuple[Gone, ...]) -> Deferred[Ended]:
        """Tell all of them at once; they read of it in the store, too, and ask for it when they are back."""
        told = [_told(peer, part) for peer in self._peers for part in _parts(locks, gone)]
        together: Deferred[Any] = DeferredList(told)
        ended: Deferred[Ended] = together.addCallback(
            lambda results: ended_together([one for _, one in results])
        )
        return ended

    def _learned(self, peer: Peer, held: LocksHeld) -> None:
        ended = self._desk.keeper.learn(peer.name, held.locks, held.gone)
        ended.addErrback(lambda failure: _log.failure("putting locks in force failed", failure=failure))

    def _state(self, peer: Peer, why: str) -> None:
        self._note(NodeState(peer.name, "connected" if peer.here else "missing", why))

    # -- whether they are known --------------------------------------------------------------------------

    @property
    def age(self) -> float:
        """Seconds since the list of locks was confirmed."""
        told = min((peer.told_at for peer in self._peers), default=float("-inf"))
        age: float = self._reactor.seconds() - max(self._stored_at, told)
        return age

    def _look_at_sleep(self) -> None:
        """What was confirmed before the machine was suspended is confirmed no more."""
        asleep = slept(self._clock)
        if asleep - self._slept > WAKES:
            self._stored_at = float("-inf")
            for peer in self._peers:
                peer.told_at = float("-inf")
            self._hub.ask(ConfirmLocks(0.0)).addErrback(lambda _: None)
        self._slept = asleep

    @property
    def confirmation(self) -> ConfirmLocks:
        """What a process of this gateway is told now."""
        return ConfirmLocks(max(0.0, CONFIRMED - self.age))

    def _look(self) -> None:
        self._timer = self._reactor.callLater(LOOK, self._look)
        self._look_at_sleep()
        if not self._asking:
            self._asking = True
            asked = self._hub.ask_any(SharedLocks(self._seen))
            asked.addCallbacks(self._stored, lambda _: None)
            asked.addErrback(
                lambda failure: _log.failure("reading the store's locks failed", failure=failure)
            )
            asked.addBoth(lambda _: self._looked())
        self._tell()

    def _stored(self, rows: SharedRows) -> None:
        if rows.locks is not None:
            lost = bool(self._timeline) and rows.timeline != self._timeline
            self._desk.keeper.seen(rows.locks, rows.gone, lost)
        self._seen, self._timeline = rows.mark, rows.timeline
        self._stored_at = self._reactor.seconds()

    def _looked(self) -> None:
        self._asking = False
        if self._first:
            self._tell()

    def _tell(self) -> None:
        """The processes of this gateway, and the metrics page."""
        here = sum(peer.here for peer in self._peers)
        self._meters.set(NODES, here, "connected")
        self._meters.set(NODES, len(self._peers) - here, "missing")
        age = self.age
        self._meters.set(LOCKS_CONFIRMED_AGE_SECONDS, round(min(age, 1e6) * MICROSECONDS))
        if age < CONFIRMED:
            self._desk.keeper.known = True
            self._hub.ask(self.confirmation).addErrback(lambda _: None)  # who does not hear it, refuses
            first, self._first = self._first, []
            for one in first:
                one.callback(None)


def _told(peer: Peer, part: _Told) -> Deferred[Ended]:
    asked = peer.ask(LocksTold(*part)).addCallback(lambda ended: named(peer.name, ended))
    return asked.addErrback(lambda _: Ended(silent=(peer.name,)))


def _parts(locks: tuple[Lock, ...], gone: tuple[Gone, ...]) -> list[_Told]:
    most = max(len(locks), len(gone))
    return [(locks[at : at + MOST_TOLD], gone[at : at + MOST_TOLD]) for at in range(0, most, MOST_TOLD)]


def named(node: str, answer: R) -> R:
    """The answer of the processes of `node`, with its name before theirs, whatever they call themselves."""
    made: Any = answer
    match answer:
        case Live():
            rows = tuple(
                replace(row, node=f"{node}/{printable(row.node, 64)}", started_at=_moment(row.started_at))
                for row in answer.rows
            )
            made = Live(rows, tuple(f"{node}/{printable(one, MOST_TEXT)}" for one in answer.silent))
        case Status():
            nodes = (
                replace(one, name=f"{node}/{printable(one.name, 64)}", started_at=_moment(one.started_at))
                for one in answer.nodes
            )
            made = Status(tuple(nodes))
        case Ended():
            sessions, tunnels, ends = (
                max(0, one) for one in (answer.sessions, answer.tunnels, answer.connections)
            )
            ids = tuple(printable(one, 64) for one in answer.ids)
            silent = tuple(f"{node}/{printable(one, MOST_TEXT)}" for one in answer.silent)
            made = Ended(sessions, tunnels, ends, ids, silent)
    shown: R = made
    return shown


def _moment(at: float) -> float:
    """A time that a calendar has."""
    return min(max(at, 0.0), LAST_MOMENT)


class _Own(Node):
    """This gateway, with its name before those of its processes."""

    def __init__(self, name: str, desk: Desk) -> None:
        self.name, self._desk = name, desk

    def ask(self, request: Request[R], stream: Stream | None = None) -> Deferred[R]:
        return self._desk.ask(request, stream).addCallback(lambda answer: named(self.name, answer))


class _There(Node):
    """One question to another gateway. Whatever it does not do, it is named with the reason why."""

    def __init__(self, peer: Peer, by: By) -> None:
        self.name, self._peer, self._by = peer.name, peer, by

    def ask(self, request: Request[R], stream: Stream | None = None) -> Deferred[R]:
        made = _TRANSLATED[type(request)](self._by, request)
        asked: Deferred[R] = ask_one(self._peer, made, stream)
        return asked.addCallback(lambda answer: named(self._peer.name, answer)).addErrback(self._not)

    def _not(self, failure: Failure) -> Failure:
        error = failure.value
        if not isinstance(error, ControlError) or error.reason is ControlReason.NOT_FOUND:
            return failure
        if error.reason is ControlReason.NO_ROLE:
            self.name = f"{self._peer.name} (refused: {printable(error.text, MOST_TEXT)})"
        raise ControlError(ControlReason.TIMEOUT, printable(error.text, MOST_TEXT))


_TRANSLATED: Final[Mapping[type[Any], Callable[[By, Any], Any]]] = {
    LiveAsked: lambda by, request: LiveThere(by, request.selection),
    StatusAsked: lambda by, request: StatusThere(by),
    Kill: lambda by, request: KillThere(by, request.selection, request.reason),
    WatchSession: lambda by, request: WatchThere(by, request.id, request.reason),
}

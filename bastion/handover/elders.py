"""The elders of a gateway (L4): processes that serve the sessions that they had when another took over from them.

Invariant: a count that was on the page once never falls. What an elder has counted is asked every ASK_EVERY seconds and
before a page is made; the last of it comes with its farewell. Of one that dies, what came after the last look is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList

from bastion.clock import DelayedCall
from bastion.control.asking import Done
from bastion.control.hub import Hub
from bastion.control.link import Link
from bastion.control.node import ControlError, Counted, Request, SnapshotAsked
from bastion.errors import ControlReason
from bastion.handover.questions import EndElder, Farewell, LogMoved
from bastion.observe.family import Family, Kind
from bastion.observe.meters import Snapshot, merge

ASK_EVERY: Final = 5.0
"""Seconds between two looks at the elders' figures."""

PATIENCE: Final = 2.0
"""Seconds that a page waits for an elder."""


class Elders:
    """Of one gateway process. Each is a node of `hub` while it is there."""

    def __init__(self, reactor: Any, hub: Hub, families: tuple[Family, ...]) -> None:
        self._reactor = reactor
        self._hub = hub
        self._families = families
        self._counters = {family.name for family in families if family.kind is not Kind.GAUGE}
        self._seen: dict[Link, Snapshot] = {}
        self._kept: Snapshot = {}  # what those that are gone had counted
        self._timer: DelayedCall | None = None
        self._gone: list[Deferred[None]] = []
        self.on_gone: Callable[[], None] = lambda: None
        # hears of sessions whose recordings an elder could not end
        self.on_unfinished: Callable[[Sequence[str]], object] = lambda sessions: None

    def __contains__(self, link: Link) -> bool:
        return link in self._seen

    def __len__(self) -> int:
        return len(self._seen)

    def join(self, link: Link) -> None:
        """Another process is an elder from now on."""
        self._seen[link] = {}
        self._hub.join(link)
        link.on_lost = self._lost
        if self._timer is None:
            self._look()

    def answer(self, link: Link, request: Request[Any]) -> Deferred[Any]:
        """What an elder asks."""
        if not isinstance(request, Farewell) or link not in self._seen:
            raise ControlError(ControlReason.UNKNOWN_COMMAND, "an elder only says farewell")
        self._seen[link] = dict(request.snapshot)
        if request.unfinished:
            self.on_unfinished(request.unfinished)
        answered: Deferred[Any] = Deferred()
        answered.callback(Done())
        return answered

    def _lost(self, link: Link) -> None:
        seen = self._seen.pop(link, {})
        self._hub.leave(link)
        counted = {name: cells for name, cells in seen.items() if name in self._counters}
        self._kept = merge(self._families, [self._kept, counted])
        if not self._seen:
            self.stop()
            waiting, self._gone = self._gone, []
            for one in waiting:
                one.callback(None)
            self.on_gone()

    # -- figures -----------------------------------------------------------------------------------------

    def snapshots(self) -> list[Snapshot]:
        """What they have counted, those that are gone included, as it was last seen."""
        return [self._kept, *self._seen.values()] if self._kept or self._seen else []

    def gather(self) -> Deferred[None]:
        """Ask them; never fails, and takes PATIENCE seconds at most."""
        asked: list[Deferred[Any]] = []
        for link in list(self._seen):
            answer: Deferred[Any] = link.ask(SnapshotAsked())
            answer.addTimeout(PATIENCE, self._reactor)
            asked.append(answer.addCallbacks(self._take, _nothing, (link,)))
        together: Deferred[Any] = DeferredList(asked, consumeErrors=True)
        return together.addCallback(lambda _: None)

    def _take(self, counted: Counted, link: Link) -> None:
        if link in self._seen:
            self._seen[link] = dict(counted.snapshot)

    def _look(self) -> None:
        self._timer = self._reactor.callLater(ASK_EVERY, self._look)
        self.gather()

    def stop(self) -> None:
        """No timer is left."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    # -- what they are told ------------------------------------------------------------------------------

    def end(self, drain: bool) -> Deferred[None]:
        """Let them end, as at SIGTERM with `drain`, else at once; fires when the last is gone."""
        gone: Deferred[None] = Deferred()
        if not self._seen:
            gone.callback(None)
            return gone
        self._gone.append(gone)
        for link in list(self._seen):
            link.ask(EndElder(drain)).addErrback(_nothing)
        return gone

    def reopen_log(self) -> None:
        """The audit log was rotated."""
        for link in list(self._seen):
            link.ask(LogMoved()).addErrback(_nothing)


def _nothing(_: object) -> None:
    """It is gone, or busy: it is asked again, or its link says so."""

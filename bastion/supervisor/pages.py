"""/metrics, /healthz and /readyz of a gateway of several workers (L5): one page of all, whose counters never fall.

Before each page every worker is asked for its figures; one that does not answer in time is shown as it was last. What a
worker that died had counted until it was asked last is kept, so a total never falls; what it counted after that is
lost, ASK_EVERY seconds at most.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList

from bastion.assembly.metrics_site import serve_metrics
from bastion.clock import DelayedCall
from bastion.config.metrics import Metrics
from bastion.control.node import Counted, Request, SnapshotAsked
from bastion.handover.elders import Elders
from bastion.observe import exporter
from bastion.observe.exemplars import Marks, latest
from bastion.observe.family import Kind
from bastion.observe.meters import Meters, Snapshot, merge
from bastion.observe.process_figures import look_at_this_process
from bastion.supervisor.child import Child
from bastion.supervisor.questions import HealthAsked, Healthy

PATIENCE: Final = 2.0
"""Seconds that a page waits for a worker."""

ASK_EVERY: Final = 5.0
"""Seconds between two looks at the workers' meters, when nobody scrapes: some ms of each."""


MOST_MISSED: Final = 6
"""Looks in a row without an answer in `Request.deadline` after which a worker is taken for stuck: 40 s. Looks, not
seconds: a clock that is set, or a supervisor that was stopped itself, kills nobody."""


class Figures:
    """One per gateway. `children` are the workers that serve; `on_stuck` hears of one that answers nothing any more."""

    def __init__(
        self,
        reactor: Any,
        meters: Meters,
        children: Callable[[], Iterable[Child]],
        on_stuck: Callable[[Child], None],
        elders: Elders,
        refresh: Callable[[], None] = lambda: None,
    ) -> None:
        """`refresh` sets the gauges that nobody keeps up to date."""
        self._reactor, self._meters, self._children = reactor, meters, children
        self._on_stuck = on_stuck
        self._elders = elders
        self._on_look = refresh
        self._kept: Snapshot = {}  # what workers that are gone had counted
        self._health: dict[str, Healthy] = {}
        self._timer: DelayedCall | None = None
        self._port: Any = None

    def start(self) -> None:
        """Look at the workers' meters from now on."""
        self._look()

    def serve(self, listener: socket.socket | None, wanted: Metrics) -> None:
        """Serve the pages, where there are to be some. Raises ConfigError."""
        if listener is not None:
            registry = exporter.build_registry(
                self._meters, self._others, self._refresh, exemplars=self._exemplars
            )
            page, gather = self.page, self._gather
            self._port = serve_metrics(self._reactor, listener, registry, page, gather, wanted)

    def pause(self) -> Any:
        """Serve no page; a Deferred, or None when there is nothing to wait for."""
        port, self._port = self._port, None
        return None if port is None else port.stopListening()

    def counted(self) -> Deferred[Counted]:
        """All that the page counts."""

        def added(_: None) -> Counted:
            self._refresh()
            return Counted(merge(self._meters.families, [self._meters.snapshot(), *self._others()]))

        return self._gather().addCallback(added)

    def stop(self) -> None:
        """No page and no timer is left."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self.pause()

    def keep(self, child: Child) -> None:
        """A worker is gone: its gauges are, its counts are not."""
        counters = {family.name for family in self._meters.families if family.kind is not Kind.GAUGE}
        counted = {name: cells for name, cells in child.snapshot.items() if name in counters}
        self._kept = merge(self._meters.families, [self._kept, counted])
        self._health.pop(child.name, None)

    def page(self) -> tuple[bool, str]:
        """/readyz: sessions begin when they do in every worker; a worker that says nothing is not well."""
        well, lines = True, []
        for child in self._children():
            told = self._health.get(child.name, Healthy(False, ("gives no answer",)))
            well = well and told.well
            lines += [f"{child.name} {line}" for line in told.lines[1:] or told.lines]
        if not lines:
            return False, "refusing\nno worker serves"
        worst = "refusing" if not well else "ok"
        degraded = any(" degraded" in line for line in lines)
        return well, "\n".join(["degraded" if well and degraded else worst, *lines])

    def _refresh(self) -> None:
        look_at_this_process(self._meters, "supervisor")
        self._on_look()

    def _others(self) -> list[Snapshot]:
        return [self._kept, *(child.snapshot for child in self._children()), *self._elders.snapshots()]

    def _exemplars(self) -> Marks:
        return latest(child.exemplars for child in self._children())

    def _gather(self) -> Deferred[None]:
        asked: list[Deferred[Any]] = [self._elders.gather()]
        for child in self._children():
            asked.append(self._ask(child, SnapshotAsked(), _take_snapshot))
            asked.append(self._ask(child, HealthAsked(), self._take_health))
        gathered: Deferred[Any] = DeferredList(asked)
        return gathered.addCallback(lambda _: None)

    def _ask(self, child: Child, request: Request[Any], take: Callable[[Child, Any], None]) -> Deferred[None]:
        answer: Deferred[Any] = child.link.ask(request)
        answer.addTimeout(PATIENCE, self._reactor)
        return answer.addCallbacks(lambda result: take(child, result), lambda _: self._silent(child, request))

    def _take_health(self, child: Child, told: Healthy) -> None:
        self._health[child.name] = told

    def _silent(self, child: Child, request: Request[Any]) -> None:
        if isinstance(request, HealthAsked):
            self._health.pop(child.name, None)

    def _look(self) -> None:
        self._timer = self._reactor.callLater(ASK_EVERY, self._look)
        for child in self._children():
            asked: Deferred[Any] = child.link.ask(SnapshotAsked())
            asked.addCallbacks(partial(_heard, child), lambda _, child=child: self._missed(child))

    def _missed(self, child: Child) -> None:
        child.missed += 1
        if child.missed == MOST_MISSED and child in self._children():
            self._on_stuck(child)


def _heard(child: Child, counted: Counted) -> None:
    child.missed = 0
    _take_snapshot(child, counted)


def _take_snapshot(child: Child, counted: Counted) -> None:
    child.snapshot, child.exemplars = dict(counted.snapshot), dict(counted.exemplars or {})

"""One page of all workers: sums, no total that falls, and a worker that is silent is not well."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from bastion.control.hub import Hub
from bastion.control.node import ControlError, Counted, Request, SnapshotAsked
from bastion.errors import ControlReason
from bastion.handover.elders import Elders
from bastion.observe.meters import CONNECTIONS_ACCEPTED, CONNECTIONS_LIVE, Meters, merge
from bastion.supervisor.pages import ASK_EVERY, MOST_MISSED, PATIENCE, Figures
from bastion.supervisor.questions import HealthAsked, Healthy


class Worker:
    """Answers at once, unless it is silent."""

    def __init__(self, number: int) -> None:
        self.name = f"worker-{number}"
        self.link = self
        self.meters = Meters()
        self.snapshot: dict[str, Any] = {}
        self.missed = 0
        self.health = Healthy(True, ("ok", "gateway ok", "audit ok"))
        self.silent = self.late = False

    def ask(self, request: Request[Any]) -> Deferred[Any]:
        if self.silent:
            return Deferred()
        if self.late:
            asked: Deferred[Any] = Deferred()
            asked.errback(ControlError(ControlReason.TIMEOUT, "late"))
            return asked
        if isinstance(request, SnapshotAsked):
            return succeed(Counted(self.meters.snapshot()))
        assert isinstance(request, HealthAsked)
        return succeed(self.health)


class Page:
    def __init__(self) -> None:
        self.clock, self.meters = Clock(), Meters()
        self.workers = [Worker(1), Worker(2)]
        everybody: Any = self.workers
        self.stuck: list[Any] = []
        elders = Elders(self.clock, Hub(), self.meters.families)
        self.figures = Figures(self.clock, self.meters, lambda: everybody, self.stuck.append, elders)
        self.figures.start()

    def look(self) -> None:
        gathered: list[object] = []
        self.figures._gather().addCallback(gathered.append)
        if not gathered:
            self.clock.advance(PATIENCE)
        assert gathered == [None]

    def total(self, family: Any) -> int:
        snapshots = [self.meters.snapshot(), *self.figures._others()]
        return int(merge(self.meters.families, snapshots)[family.name][""][0])


@pytest.fixture
def page() -> Any:
    made = Page()
    yield made
    made.figures.stop()
    assert made.clock.getDelayedCalls() == []


def test_counts_are_added_up(page: Page) -> None:
    for number, worker in enumerate(page.workers, 1):
        worker.meters.add(CONNECTIONS_ACCEPTED, by=number)
        worker.meters.add(CONNECTIONS_LIVE)
    page.look()
    assert (page.total(CONNECTIONS_ACCEPTED), page.total(CONNECTIONS_LIVE)) == (3, 2)


def test_what_a_dead_worker_had_counted_is_kept_and_its_gauges_are_not(page: Page) -> None:
    for worker in page.workers:
        worker.meters.add(CONNECTIONS_ACCEPTED, by=5)
        worker.meters.add(CONNECTIONS_LIVE, by=2)
    page.look()
    for _ in range(2):
        dead: Any = page.workers.pop()
        page.figures.keep(dead)
        assert page.total(CONNECTIONS_ACCEPTED) == 10
    assert page.total(CONNECTIONS_LIVE) == 0
    page.workers.append(Worker(1))
    page.workers[0].meters.add(CONNECTIONS_ACCEPTED)
    page.look()
    assert page.total(CONNECTIONS_ACCEPTED) == 11


def test_a_worker_that_is_silent_is_shown_as_it_was_and_is_not_well(page: Page) -> None:
    page.workers[0].meters.add(CONNECTIONS_ACCEPTED)
    page.look()
    assert page.figures.page()[0]
    page.workers[0].meters.add(CONNECTIONS_ACCEPTED)
    page.workers[0].silent = True
    page.look()
    assert page.total(CONNECTIONS_ACCEPTED) == 1
    well, lines = page.figures.page()
    assert not well and "worker-1 gives no answer" in lines.splitlines()


@pytest.mark.parametrize(
    ("health", "first", "well"),
    [
        (Healthy(True, ("ok", "audit ok")), "ok", True),
        (Healthy(True, ("degraded", "audit degraded: full")), "degraded", True),
        (Healthy(False, ("refusing", "recordings refusing: gone")), "refusing", False),
    ],
)
def test_the_worst_of_all_stands_first(page: Page, health: Healthy, first: str, well: bool) -> None:
    page.workers[1].health = health
    page.look()
    found, lines = page.figures.page()
    assert (found, lines.splitlines()[0]) == (well, first)
    assert f"worker-2 {health.lines[1]}" in lines.splitlines()


def test_without_workers_nothing_begins(page: Page) -> None:
    page.workers.clear()
    assert page.figures.page() == (False, "refusing\nno worker serves")


def test_workers_are_looked_at_when_nobody_scrapes(page: Page) -> None:
    page.workers[0].meters.add(CONNECTIONS_ACCEPTED)
    page.clock.advance(5.0)
    assert page.total(CONNECTIONS_ACCEPTED) == 1


def test_a_worker_that_misses_so_many_looks_in_a_row_is_stuck(page: Page) -> None:
    stuck = page.workers[1]
    for missed in (MOST_MISSED - 1, MOST_MISSED + 3):
        stuck.late = True
        for _ in range(missed):
            assert page.stuck == []
            page.clock.advance(ASK_EVERY)
            if stuck.missed >= MOST_MISSED:
                break
        stuck.late = missed >= MOST_MISSED
        page.clock.advance(ASK_EVERY)  # one that answers begins anew
    assert page.stuck == [stuck]  # and is told of once

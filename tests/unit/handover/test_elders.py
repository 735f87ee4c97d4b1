"""Elders: asked, told to end, and what they counted stays when they are gone."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from bastion.control.hub import Hub
from bastion.control.node import ControlError, Counted, SnapshotAsked, StatusAsked
from bastion.errors import ControlReason
from bastion.handover.elders import ASK_EVERY, PATIENCE, Elders
from bastion.handover.questions import EndElder, Farewell, LogMoved
from bastion.observe.meters import CONNECTIONS_ACCEPTED, CONNECTIONS_LIVE, Meters, merge


class Link:
    """The link to an elder, whose answers a test gives."""

    name = "elder"

    def __init__(self) -> None:
        self.asked: list[tuple[Any, Deferred[Any]]] = []
        self.on_lost: Any = None

    def ask(self, request: Any, stream: Any = None) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        self.asked.append((request, answer))
        return answer

    def answer(self, result: Any) -> None:
        self.asked.pop(0)[1].callback(result)


class Bench:
    def __init__(self) -> None:
        self.clock = Clock()
        self.hub = Hub()
        self.meters = Meters()
        self.elders = Elders(self.clock, self.hub, self.meters.families)

    def join(self) -> Any:
        link: Any = Link()
        self.elders.join(link)
        return link

    def counted(self, accepted: int, live: int = 0) -> Any:
        made = Meters()
        made.add(CONNECTIONS_ACCEPTED, by=accepted)
        made.set(CONNECTIONS_LIVE, live)
        return made.snapshot()

    def page(self) -> tuple[int, int]:
        whole = merge(self.meters.families, [self.meters.snapshot(), *self.elders.snapshots()])
        return whole["connections_accepted_total"][""][0], whole["connections_live"][""][0]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_without_elders_there_is_no_timer_and_nothing_to_wait_for(bench: Bench) -> None:
    assert bench.elders.snapshots() == [] and bench.clock.getDelayedCalls() == []
    assert bench.elders.gather().called and bench.elders.end(drain=True).called


def test_an_elder_is_a_node_until_it_is_gone_and_its_counts_stay(bench: Bench) -> None:
    link = bench.join()
    assert list(bench.hub) == [link] and len(bench.elders) == 1
    link.answer(Counted(bench.counted(5, 2)))
    assert bench.page() == (5, 2)
    bench.clock.advance(ASK_EVERY)
    link.answer(Counted(bench.counted(6, 1)))
    assert bench.page() == (6, 1)
    bench.elders.answer(link, Farewell(bench.counted(7, 1)))
    link.on_lost(link)
    assert bench.page() == (7, 0)
    assert list(bench.hub) == [] and len(bench.elders) == 0 and bench.clock.getDelayedCalls() == []
    assert bench.join() is not None and bench.page() == (7, 0)


def test_a_page_waits_for_a_silent_elder_and_shows_what_was_seen(bench: Bench) -> None:
    link = bench.join()
    link.answer(Counted(bench.counted(5)))
    gathered = bench.elders.gather()
    assert not gathered.called
    bench.clock.advance(PATIENCE)
    assert gathered.called and bench.page() == (5, 0)


def test_what_an_elder_that_is_gone_still_answers_counts_once(bench: Bench) -> None:
    link = bench.join()
    bench.elders.answer(link, Farewell(bench.counted(7)))
    link.on_lost(link)
    link.answer(Counted(bench.counted(7)))
    assert bench.page() == (7, 0)


def test_an_elder_says_farewell_and_nothing_else(bench: Bench) -> None:
    link, stranger = bench.join(), Link()
    for asker, request in ((link, StatusAsked()), (stranger, Farewell({}))):
        with pytest.raises(ControlError):
            bench.elders.answer(asker, request)  # type: ignore[arg-type]


def test_what_an_elder_could_not_end_is_heard_of(bench: Bench) -> None:
    heard: list[tuple[str, ...]] = []
    bench.elders.on_unfinished = lambda sessions: heard.append(tuple(sessions))
    bench.elders.answer(bench.join(), Farewell({}))
    bench.elders.answer(bench.join(), Farewell({}, ("k3v2m5q7p2r4t6wa",)))
    assert heard == [("k3v2m5q7p2r4t6wa",)]


def test_they_are_told_to_end_and_waited_for(bench: Bench) -> None:
    links = [bench.join(), bench.join()]
    seen: list[str] = []
    bench.elders.on_gone = lambda: seen.append("gone")
    ended = bench.elders.end(drain=True)
    assert all(link.asked[-1][0] == EndElder(True) for link in links)
    links[0].asked[-1][1].errback(Failure(ControlError(ControlReason.LINK_LOST, "gone")))
    links[0].on_lost(links[0])
    assert not ended.called
    links[1].on_lost(links[1])
    assert ended.called and seen == ["gone"]


def test_they_open_a_rotated_log_again(bench: Bench) -> None:
    link = bench.join()
    bench.elders.reopen_log()
    assert [type(request) for request, _ in link.asked] == [SnapshotAsked, LogMoved]

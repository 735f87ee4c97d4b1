"""Requests as they come and go: one asks for all, as long as somebody looks."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from bastion.clock import FixedClock
from bastion.console.feed import AGAIN, LOOK, Feed
from bastion.console.reads import Trouble
from bastion.control.approvals import ApprovalRow, ApprovalRows
from bastion.errors import ConsoleReason

NOW = 1_800_000_000.0


def request(name: str, state: str = "open") -> ApprovalRow:
    place = "alice", "web1", "root", "shell", "192.0.2.1", "group leads", "INC-42"
    return ApprovalRow(name, state, *place, NOW - 60, NOW + 600)


class Line:
    """Somebody who looks."""

    def __init__(self) -> None:
        self.has_room, self.sent = True, list[Any]()
        self.on_over: list[Any] = []
        self.on_room: Any = None

    def send(self, value: object) -> None:
        self.sent.append(value)


class Watched:
    def __init__(self) -> None:
        self.timers, self.clock, self.asked = Clock(), FixedClock(NOW), 0
        self.rows: tuple[ApprovalRow, ...] | Trouble = (request("a" * 10),)
        gateway: Any = self
        self.feed = Feed(self.timers, self.clock, gateway)

    async def ask(self, question: object) -> ApprovalRows:
        self.asked += 1
        if isinstance(self.rows, Trouble):
            raise self.rows
        return ApprovalRows(self.rows)

    def join(self) -> Line:
        line: Any = Line()
        self.feed.join(line)
        line.on_room()
        self.timers.advance(0)
        return line

    def wait(self, seconds: float = LOOK) -> None:
        self.clock.advance(seconds)
        self.timers.advance(seconds)


def test_the_list_comes_at_once_and_again_when_it_has_changed() -> None:
    watched = Watched()
    line = watched.join()
    (first,) = line.sent
    (row,) = first["requests"]
    assert (row["id"], row["user"], row["age"], row["left"]) == ("a" * 10, "alice", 60, 600)
    watched.wait()
    assert len(line.sent) == 1, "nothing has changed"
    watched.rows = ()
    watched.wait()
    assert line.sent[1:] == [{"requests": []}]


def test_what_has_not_changed_comes_again_now_and_then() -> None:
    watched = Watched()
    line = watched.join()
    for _ in range(round(AGAIN / LOOK)):
        watched.wait()
    assert [sent["requests"][0]["age"] for sent in line.sent] == [60, 65]


def test_one_asks_for_all_and_nobody_when_nobody_looks() -> None:
    watched = Watched()
    lines = [watched.join() for _ in range(5)]
    asked = watched.asked
    watched.wait()
    assert watched.asked == asked + 1
    for line in lines:
        for over in line.on_over:
            over()
    assert not watched.timers.getDelayedCalls()
    watched.wait(10)
    assert watched.asked == asked + 1


def test_whoever_takes_nothing_gets_the_newest_list_later() -> None:
    watched = Watched()
    line = watched.join()
    line.has_room = False
    for state in ("approved", "denied"):
        watched.rows = (request("a" * 10, state),)
        watched.wait()
    line.has_room = True
    watched.wait()
    assert [sent["requests"][0]["state"] for sent in line.sent] == ["open", "denied"]


def test_a_gateway_that_is_away_is_told_once_and_asked_on() -> None:
    watched = Watched()
    line = watched.join()
    watched.rows = Trouble(ConsoleReason.UNAVAILABLE, "no gateway answers")
    watched.wait()
    watched.wait()
    watched.rows = ()
    watched.wait()
    assert line.sent[1:] == [{"fault": "no gateway answers"}, {"requests": []}]

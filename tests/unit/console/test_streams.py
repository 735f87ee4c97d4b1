"""Answers that go on: bounded, ended with their visit, asked about every minute, and none to whoever takes none."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from bastion.auth.directory import OPERATOR
from bastion.clock import FixedClock
from bastion.console import streams as streams_module
from bastion.console.reads import Trouble
from bastion.console.routes import LOOKS, Route
from bastion.console.standing import FRESH
from bastion.console.streams import BEAT, BURST, MOST_OF_ONE, RATE, LineStream, Streams
from bastion.console.visits import Visit, Visits
from bastion.control.roles import Role
from bastion.errors import ConsoleReason
from tests.support.reactor import logged_failures

ROUTE = Route("POST", "/live/stream", "watch", LOOKS)
AUDITOR = frozenset((Role.AUDITOR,))


class Sink:
    """Whoever takes it."""

    def __init__(self) -> None:
        self.source: Any = None
        self.data, self.ended = b"", False

    def begin(self, source: Any) -> None:
        self.source = source

    def write(self, data: bytes) -> None:
        assert not self.ended
        self.data += data

    def end(self) -> None:
        self.ended = True

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [line for line in map(orjson.loads, self.data.splitlines()) if line]


class House:
    def __init__(self) -> None:
        self.clock, self.timers = FixedClock(), Clock()
        self.verdict: Any = succeed(None)
        self.refused: list[tuple[str, ConsoleReason]] = []
        self.visits = Visits(self.clock, 1e9, 1e9, lambda *ended: self.streams.visit_over(*ended))
        standing: Any = self
        self.streams = Streams(
            self.timers,
            standing,
            self.visits,
            lambda visit, reason, route: self.refused.append((visit.name, reason)),
        )

    async def ask(self, visit: Visit, asker: object) -> ConsoleReason | None:
        found: ConsoleReason | None = await self.verdict
        return found

    def visit(self, name: str = "ada") -> Visit:
        return self.visits.begin(name, f"u-{name}", AUDITOR, "192.0.2.1")[1]

    def open(self, visit: Visit) -> tuple[LineStream, Sink]:
        line, sink = self.streams.open(visit, ROUTE, OPERATOR), Sink()
        line.send_to(sink)
        self.timers.advance(0)
        return line, sink

    def idle(self) -> bool:
        return not self.timers.getDelayedCalls() and not len(self.streams)


def test_lines_come_and_a_last_one_says_why_it_ends() -> None:
    house = House()
    line, sink = house.open(house.visit())
    line.send({"rows": {3: "<b>"}})
    line.end("it is over")
    line.send({"late": 1})
    assert sink.lines == [{"rows": {"3": "<b>"}}, {"end": "it is over"}] and sink.ended
    assert house.idle()


def test_an_end_that_comes_before_it_is_taken_is_told_all_the_same() -> None:
    house = House()
    line, sink = house.streams.open(house.visit(), ROUTE, OPERATOR), Sink()
    assert not line.has_room
    line.end("too late")
    line.send_to(sink)
    assert sink.lines == [{"end": "too late"}] and sink.ended and house.idle()


def test_a_visit_that_ends_ends_its_streams_in_the_same_turn_and_no_others() -> None:
    house = House()
    mine, other = house.visit(), house.visit("rex")
    (_, sink), (_, second), (line, kept) = house.open(mine), house.open(mine), house.open(other)
    house.visits.end(mine, ConsoleReason.SIGNED_OUT)
    assert sink.lines == second.lines == [{"end": "you have signed out"}]
    assert not kept.ended and not line.over
    house.streams.close()
    assert kept.ended and house.idle()


@pytest.mark.parametrize("reason", [ConsoleReason.ACCOUNT_GONE, ConsoleReason.LOCKED])
def test_rights_are_asked_for_every_minute(reason: ConsoleReason) -> None:
    house = House()
    visit = house.visit()
    _, sink = house.open(visit)
    house.timers.advance(FRESH)
    assert not sink.ended
    house.verdict = succeed(reason)
    house.timers.advance(FRESH)
    assert sink.ended and len(house.visits) == 0 and house.idle()


def test_whoever_has_lost_the_role_is_shown_no_more_and_that_is_written_down() -> None:
    house = House()
    visit = house.visit()
    _, sink = house.open(visit)
    visit.roles = frozenset((Role.APPROVER,))
    house.timers.advance(FRESH)
    assert sink.ended and house.refused == [("ada", ConsoleReason.NO_ROLE)] and len(house.visits) == 1


def test_a_directory_that_is_silent_for_too_long_or_a_fault_ends_it() -> None:
    house = House()
    _, sink = house.open(house.visit())
    house.verdict = succeed(ConsoleReason.UNAVAILABLE)
    house.timers.advance(FRESH)
    assert sink.ended and house.refused == [("ada", ConsoleReason.UNAVAILABLE)]


def test_who_leaves_while_rights_are_asked_for_is_asked_about_no_more() -> None:
    house = House()
    house.verdict = Deferred()
    line, sink = house.open(house.visit())
    house.timers.advance(FRESH)
    sink.source.stop()
    house.verdict.callback(None)
    assert line.over and house.idle()


def test_so_many_of_one_visit_and_so_many_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    visit = house.visit()
    opened = [house.open(visit)[0] for _ in range(MOST_OF_ONE)]
    with pytest.raises(Trouble) as refused:
        house.open(visit)
    assert refused.value.reason is ConsoleReason.TOO_MANY
    opened[0].stop()
    house.open(visit)
    monkeypatch.setattr(streams_module, "MOST", MOST_OF_ONE)
    with pytest.raises(Trouble):
        house.open(house.visit("rex"))
    house.streams.close()
    assert house.idle()


def test_whoever_takes_nothing_has_no_room_and_is_called_back() -> None:
    house = House()
    line, sink = house.open(house.visit())
    rooms: list[bool] = []
    line.on_room = lambda: rooms.append(line.has_room)
    sink.source.pause()
    assert not line.has_room
    house.timers.advance(BEAT)
    assert sink.data.count(b"\n") == 1, "no sign of life either"
    sink.source.resume()
    assert rooms == [True]
    house.streams.close()


def test_more_than_the_rate_waits() -> None:
    house = House()
    line, _ = house.open(house.visit())
    rooms: list[bool] = []
    line.on_room = lambda: rooms.append(line.has_room)
    line.send("x" * (BURST + RATE))
    assert not line.has_room and not line.has_room
    house.timers.advance(1.1)
    assert rooms == [True]
    house.streams.close()
    assert house.idle()


def test_it_says_every_now_and_then_that_it_is_there() -> None:
    house = House()
    _, sink = house.open(house.visit())
    assert sink.data == b"{}\n"
    house.timers.advance(BEAT)
    assert sink.data == b"{}\n{}\n"
    house.streams.close()


def test_a_fault_while_asking_ends_it() -> None:
    house = House()
    _, sink = house.open(house.visit())
    house.verdict = fail(RuntimeError("odd"))
    with logged_failures() as failures:
        house.timers.advance(FRESH)
    assert sink.ended and len(failures) == 1 and "odd" in failures[0] and house.idle()

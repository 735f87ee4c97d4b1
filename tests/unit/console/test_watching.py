"""One stream over several sessions: what is asked for whom, what is sent when, and how each ends."""

from __future__ import annotations

from base64 import b64encode
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from bastion.clock import FixedClock
from bastion.console.orders import WALL
from bastion.console.painting import PICTURE, Easel
from bastion.console.reads import Trouble
from bastion.console.routes import LOOKS, Route
from bastion.console.streams import LineStream
from bastion.console.visits import Visit
from bastion.console.watching import PIECE, names_in, watch
from bastion.control.asking import WINDOW, By, Stream
from bastion.control.orders import Watched, WatchSession
from bastion.errors import ConsoleReason
from bastion.recording.redacting import NOTHING
from tests.unit.console.test_streams import Sink
from tests.unit.recording.samples import SYNC, Tape

ONE, TWO = "a" * 16, "b" * 16


class Room:
    """A console whose gateway does what a test says."""

    def __init__(self, *names: str, reason: str = "odd hours") -> None:
        self.timers, self.clock = Clock(), FixedClock()
        self.asked: list[tuple[WatchSession, Stream, Deferred[Watched]]] = []
        self.noted: list[tuple[str, str, str]] = []
        self.left: list[str] = []
        route = Route("POST", "/x", "watch", LOOKS)
        visit: Any = SimpleNamespace(name="ada")
        self.line, self.sink = LineStream(self.timers, visit, route), Sink()
        desk = SimpleNamespace(
            gateway=self, redaction=NOTHING, easel=Easel(self.timers, self.clock), streams=self
        )
        self.call: Any = SimpleNamespace(
            desk=desk,
            somebody=visit,
            found=SimpleNamespace(route=route),
            asker=None,
            asked=SimpleNamespace(form={"token": "t", "reason": reason, **dict.fromkeys(names, "1")}),
            note_read=lambda *said: self.noted.append(said),
        )

    def open(self, visit: Visit, route: Route, asker: object) -> LineStream:
        return self.line

    def watch(self, request: WatchSession, stream: Stream) -> Deferred[Watched]:
        asked: Deferred[Watched] = Deferred(lambda _: self.left.append(request.id))
        self.asked.append((request, stream, asked))
        return asked

    def begin(self) -> Room:
        answers: list[Any] = []
        Deferred.fromCoroutine(watch(self.call)).addBoth(answers.append)
        (answer,) = answers
        answer.stream.send_to(self.sink)
        return self

    def event(self, number: int, **event: Any) -> int:
        """What a gateway sends; the credit that is left."""
        stream = self.asked[number][1]
        stream.offer(event, len(event.get("blocks", "")) + 512)
        return stream.credit

    def wait(self, seconds: float = PICTURE * 1.01) -> list[dict[str, Any]]:
        """What has been sent by then."""
        before = len(self.sink.lines)
        self.timers.advance(seconds)
        self.timers.advance(0)
        return self.sink.lines[before:]


def first(tape: Tape) -> dict[str, Any]:
    """The first event of a session with a terminal."""
    tape.recorder.note("request_forwarded", 1, {"name": "pty-req", "detail": {"cols": 20, "rows": 5}})
    tape.burst()
    return {"sync": SYNC.hex(), "blocks": b64encode(tape.file).decode(), "told": True, "skipped": False}


def more(tape: Tape, text: bytes) -> dict[str, Any]:
    before = len(tape.file)
    tape.out(text)
    return {"blocks": b64encode(tape.file[before:]).decode(), "dropped": 0}


def test_the_line_stands_before_the_gateway_is_asked_for_whom_and_why() -> None:
    room = Room(ONE, reason="  odd   hours ").begin()
    assert room.noted == [("watch", "odd hours", ONE)]
    (request, _, _) = room.asked[0]
    assert request == WatchSession(ONE, "odd hours", By(-1, "", "ada"))


def test_rows_come_at_once_and_then_five_times_a_second() -> None:
    room, tape = Room(ONE).begin(), Tape()
    room.event(0, **first(tape))
    assert room.wait(0.0)[0] == {"s": ONE, "told": True}
    room.event(0, **more(tape, b"one"))
    assert room.wait(PICTURE / 2) == []
    room.event(0, **more(tape, b" two"))
    (drawn,) = [line for line in room.wait(PICTURE) if "rows" in line]
    assert drawn == {"s": ONE, "c": 1, "rows": {"0": "one two"}, "cursor": [7, 0], "size": [20, 5]}


def test_the_gateway_is_given_credit_for_what_was_drawn() -> None:
    room, tape = Room(ONE).begin(), Tape()
    assert room.event(0, **first(tape)) < WINDOW
    room.wait()
    assert room.asked[0][1].credit == WINDOW


def test_a_flood_is_drawn_piece_by_piece_and_what_exceeds_the_window_is_not_taken() -> None:
    room, tape = Room(ONE).begin(), Tape()
    room.event(0, **first(tape))
    room.wait()
    stream, taken = room.asked[0][1], 0
    while stream.offer(more(tape, b"x" * 10_000), 14_000):
        taken += 1
    assert taken <= WINDOW // 14_000
    room.wait()
    assert stream.credit <= PIECE + 2 * 14_000
    for _ in range(10):
        room.wait()
    assert stream.credit == WINDOW


def test_a_browser_that_takes_nothing_gets_the_picture_of_now_later() -> None:
    room, tape = Room(ONE).begin(), Tape()
    room.event(0, **first(tape))
    room.wait()
    room.sink.source.pause()
    for text in (b"\rone", b"\rtwo", b"\rsix"):
        room.event(0, **more(tape, text))
        assert room.wait() == []
    assert room.asked[0][1].credit == WINDOW, "the session is drawn on"
    room.sink.source.resume()
    assert [line["rows"] for line in room.wait() if "rows" in line] == [{"0": "six"}]


def test_each_ends_by_itself_and_the_stream_with_the_last() -> None:
    room, tape = Room(ONE, TWO).begin(), Tape()
    assert [request.id for request, _, _ in room.asked] == [ONE], "the second is asked for after an answer"
    room.event(0, **first(tape))
    assert [request.id for request, _, _ in room.asked] == [ONE, TWO]
    room.asked[1][2].errback(Trouble(ConsoleReason.UNAVAILABLE, "nobody watches it"))
    assert room.wait()[-1] == {"s": TWO, "over": "nobody watches it"} and not room.sink.ended
    room.event(0, **more(tape, b"last words"))
    room.asked[0][2].callback(Watched("ended", "the session has ended"))
    *_, drawn, over, end = room.wait()
    assert drawn["rows"] == {"0": "last words"}
    assert (over, end) == ({"s": ONE, "over": "the session has ended"}, {"end": ""})
    assert room.sink.ended and not room.timers.getDelayedCalls()


def test_who_leaves_leaves_all_of_them() -> None:
    room, tape = Room(ONE, TWO).begin(), Tape()
    room.event(0, **first(tape))
    room.sink.source.stop()
    assert room.left == [ONE, TWO] and room.line.over
    room.timers.advance(60)
    assert not room.timers.getDelayedCalls()


def test_who_leaves_before_there_is_an_answer_is_not_waited_for() -> None:
    room = Room(ONE, TWO).begin()
    room.sink.source.stop()
    assert room.left == [ONE] and len(room.asked) == 1


@pytest.mark.parametrize("names", [(), ("token", "reason", "A" * 16, "a" * 15)])
def test_what_names_no_session_is_none(names: tuple[str, ...]) -> None:
    assert names_in(dict.fromkeys(names, "1")) == []


def test_a_wall_has_so_many() -> None:
    names = [f"{letter * 16}" for letter in "abcdefghij"]
    assert len(names_in(dict.fromkeys(names[:WALL], "1"))) == WALL
    with pytest.raises(Trouble) as refused:
        names_in(dict.fromkeys(names, "1"))
    assert refused.value.reason is ConsoleReason.BAD_REQUEST

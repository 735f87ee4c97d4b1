"""One line from a client: whole, in time, and never more than may be kept."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from bastion.doors.one_line import LINE_MAX, LINE_WAIT, LineFault, NoLine, OneLine


class Bench:
    def __init__(self, terminal: bool = False) -> None:
        self.clock = Clock()
        self.line = OneLine(self.clock, terminal)

    def fault(self, reading: Deferred[str]) -> LineFault:
        failure = self.failed(reading)
        assert isinstance(failure, NoLine)
        return failure.fault

    def failed(self, reading: Deferred[str]) -> BaseException | None:
        found: list[BaseException | None] = []
        reading.addErrback(lambda failure: found.append(failure.value))
        assert found and self.clock.getDelayedCalls() == []
        return found[0]

    def got(self, reading: Deferred[str]) -> str:
        found: list[str] = []
        reading.addCallback(found.append)
        assert found and self.clock.getDelayedCalls() == []
        return found[0]


@pytest.mark.parametrize(
    "pieces",
    [
        [b"a key\n"],
        [b"a", b" key"],
        [b"a key\r\n"],
        [b"\xef\xbb\xbfa key"],
        [b"\n\n a key \t\n\n"],
        [b"a key\r"],
    ],
)
def test_a_line_in_pieces(pieces: list[bytes]) -> None:
    bench = Bench()
    for piece in pieces:
        bench.line.take(piece)
    reading = bench.line.read()
    assert not reading.called, "a second one could come"
    bench.line.end()
    assert bench.got(reading) == "a key"


def test_what_came_before_it_was_asked_for_counts() -> None:
    bench = Bench()
    bench.line.take(b"early")
    bench.line.end()
    assert bench.got(bench.line.read()) == "early"


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        (b"", LineFault.NONE),
        (b" \r\n\t\n", LineFault.NONE),
        (b"one\ntwo", LineFault.SEVERAL),
        (b"one\r\ntwo\r\n", LineFault.SEVERAL),
        (b"one\rtwo", LineFault.SEVERAL),
        (b"\xff", LineFault.NO_TEXT),
    ],
)
def test_what_is_no_line(sent: bytes, fault: LineFault) -> None:
    bench = Bench()
    reading = bench.line.read()
    bench.line.take(sent)
    bench.line.end()
    assert bench.fault(reading) is fault


def test_too_much_is_refused_at_once_and_not_kept() -> None:
    bench = Bench()
    reading = bench.line.read()
    for _ in range(LINE_MAX // 1024):
        bench.line.take(b"x" * 1024)
    assert not reading.called
    bench.line.take(b"x" * (1 << 20))
    assert bench.fault(reading) is LineFault.LONG and not bench.line._kept


def test_before_anybody_asks_no_more_is_kept_than_shows_that_it_is_too_long() -> None:
    bench = Bench()
    for _ in range(100):
        bench.line.take(b"x" * 4096)
    assert len(bench.line._kept) == LINE_MAX + 1
    assert bench.fault(bench.line.read()) is LineFault.LONG


def test_a_line_that_drips_is_too_late() -> None:
    bench = Bench()
    reading = bench.line.read()
    for _ in range(9):
        bench.clock.advance(1)
        bench.line.take(b"x")
    assert not reading.called
    bench.clock.advance(LINE_WAIT - 9)
    assert bench.fault(reading) is LineFault.LATE


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\x04"])
def test_on_a_terminal_return_is_the_end(end: bytes) -> None:
    bench = Bench(terminal=True)
    reading = bench.line.read()
    bench.line.take(b"123 ")
    bench.line.take(b"456" + end + b"rest")
    assert bench.got(reading) == "123 456"


def test_leaving_leaves_nothing() -> None:
    bench = Bench()
    bench.line.take(b"secret")
    reading = bench.line.read()
    reading.cancel()
    assert bench.failed(reading) is not None and not bench.line._kept
    bench.line.take(b"more")
    bench.line.end()
    assert not bench.line._kept

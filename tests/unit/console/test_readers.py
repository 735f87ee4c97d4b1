"""The processes that open recordings, as the console sees them: so many, in time, and stopped when nobody looks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from bastion.console import readers as readers_module
from bastion.console.readers import HEAD_SECONDS, HELD, LIFE_SECONDS, Process, Question, Readers
from bastion.console.reads import Trouble
from bastion.errors import ConsoleReason

QUESTION = Question("text", "aaaabbbbccccdddd", "alice", "192.0.2.1", "console text")


class Transport:
    """Of a process that does what a test says."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.asked: list[Any] = []
        self.said: list[str] = []

    def write(self, data: bytes) -> None:
        self.asked.append(orjson.loads(data))

    def signalProcess(self, name: str) -> None:
        self.said.append(name)

    def pauseProducing(self) -> None:
        self.said.append("pause")

    def resumeProducing(self) -> None:
        self.said.append("resume")

    def end(self, code: int = 0) -> None:
        reason = ProcessDone(None) if code == 0 else ProcessTerminated(code)
        self.process.processEnded(Failure(reason))


class Pool:
    def __init__(self, most: int = 2) -> None:
        self.clock = Clock()
        self.made: list[Transport] = []
        self.readers = Readers(self.clock, self._start, most)

    def _start(self, process: Any) -> Any:
        transport = Transport(process)
        self.made.append(transport)
        process.makeConnection(transport)
        return transport


class Sink:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.said: list[str] = []

    def begin(self, source: Any) -> None:
        self.source = source

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def end(self) -> None:
        self.said.append("end")

    def cut(self) -> None:
        self.said.append("cut")


def ask(pool: Pool) -> list[Any]:
    found: list[Any] = []
    pool.readers.ask(QUESTION).addBoth(found.append)
    return found


def trouble(found: list[Any]) -> ConsoleReason:
    (failure,) = found
    assert isinstance(failure, Failure) and isinstance(failure.value, Trouble)
    return failure.value.reason


def test_a_question_is_asked_of_the_process_that_waits_and_another_is_started() -> None:
    pool = Pool()
    pool.readers.warm()
    found = ask(pool)
    pool.clock.advance(0)
    assert (
        len(pool.made) == 2
        and pool.made[0].asked[0]["session"] == QUESTION.session
        and not pool.made[1].asked
    )
    pool.made[0].process.outReceived(b'{"ok":tr')
    assert found == []
    pool.made[0].process.outReceived(b"ue}\nhello ")
    sink = Sink()
    opened = found[0]
    opened.before, opened.behind, opened.change = b"<pre>", b"</pre>", bytes.upper
    opened.send_to(sink)
    pool.made[0].process.outReceived(b"world")
    pool.made[0].end()
    assert b"".join(sink.written) == b"<pre>HELLO WORLD</pre>" and sink.said == ["end"]


def test_what_ends_otherwise_is_cut() -> None:
    pool = Pool()
    found = ask(pool)
    pool.made[0].process.outReceived(b'{"ok":true}\nhello')
    sink = Sink()
    found[0].send_to(sink)
    pool.made[0].end(code=1)
    assert sink.said == ["cut"] and b"hello" in sink.written


def test_a_whole_answer() -> None:
    pool = Pool()
    found = ask(pool)
    pool.made[0].process.outReceived(b'{"ok":true}\n[1,')
    whole: list[Any] = []
    found[0].all().addBoth(whole.append)
    pool.made[0].process.outReceived(b"2]")
    pool.made[0].end()
    assert whole == [b"[1,2]"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b'{"ok":false,"reason":"unaudited","text":"no"}\n', ConsoleReason.UNAUDITED),
        (b'{"ok":false,"reason":"not_found","text":"no"}\n', ConsoleReason.NOT_FOUND),
        (b'{"ok":false,"reason":"x"}\n', ConsoleReason.UNAVAILABLE),
        (b"nonsense\n", ConsoleReason.UNAVAILABLE),
    ],
)
def test_a_no_is_told(said: bytes, reason: ConsoleReason) -> None:
    pool = Pool()
    found = ask(pool)
    pool.made[0].process.outReceived(said)
    assert trouble(found) is reason


def test_one_that_dies_or_never_answers_is_told_and_gone() -> None:
    pool = Pool()
    found = ask(pool)
    pool.made[0].end(code=9)
    assert trouble(found) is ConsoleReason.UNAVAILABLE
    late = ask(pool)
    pool.clock.advance(HEAD_SECONDS)
    assert trouble(late) is ConsoleReason.UNAVAILABLE
    assert any("KILL" in one.said for one in pool.made)
    endless = ask(pool)
    busy = next(one for one in reversed(pool.made) if one.asked)
    busy.process.outReceived(b"x" * 5000)
    assert "KILL" in busy.said and endless == []


def test_one_that_never_ends_is_killed() -> None:
    pool = Pool()
    found = ask(pool)
    pool.made[0].process.outReceived(b'{"ok":true}\n')
    found[0].send_to(Sink())
    pool.clock.advance(LIFE_SECONDS)
    assert "KILL" in pool.made[0].said


def test_what_nobody_takes_waits_and_whoever_leaves_ends_it() -> None:
    pool = Pool()
    found = ask(pool)
    process = pool.made[0]
    process.process.outReceived(b'{"ok":true}\n')
    process.process.outReceived(b"x" * (HELD + 1))
    assert process.said == ["pause"]
    sink = Sink()
    found[0].send_to(sink)
    sink.source.pause()
    sink.source.resume()
    sink.source.stop()
    assert process.said == ["pause", "resume", "pause", "resume", "KILL"]
    process.end(code=9)
    assert sink.said == []


def test_an_answer_that_is_taken_as_one_has_a_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers_module, "WHOLE_MAX", 10)
    pool = Pool()
    found = ask(pool)
    pool.made[0].process.outReceived(b'{"ok":true}\n')
    whole: list[Any] = []
    found[0].all().addBoth(whole.append)
    pool.made[0].process.outReceived(b"x" * 11)
    pool.made[0].end(code=9)
    assert trouble(whole) is ConsoleReason.UNAVAILABLE


def test_so_many_at_once_and_so_many_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers_module, "WAITING", 1)
    pool = Pool(most=1)
    first, second = ask(pool), ask(pool)
    assert trouble(ask(pool)) is ConsoleReason.TOO_MANY
    pool.made[0].process.outReceived(b'{"ok":true}\n')
    pool.made[0].end()
    assert first and not second
    asked = [one for one in pool.made if one.asked]
    assert len(asked) == 2
    asked[1].process.outReceived(b'{"ok":true}\n')
    assert second


def test_one_person_leaves_one_to_the_others() -> None:
    pool = Pool(most=2)
    first, second = ask(pool), ask(pool)
    other: list[Any] = []
    pool.readers.ask(replace(QUESTION, by="bob")).addBoth(other.append)
    asked = [one for one in pool.made if one.asked]
    assert [one.asked[0]["by"] for one in asked] == ["alice", "bob"]
    for one in asked:
        one.process.outReceived(b'{"ok":true}\n')
    assert first and other and not second
    asked[1].end()
    assert [one.asked[0]["by"] for one in pool.made if one.asked] == ["alice", "bob"], "alice has one still"
    asked[0].end()
    assert [one.asked[0]["by"] for one in pool.made if one.asked] == ["alice", "bob", "alice"]


def test_whoever_waits_and_leaves_is_forgotten_and_a_close_ends_all() -> None:
    pool = Pool(most=1)
    ask(pool)
    waiting = pool.readers.ask(QUESTION)
    waiting.addErrback(lambda _: None)
    waiting.cancel()
    left = ask(pool)
    pool.readers.close()
    assert "KILL" in pool.made[0].said and trouble(left) is ConsoleReason.UNAVAILABLE

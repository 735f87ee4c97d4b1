"""The chain of the audit log: one for all who write, whoever dies, cuts or rotates in between."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bastion.observe import audit_chain
from bastion.observe.audit_chain import NO_DIGEST, Chain, Link, bind, digest_of, read_bound

FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


class Writer:
    """A process, as far as the file sees it."""

    def __init__(self, path: Path) -> None:
        self.fd, self.chain = os.open(path, FLAGS), Chain()

    def say(self, word: str) -> None:
        assert self.chain.append(self.fd, b'{"event":"%b"}\n' % word.encode())


@pytest.fixture
def two(path: Path) -> Iterator[tuple[Writer, Writer]]:
    writers = Writer(path), Writer(path)
    yield writers
    for one in writers:
        os.close(one.fd)


def whole(path: Path) -> list[str]:
    """Every line's event; each is bound to the one before."""
    before, words = Link("", -1, NO_DIGEST), []
    for line in path.read_bytes().splitlines():
        bound = read_bound(line)
        if bound is None:
            words.append(line.decode())
            continue
        before = before if before.chain else Link(bound.chain, -1, NO_DIGEST)
        assert (bound.chain, bound.serial, bound.previous) == (before.chain, before.serial + 1, before.digest)
        before = Link(bound.chain, bound.serial, digest_of(line))
        words.append(json.loads(line)["event"])
    return words


def test_a_line_is_bound_to_the_bytes_of_the_one_before() -> None:
    line, link = bind(b'{"event":"x"}\n', Link("ab" * 8, 6, "cd" * 32))
    assert line == b'{"event":"x","chain":"abababababababab","seq":7,"prev":"' + b"cd" * 32 + b'"}\n'
    assert link == Link("ab" * 8, 7, hashlib.sha256(line[:-1]).hexdigest())
    bound = read_bound(line[:-1])
    assert bound is not None and (bound.chain, bound.serial, bound.previous) == ("ab" * 8, 7, "cd" * 32)


@pytest.mark.parametrize(
    "line", [b"", b"{}", b'x,"chain":"abababababababab","seq":1,"prev":"' + b"0" * 64 + b'"}']
)
def test_what_is_no_line_of_a_chain(line: bytes) -> None:
    assert read_bound(line) is None


def test_what_a_peer_sent_cannot_look_like_the_end_of_a_line() -> None:
    evil = ',"chain":"abababababababab","seq":1,"prev":"' + "0" * 64 + '"}'
    assert read_bound(json.dumps({"user": evil}).encode()) is None


def test_writers_take_turns_in_one_chain(path: Path, two: tuple[Writer, Writer]) -> None:
    one, other = two
    for word in ("a", "b"):
        one.say(word)
    other.say("c")
    one.say("d")
    other.say("e")
    assert whole(path) == list("abcde")
    Writer(path).say("f")
    assert whole(path) == list("abcdef")


def _many(path: Path, name: str, count: int) -> None:
    writer = Writer(path)
    for number in range(count):
        writer.say(f"{name}{number}")


def test_processes_that_are_killed_leave_a_whole_chain(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    stays = [context.Process(target=_many, args=(path, name, 300)) for name in "ab"]
    dies = context.Process(target=_many, args=(path, "z", 10**7))
    for process in (*stays, dies):
        process.start()
    for process in stays:
        process.join(60)
    assert dies.pid is not None
    os.kill(dies.pid, signal.SIGKILL)
    dies.join(60)
    Writer(path).say("end")
    words = whole(path)
    assert words[-1] == "end" and len([word for word in words if word[0] in "ab"]) == 600


def test_a_torn_end_and_lines_of_an_older_version_are_passed_over(path: Path) -> None:
    path.write_bytes(b'{"event":"old"}\n')
    Writer(path).say("a")
    with path.open("ab") as file:
        file.write(b'{"event":"to')
    Writer(path).say("b")
    assert whole(path) == ['{"event":"old"}', "a", '{"event":"to', "b"]


def test_whoever_finds_his_own_lines_gone_goes_on_behind_them(path: Path, two: tuple[Writer, Writer]) -> None:
    one, other = two
    one.say("a")
    size = path.stat().st_size
    one.say("b")
    other.say("c")
    os.truncate(path, size)
    other.say("d")
    lines = path.read_bytes().splitlines()
    bounds = [read_bound(line) for line in lines]
    assert [bound and bound.serial for bound in bounds] == [0, 3]


def test_a_file_that_is_copied_and_emptied_goes_on(path: Path, two: tuple[Writer, Writer]) -> None:
    one, _ = two
    one.say("a")
    before = path.read_bytes()
    os.truncate(path, 0)
    one.say("b")
    after = path.read_bytes()
    path.write_bytes(before + after)
    assert whole(path) == ["a", "b"]


def test_a_very_long_line_is_still_the_last(path: Path, two: tuple[Writer, Writer]) -> None:
    one, other = two
    one.say("x" * 100_000)
    other.say("y")
    assert whole(path) == ["x" * 100_000, "y"]


class FakeTime:
    """Nobody sleeps."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_the_lock_is_waited_for_and_a_held_one_loses_the_line(
    path: Path, two: tuple[Writer, Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    clock = FakeTime()
    monkeypatch.setattr(audit_chain, "time", clock)

    def refused() -> float:
        before = clock.now
        with pytest.raises(OSError, match="holds its lock") as caught:
            one.say("a")
        assert caught.value.errno == errno.EDEADLK
        return clock.now - before

    audit_chain._lock(other.fd)
    assert refused() >= audit_chain.PATIENCE
    assert max(refused(), refused()) < 2 * audit_chain.PATIENCE_AGAIN, "the gateway does not stand still"
    audit_chain._unlock(other.fd)
    one.say("b")
    assert whole(path) == ["b"]
    audit_chain._lock(other.fd)
    assert refused() >= audit_chain.PATIENCE


def test_who_may_only_read_cannot_hold_the_lock(path: Path, two: tuple[Writer, Writer]) -> None:
    reader = os.open(path, os.O_RDONLY)
    with pytest.raises(OSError, match="descriptor"):
        audit_chain._lock(reader)
    two[0].say("a")
    os.close(reader)


def test_a_pipe_has_no_chain() -> None:
    reader, writer = os.pipe()
    assert Chain().append(writer, b'{"event":"a"}\n')
    assert os.read(reader, 100) == b'{"event":"a"}\n'
    assert Chain().last(writer) is None
    os.close(reader)
    os.close(writer)

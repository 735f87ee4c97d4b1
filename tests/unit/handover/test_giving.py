"""The old side of a handover: every way in which it does not happen ends with the old process accepting."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from bastion.control.node import ControlError, Counted, SnapshotAsked, StatusAsked
from bastion.handover import giving as module
from bastion.handover.giving import OPTION, Giving, Serving
from bastion.handover.questions import BEGUN_WITHIN, READY_WITHIN, Begun, EndElder, Locked, LogMoved, Ready
from bastion.net.listening import Listeners, open_listener
from bastion.net.notify import Notifier
from bastion.observe.events.process import HandedOver, HandoverFailed
from bastion.policy.locks import Lock, LockKind


class Reactor(Clock):
    """Starts nothing, and keeps what it was to start."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[tuple[str, list[str], dict[str, str], dict[int, int]]] = []
        self.killed: list[str] = []
        self.fails = False

    def spawnProcess(self, protocol: Any, program: str, words: list[str], env: Any, childFDs: Any) -> Any:
        if self.fails:
            raise OSError(2, "No such file or directory")
        self.started.append((program, words, env, childFDs))
        self.pid = 4_000_000
        return self

    def signalProcess(self, number: str) -> None:
        self.killed.append(number)

    def adoptStreamConnection(self, fd: int, family: int, factory: Any) -> None:
        self.link = factory.buildProtocol(None)


class Told(Notifier):
    def __init__(self) -> None:
        super().__init__()
        self.pids: list[int] = []

    def main_pid(self, pid: int) -> None:
        self.pids.append(pid)


class Bench:
    """A process that serves, and what a handover does to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reactor = Reactor()
        self.notifier = Told()
        self.listener = open_listener("127.0.0.1", 0)
        self.did: list[Any] = []
        self.over: list[str] = []
        self.groups: list[int] = []
        self.node: Any = self
        monkeypatch.setattr(module.os, "killpg", lambda group, number: self.groups.append(group))
        self.giving = Giving(
            self.reactor,
            ("/opt/bastion/current/bin/bastion", "serve"),
            Serving(
                listeners=lambda: Listeners((self.listener,)),
                pause=self.pause,
                resume=lambda: self.did.append("resume"),
                retire=lambda: self.did.append("retire"),
                end=lambda drain: self.did.append(("end", drain)),
                reopen_log=lambda: self.did.append("reopen"),
                node=self.node,
                locks=lambda: (LOCK,),
                counted=lambda: self.answered(Counted({"figures": {}})),
                note=self.did.append,
            ),
            self.notifier,
        )
        self.giving.on_over = self.over.append

    def answered(self, result: Any) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        answer.callback(result)
        return answer

    def pause(self) -> Deferred[None]:
        self.did.append("pause")
        return self.answered(None)

    def ask(self, request: Any, stream: Any = None) -> Deferred[Any]:
        """Of a node."""
        return self.answered(("asked", request))

    def hears(self, request: Any) -> Any:
        """What the successor is answered."""
        stream: Any = None
        found: list[Any] = []
        self.giving._answer(request.command, request, stream).addCallback(found.append)
        return found[0]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench(monkeypatch)
    yield made
    made.listener.close()
    assert made.reactor.getDelayedCalls() == []


LOCK = Lock(LockKind.USER, "mallory", "left", "admin", 1.0)
READY = Ready(77, "2.0")


def test_the_successor_gets_the_sockets_and_the_same_words(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_PID", "1")
    monkeypatch.setenv("KEPT", "yes")
    bench.giving.begin()
    ((program, words, environment, passed),) = bench.reactor.started
    fd = bench.listener.fileno()
    assert (program, words[:-1]) == (words[0], ["/opt/bastion/current/bin/bastion", "serve", OPTION])
    link, _, sockets = words[-1].partition("/")
    assert sockets == f"ssh:{fd}" and passed == {n: n for n in (0, 1, 2, int(link), fd)}
    assert "WATCHDOG_PID" not in environment and environment["KEPT"] == "yes"
    bench.giving.give_up("enough")


def test_it_stops_to_accept_when_the_other_is_ready_and_retires_when_it_serves(bench: Bench) -> None:
    bench.giving.begin()
    assert bench.did == []
    assert bench.hears(READY) == Locked((LOCK,)) and bench.did == ["pause"]
    assert bench.hears(Begun()) == Locked((LOCK,))
    assert bench.notifier.pids == [77] and bench.giving.given and bench.over == [""]
    assert bench.did[1:] == [HandedOver("2.0", 77), "retire"]
    for request in (READY, Begun()):
        with pytest.raises(ControlError):
            bench.hears(request)
    bench.hears(EndElder(True))
    bench.hears(LogMoved())
    assert bench.did[3:] == [("end", True), "reopen"]
    assert bench.hears(SnapshotAsked()) == Counted({"figures": {}})
    assert bench.hears(StatusAsked()) == ("asked", StatusAsked())
    bench.reactor.link.on_lost(bench.reactor.link)
    with pytest.raises(ControlError):
        bench.giving.farewell({})
    assert bench.did[5:] == [] and bench.reactor.killed == []


def test_one_that_is_never_ready_is_ended_and_nothing_has_changed(bench: Bench) -> None:
    bench.giving.begin()
    bench.reactor.advance(READY_WITHIN)
    (failed,) = bench.did
    assert isinstance(failed, HandoverFailed) and failed.text == "the successor was not ready within 30 s"
    assert bench.reactor.killed == ["KILL"] and bench.groups == [4_000_000] and bench.over == [failed.text]
    assert bench.reactor.link.lost


def test_one_that_is_ready_and_does_not_serve_is_ended_and_the_old_one_accepts_again(bench: Bench) -> None:
    bench.giving.begin()
    bench.hears(READY)
    bench.reactor.advance(BEGUN_WITHIN)
    assert bench.did[:2] == ["pause", "resume"] and isinstance(bench.did[2], HandoverFailed)
    assert bench.reactor.killed == ["KILL"]


@pytest.mark.parametrize("ready", [False, True])
def test_one_that_dies_changes_nothing(bench: Bench, ready: bool) -> None:
    bench.giving.begin()
    if ready:
        bench.hears(READY)
    bench.reactor.link.connectionLost()
    assert bench.did[:-1] == (["pause", "resume"] if ready else [])
    assert "ended before it served" in bench.did[-1].text
    bench.giving.begin()  # and another may be tried
    assert len(bench.reactor.started) == 2
    bench.giving.give_up("enough")


def test_one_that_serves_before_it_is_told_is_refused(bench: Bench) -> None:
    bench.giving.begin()
    with pytest.raises(ControlError):
        bench.hears(Begun())
    bench.giving.give_up("enough")


def test_only_one_at_a_time(bench: Bench) -> None:
    bench.giving.begin()
    bench.giving.begin()
    assert len(bench.reactor.started) == 1
    bench.giving.give_up("enough")


def test_a_program_that_is_gone_and_a_container_are_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.reactor.fails = True
    bench.giving.begin()
    monkeypatch.setattr(os, "getpid", lambda: 1)
    bench.giving.begin()
    assert [failed.text for failed in bench.did] == [
        "the successor cannot be started: No such file or directory",
        "this is process 1 of a container, which ends with it: start the new image instead",
    ]

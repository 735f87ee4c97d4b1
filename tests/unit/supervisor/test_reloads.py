"""A reload of several workers is taken by all or by none, and a worker that starts serves what is in force."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from bastion.auth.throttle import PenaltyLimits
from bastion.clock import FixedClock
from bastion.control.asking import Done
from bastion.control.node import ControlError, Node, Request, Stream
from bastion.errors import ControlReason
from bastion.observe.audit import AuditLog
from bastion.observe.meters import CONFIG_RELOADS, Meters
from bastion.supervisor import questions as ask
from bastion.supervisor.reloads import DIFFERENT, Reloads


class Log:
    """The operator's log."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def info(self, words: str, **values: Any) -> None:
        self.said.append(words.format(**values))

    warn = error = failure = info


class Fake(Node):
    """A worker that has read what `files` says and is asked in turn."""

    def __init__(self, name: str, gateway: Gateway) -> None:
        self.name, self._gateway = name, gateway
        self.asked: list[str] = []
        self.in_force = "one"
        self.loaded_at = 0.0
        self.takes: Any = None  # an error instead
        self.reads: Callable[[], Any] = lambda: ask.Read(
            digest=gateway.files, settings=gateway.settings, changes=("limits.idle: 1 -> 2",)
        )

    def ask(self, request: Request[Any], stream: Stream | None = None) -> Deferred[Any]:
        self.asked.append(request.command)
        if isinstance(request, ask.Prepare):
            answer = self.reads()
            return (
                fail(answer)
                if isinstance(answer, Exception)
                else answer
                if isinstance(answer, Deferred)
                else succeed(answer)
            )
        if isinstance(request, ask.Take) and self.takes is not None:
            return fail(self.takes)
        if isinstance(request, ask.Take):
            self.in_force = self._gateway.files
            self.loaded_at = request.at
        return succeed(Done())


class Gateway:
    """Two workers and what reloads them."""

    def __init__(self, folder: Path) -> None:
        self.files = "one"
        self.path = folder / "audit.jsonl"
        self.settings = ask.Settings(str(self.path), False, PenaltyLimits())
        self.meters, self.log = Meters(), Log()
        self.clock = FixedClock()
        self.audit = AuditLog(str(self.path), FixedClock(), self.meters)
        self.followed: list[ask.Settings] = []
        self.workers = [Fake("worker-1", self), Fake("worker-2", self)]
        self.told = 0
        self.joined: list[str] = []
        self.ended: list[tuple[str, ControlReason]] = []
        self.reloads = Reloads(
            self.clock,
            self.audit,
            self.meters,
            self.log,
            lambda: self.workers,
            self.followed.append,
            self._end,
        )
        self.reloads.on_told = self._told

    def _end(self, worker: Node, why: ControlError) -> Deferred[Any]:
        self.ended.append((worker.name, why.reason))
        self.ending: Deferred[Any] = Deferred()
        return self.ending

    def _told(self) -> None:
        self.told += 1

    def checked(self, digest: str) -> Deferred[None]:
        return self.reloads.admit(ask.Checked(digest, self.settings), lambda: self.joined.append(digest))

    def lines(self) -> list[dict[str, Any]]:
        lines = map(json.loads, self.path.read_text().splitlines())
        return [line for line in lines if line["event"] == "reload"]


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    made = Gateway(tmp_path)
    for _ in made.workers:
        made.checked("one")
    return made


def test_all_take_what_all_have_read(gateway: Gateway) -> None:
    gateway.files = "two"
    gateway.reloads.hup()
    assert [worker.in_force for worker in gateway.workers] == ["two", "two"]
    (line,) = gateway.lines()
    assert (line["result"], line["changed"]) == ("ok", ["limits.idle: 1 -> 2"])
    assert gateway.log.said == ["reload: limits.idle: 1 -> 2"] and gateway.told == 1
    assert gateway.meters.value(CONFIG_RELOADS, "ok") == 1 and len(gateway.followed) == 2


def test_all_are_told_one_moment_and_whoever_starts_later_too(gateway: Gateway) -> None:
    began = gateway.clock.time()
    assert gateway.reloads.loaded == (began, "start")
    gateway.clock.advance(60)
    gateway.checked("one")  # a worker that was started again: nothing was loaded anew
    assert gateway.reloads.loaded == (began, "start")
    gateway.files = "two"
    gateway.reloads.hup()
    assert [worker.loaded_at for worker in gateway.workers] == [began + 60] * 2
    assert gateway.reloads.loaded == (began + 60, "SIGHUP")


@pytest.mark.parametrize(
    ("second", "text"),
    [
        (ask.Read(errors=("policy.toml:3: no such group",)), "policy.toml:3: no such group"),
        (ask.Read(digest="three"), DIFFERENT),
        (
            ControlError(ControlReason.TIMEOUT, "worker-2 did not answer in 330 s"),
            "worker-2 did not answer in 330 s",
        ),
        (ControlError(ControlReason.LINK_LOST, "worker-2 is gone"), "worker-2 is gone"),
    ],
)
def test_none_takes_what_one_cannot(gateway: Gateway, second: Any, text: str) -> None:
    gateway.files = "two"
    gateway.workers[1].reads = lambda: second
    gateway.reloads.hup()
    assert [worker.in_force for worker in gateway.workers] == ["one", "one"]
    assert all(worker.asked == ["reload_prepare", "reload_forget"] for worker in gateway.workers)
    (line,) = gateway.lines()
    assert (line["result"], line["text"]) == ("refused", text) and "changed" not in line
    assert gateway.meters.value(CONFIG_RELOADS, "refused") == 1 and len(gateway.followed) == 1


def test_options_that_wait_for_a_restart_are_named(gateway: Gateway) -> None:
    for worker in gateway.workers:
        worker.reads = lambda: ask.Read(digest="two", settings=gateway.settings, restart=("process.workers",))
    gateway.reloads.hup()
    (line,) = gateway.lines()
    assert (line["result"], line["restart"]) == ("restart_needed", "process.workers")


def test_signals_during_a_reload_are_one_more(gateway: Gateway) -> None:
    reading: list[Deferred[Any]] = []

    def slowly() -> Deferred[Any]:
        reading.append(Deferred())
        return reading[-1]

    gateway.workers[0].reads = slowly
    for _ in range(5):
        gateway.reloads.hup()
    assert len(reading) == 1
    reading[0].callback(ask.Read(digest="one", settings=gateway.settings))
    assert len(reading) == 2
    reading[1].callback(ask.Read(digest="one", settings=gateway.settings))
    assert len(reading) == 2 and len(gateway.lines()) == 2


def test_a_worker_that_has_read_other_files_waits_for_all_to_take_them(gateway: Gateway) -> None:
    gateway.files = "two"
    admitted: list[object] = []
    gateway.checked("two").addBoth(admitted.append)
    assert admitted == [None] and [worker.in_force for worker in gateway.workers] == ["two", "two"]
    assert len(gateway.lines()) == 1


def test_a_worker_does_not_serve_what_others_cannot_take(gateway: Gateway) -> None:
    for worker in gateway.workers:
        worker.reads = lambda: ask.Read(errors=("faulty",))
    admitted: list[Any] = []
    gateway.checked("two").addBoth(admitted.append)
    assert isinstance(admitted[0].value, ControlError)
    assert [worker.in_force for worker in gateway.workers] == ["one", "one"]
    gateway.checked("one").addBoth(admitted.append)
    assert admitted[1] is None


def test_a_worker_that_starts_waits_for_a_reload_that_runs(gateway: Gateway) -> None:
    """It has read what was in force a moment ago."""
    reading: Deferred[Any] = Deferred()
    gateway.workers[0].reads = lambda: reading
    gateway.files = "two"
    gateway.reloads.hup()
    admitted: list[Any] = []
    gateway.checked("one").addBoth(admitted.append)
    assert admitted == [] and gateway.joined == ["one", "one"]
    gateway.workers[0].reads = gateway.workers[1].reads
    reading.callback(ask.Read(digest="two", settings=gateway.settings))
    assert isinstance(admitted[0].value, ControlError) and gateway.joined == ["one", "one"]
    gateway.checked("two").addBoth(admitted.append)
    assert gateway.joined == ["one", "one", "two"]


def test_without_a_worker_nothing_is_reloaded(gateway: Gateway) -> None:
    gateway.workers.clear()
    gateway.reloads.hup()
    assert gateway.lines()[0]["text"] == "no worker serves"


FULL = ControlError(ControlReason.FAILED, "audit log /x: No space left on device")
SILENT = ControlError(ControlReason.TIMEOUT, "worker-2 did not answer in 10 s")


@pytest.mark.parametrize("why", [FULL, SILENT])
def test_who_does_not_take_it_is_ended_before_the_reload_is_said_to_be_taken(
    gateway: Gateway, why: ControlError
) -> None:
    gateway.files = "two"
    gateway.workers[1].takes = why
    gateway.reloads.hup()
    assert gateway.ended == [("worker-2", why.reason)]
    assert gateway.lines() == [] and gateway.told == 0
    gateway.ending.callback(None)
    (line,) = gateway.lines()
    assert (line["result"], line["text"]) == ("ok", f"worker-2 did not take it and is ended: {why.text}")
    gateway.checked("two")
    assert gateway.joined[-1] == "two", "the one that takes its place serves what is in force"


def test_a_reload_that_nobody_takes_is_refused(gateway: Gateway) -> None:
    gateway.files = "two"
    for worker in gateway.workers:
        worker.takes = FULL
    gateway.reloads.hup()
    (line,) = gateway.lines()
    assert (line["result"], line["text"]) == ("refused", f"worker-1: {FULL.text}\nworker-2: {FULL.text}")
    assert gateway.ended == [] and len(gateway.followed) == 1
    gateway.checked("one")
    assert gateway.joined[-1] == "one"


def test_of_those_that_say_nothing_nobody_knows_whether_they_have_taken_it(gateway: Gateway) -> None:
    gateway.files = "two"
    gateway.workers[0].takes, gateway.workers[1].takes = FULL, SILENT
    gateway.reloads.hup()
    gateway.ending.callback(None)
    gateway.ending.callback(None)
    assert [name for name, _ in gateway.ended] == ["worker-1", "worker-2"]
    assert gateway.lines()[0]["result"] == "ok"

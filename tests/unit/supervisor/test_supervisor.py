"""Workers that do not do what they are told, by a clock of our own: each is ended, told of and started again."""

from __future__ import annotations

import json
import math
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from bastion.assembly.penalty_keeper import PenaltyKeeper
from bastion.auth.throttle import PenaltyLimits
from bastion.config.metrics import Metrics
from bastion.config.outputs import Control
from bastion.control.asking import Done
from bastion.control.link import Link
from bastion.control.node import ControlError, Request, Stream
from bastion.control.orders import KeptLocks, Locks
from bastion.errors import AuthReason, ControlReason, WorkerDeath
from bastion.net.listening import Listeners, open_listener
from bastion.observe.families.standing import PENALTIES, PENALTY_BLOCKS
from bastion.observe.meters import WORKER_DEATHS, WORKERS
from bastion.supervisor import child
from bastion.supervisor import questions as ask
from bastion.supervisor.child import (
    KILL_AFTER,
    READ_WITHIN,
    SERVE_WITHIN,
    STARVED_MOST,
    State,
)
from bastion.supervisor.supervisor import FIRST_PAUSE, SETTLED, Supervisor


class Wire:
    """The transport of one end of a link in memory."""

    far: Link

    def __init__(self) -> None:
        self.gone = False

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Nobody is slow here."""

    def write(self, data: bytes) -> None:
        if not self.gone:
            self.far.dataReceived(data)

    def abortConnection(self) -> None:
        self.gone = True


class Started:
    """A process that was started, and the worker in it: it does what the test says and answers what it is asked."""

    def __init__(self, reactor: Reactor, protocol: Any, pid: int) -> None:
        self.reactor, self.protocol, self.pid = reactor, protocol, pid
        self.killed: list[int] = []
        self.asked: list[str] = []
        self.answers: dict[str, Any] = {}
        self.link = Link(reactor, "the supervisor", self._answer, requests=ask.ASKED_OF_WORKERS)
        protocol.transport = self

    @property
    def over(self) -> bool:
        return self not in self.reactor.there

    def signalProcess(self, number: int) -> None:
        self.killed.append(number)
        self.ends(ProcessTerminated(signal=number, status=number))

    def ends(self, how: Any = None) -> None:
        if not self.over:
            self.reactor.there.remove(self)
            self.protocol.processEnded(Failure(how or ProcessDone(0)))  # type: ignore[no-untyped-call]

    def reads(self) -> list[Any]:
        """It has read its configuration; the answer, when there is one."""
        got: list[Any] = []
        self.link.ask(ask.Checked("one", self.reactor.settings)).addBoth(got.append)
        return got

    def serves(self) -> None:
        self.link.ask(ask.Serving())

    def _answer(self, command: str, request: Request[Any], stream: Stream) -> Deferred[Any]:
        self.asked.append(command)
        answer = self.answers.get(command, Done())
        if isinstance(answer, Deferred):
            return answer
        if isinstance(request, KeptLocks):
            return succeed(Locks(()))
        if isinstance(request, ask.Prepare):
            return succeed(ask.Read(digest="two", settings=self.reactor.settings))
        return fail(answer) if isinstance(answer, Exception) else succeed(answer)


class Reactor(Clock):
    """Starts workers in memory."""

    settings: ask.Settings

    def __init__(self) -> None:
        super().__init__()
        self.started: list[Started] = []
        self.there: list[Started] = []

    def spawnProcess(self, protocol: Any, *_: Any, **__: Any) -> Started:
        made = Started(self, protocol, 4_000_000 + len(self.started))
        self.started.append(made)
        self.there.append(made)
        return made

    def adoptStreamConnection(self, fd: int, family: int, factory: Any) -> None:
        ours, theirs = factory.buildProtocol(None), self.started[-1].link
        wires = Wire(), Wire()
        wires[0].far, wires[1].far = theirs, ours
        ours.makeConnection(wires[0])
        theirs.makeConnection(wires[1])


class Gateway:
    """A supervisor of two."""

    def __init__(self, folder: Path) -> None:
        self.reactor = Reactor()
        self.path = folder / "audit.jsonl"
        self.reactor.settings = ask.Settings(str(self.path), False, PenaltyLimits())
        self.listener = open_listener("127.0.0.1", 0)
        self.supervisor = Supervisor(
            self.reactor,
            ["-m", "bastion", "serve"],
            2,
            self.reactor.settings,
            Listeners((self.listener,)),
            str(folder / "bastion.toml"),
            Control(),
            PenaltyKeeper(self.reactor, folder / "state"),
            Metrics(targets=("web1",)),
        )
        self.codes: list[int] = []
        self.supervisor.on_over = self.codes.append

    def worker(self, number: int) -> Started:
        """The one of that number that is there now."""
        (found,) = (one for one in self.reactor.there if one.protocol.number == number)
        return found

    def serve(self) -> Gateway:
        """Both serve."""
        self.supervisor.start()
        for number in (0, 1):
            self.worker(number).reads()
            self.worker(number).serves()
        return self

    def died(self) -> list[tuple[str, str, str]]:
        lines = map(json.loads, self.path.read_text().splitlines())
        return [
            (line["worker"], line["how"], line["reason"]) for line in lines if line["event"] == "worker_died"
        ]

    def deaths(self, reason: WorkerDeath) -> int:
        return self.supervisor.meters.value(WORKER_DEATHS, reason)

    def count(self, state: State) -> int:
        return self.supervisor.meters.value(WORKERS, state)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    (tmp_path / "state").mkdir(mode=0o700)
    made = Gateway(tmp_path)
    yield made
    made.supervisor.end("INT", drain=False)
    for one in list(made.reactor.there):
        one.ends()
    assert len(made.codes) == 1


def test_penalties_are_counted_here_and_the_targets_that_are_named_are_known(gateway: Gateway) -> None:
    supervisor = gateway.serve().supervisor
    for _ in range(7):
        supervisor._penalties.failed("192.0.2.1", "alice", AuthReason.BAD_PASSWORD)
    supervisor._refresh()
    assert supervisor.meters.value(PENALTIES, "account") == 1
    assert supervisor.meters.value(PENALTY_BLOCKS, "account") == 2
    assert supervisor.meters.snapshot()["target_sessions_live"] == {"web1": [0]}


def not_read(worker: Started) -> None:
    """It hangs where it reads its configuration."""


def not_serving(worker: Started) -> None:
    """It hangs after it was told to go on."""
    worker.reads()


@pytest.mark.parametrize(("hangs", "within"), [(not_read, READ_WITHIN), (not_serving, SERVE_WITHIN)])
def test_a_worker_that_hangs_while_it_starts_is_killed_and_started_again_more_slowly(
    gateway: Gateway, hangs: Callable[[Started], None], within: float
) -> None:
    gateway.serve()
    gateway.worker(1).ends(ProcessTerminated(signal=signal.SIGSEGV))
    pause = FIRST_PAUSE
    for times in (1, 2, 3):
        gateway.reactor.advance(pause)
        pause *= 2
        stuck = gateway.worker(1)
        hangs(stuck)
        gateway.reactor.advance(within - 1)
        assert not stuck.over and gateway.count(State.STARTING) == 1
        gateway.reactor.advance(1)
        assert stuck.killed == [signal.SIGKILL] and gateway.deaths(WorkerDeath.START) == times
    assert gateway.died() == [("worker-2", "SIGSEGV", "died"), *[("worker-2", "SIGKILL", "start")] * 3]
    gateway.reactor.advance(pause)
    gateway.worker(1).reads()
    gateway.worker(1).serves()
    gateway.reactor.advance(READ_WITHIN + SERVE_WITHIN)
    assert gateway.count(State.SERVING) == 2 and gateway.deaths(WorkerDeath.START) == 3


def test_the_first_start_that_hangs_ends_the_gateway(gateway: Gateway) -> None:
    gateway.supervisor.start()
    gateway.reactor.advance(READ_WITHIN)
    assert gateway.codes == [3] and gateway.reactor.started[0].killed == [signal.SIGKILL]


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 1.0])
def test_a_worker_that_gets_no_processor_is_given_the_time_that_it_waited_for_one(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """It is not hanging. It gets READ_WITHIN seconds of its own, or STARVED_MOST times as long in all."""
    monkeypatch.setattr(child, "waited_for_processor", lambda pid: 5.0 + share * gateway.reactor.seconds())
    told: list[str] = []
    monkeypatch.setattr(
        gateway.supervisor.log, "error", lambda text, **more: told.append(text.format(**more))
    )
    gateway.supervisor.start()
    within = min(READ_WITHIN / (1 - share) if share < 1 else math.inf, STARVED_MOST * READ_WITHIN)
    while gateway.reactor.seconds() < within - 2.0:
        gateway.reactor.advance(1.0)
    (worker,) = gateway.reactor.started
    assert not worker.over
    while not worker.over and gateway.reactor.seconds() < within + 20.0:
        gateway.reactor.advance(1.0)
    assert worker.killed == [signal.SIGKILL] and gateway.codes == [3]
    said = re.search(r"within 90 s and (\d+) s in which it waited for a processor", told[0])
    assert said is not None and abs(int(said[1]) - share * within) < 20


def test_one_that_waits_for_something_else_is_given_no_more(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "waited_for_processor", lambda pid: 7.0)
    gateway.supervisor.start()
    gateway.reactor.advance(READ_WITHIN)
    assert gateway.codes == [3]


def test_a_worker_that_waits_for_us_is_not_late(gateway: Gateway) -> None:
    gateway.serve()
    reading: Deferred[Any] = Deferred()
    gateway.worker(0).answers["reload_prepare"] = reading
    gateway.supervisor.reloads.hup()
    gateway.worker(1).ends()
    gateway.reactor.advance(FIRST_PAUSE)
    waits = gateway.worker(1)
    answer = waits.reads()
    gateway.reactor.advance(READ_WITHIN + SERVE_WITHIN)
    assert answer == [] and not waits.over


def test_one_that_has_served_for_a_while_is_started_again_at_once(gateway: Gateway) -> None:
    gateway.serve()
    for served in (1.0, SETTLED):
        gateway.reactor.advance(served)
        gateway.worker(1).ends()
        gateway.reactor.advance(FIRST_PAUSE)
        gateway.worker(1).reads()
        gateway.worker(1).serves()
    assert gateway.deaths(WorkerDeath.DIED) == 2


def reload(gateway: Gateway, answer: Any) -> None:
    """With a worker that answers so when it is told to take it."""
    gateway.serve()
    gateway.worker(1).answers["reload_take"] = answer
    gateway.supervisor.reloads.hup()


def reloads(gateway: Gateway) -> list[dict[str, Any]]:
    lines = map(json.loads, gateway.path.read_text().splitlines())
    return [line for line in lines if line["event"] == "reload"]


FULL = ControlError(ControlReason.FAILED, "audit log /x: No space left on device")


def test_a_worker_that_refuses_what_the_others_took_ends_with_words(gateway: Gateway) -> None:
    reload(gateway, FULL)
    refuses = gateway.worker(1)
    assert refuses.asked[-2:] == ["reload_take", "end"] and refuses.killed == []
    (line,) = reloads(gateway)
    assert line["result"] == "ok" and "worker-2 did not take it and is ended" in line["text"]
    assert gateway.count(State.ENDING) == 1
    refuses.ends()
    assert gateway.died() == [("worker-2", "exit 0", "reload")] and gateway.deaths(WorkerDeath.RELOAD) == 1
    gateway.reactor.advance(FIRST_PAUSE)
    assert gateway.worker(1) is not refuses


def test_it_is_killed_when_it_does_not_end_either(gateway: Gateway) -> None:
    reload(gateway, FULL)
    refuses = gateway.worker(1)
    gateway.reactor.advance(KILL_AFTER)
    assert refuses.killed == [signal.SIGKILL]


def test_one_that_will_not_be_told_is_killed_at_once(gateway: Gateway) -> None:
    gateway.serve()
    refuses = gateway.worker(1)
    refuses.answers |= {"reload_take": FULL, "end": ControlError(ControlReason.FAILED, "no")}
    gateway.supervisor.reloads.hup()
    assert refuses.killed == [signal.SIGKILL]


def test_a_worker_that_says_nothing_is_killed_before_the_reload_is_said_to_be_taken(gateway: Gateway) -> None:
    reload(gateway, Deferred())
    silent = gateway.worker(1)
    gateway.reactor.advance(9)
    assert reloads(gateway) == [] and silent.killed == []
    gateway.reactor.advance(1)
    assert silent.killed == [signal.SIGKILL]
    assert [line["result"] for line in reloads(gateway)] == ["ok"]
    assert gateway.died() == [("worker-2", "SIGKILL", "reload")]


def test_one_that_is_ending_is_not_asked_to_reload(gateway: Gateway) -> None:
    reload(gateway, FULL)
    asked = len(gateway.worker(1).asked)
    gateway.supervisor.reloads.hup()
    assert [line["result"] for line in reloads(gateway)] == ["ok", "ok"]
    assert len(gateway.worker(1).asked) == asked

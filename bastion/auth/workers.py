"""Threads for calls that block: bounded in number and in waiting, with deadlines kept by the reactor (L2).

Invariants: `in_use` never exceeds `threads` and `waiting` never exceeds `queue_limit`; a Deferred of `run` fires
at its deadline at the latest, whatever its thread does. Who waits is served in fair turns (`auth.turns`), and
every payer holds a place of its budget from the moment it asks until the thread is back, also when it has left
meanwhile. A thread that is still busy at the deadline is *stuck*: it is counted, whatever it hangs on is cut, and
it serves again as soon as it comes back.

The threads are daemons, so that one that never comes back cannot keep the process from ending.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger

from bastion.auth.budget import Hold, Work
from bastion.auth.directory import OPERATOR, Asker
from bastion.auth.turns import FairQueue
from bastion.clock import DelayedCall, Timers
from bastion.errors import BastionError, Refused

T = TypeVar("T")
_log = Logger()


class ThreadReactor(Timers, Protocol):
    """What this needs of a reactor: IReactorTime and IReactorFromThreads."""

    def callFromThread(self, callable: Callable[..., object], *args: object) -> object: ...


class QueueFull(BastionError):
    """Every thread is busy and as many wait as may, or the payer holds as many places as it may. Nothing began."""


class WorkersClosed(BastionError):
    """The threads are being given up. A running call may still end somewhere; nobody will hear."""


class DeadlinePassed(BastionError):
    """The time is over. `started` is False when no thread had become free until then."""

    def __init__(self, started: bool) -> None:
        super().__init__("the deadline passed while " + ("working" if started else "waiting for a thread"))
        self.started = started


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """What a thread does. `cut` is called in the reactor's thread when the call is given up while it runs: it has
    to make `work` return soon, by shutting its socket down for example. `timeout`: seconds from its start."""

    work: Callable[[], T]
    cut: Callable[[], None] | None = None
    timeout: float | None = None


class Call(Generic[T]):
    """One call: waiting, then running, then answered or abandoned."""

    def __init__(self, begin: Callable[[], Job[T]], give_up_at: float) -> None:
        self.begin: Callable[[], Job[T]] | None = begin
        self.job: Job[T] | None = None
        self.cut: Callable[[], None] | None = None
        self.give_up_at = give_up_at
        self.deferred: Deferred[T] = Deferred()
        self.timer: DelayedCall | None = None
        self.holds: list[Hold] = []
        self.started = False
        self.stuck = False
        self.answered = False

    def release(self) -> None:
        """Give the places back: nothing works for anybody here any more."""
        for hold in self.holds:
            hold.release()
        self.holds.clear()


class Workers:
    """At most `threads` threads named `name`, and at most `queue_limit` calls waiting for one."""

    def __init__(self, reactor: ThreadReactor, name: str, threads: int, queue_limit: int) -> None:
        self._reactor = reactor
        self._name = name
        self._threads = threads
        self._queue_limit = queue_limit
        self._waiting: FairQueue[Call[Any]] = FairQueue()
        self._running: set[Call[Any]] = set()
        self._inbox: queue.SimpleQueue[Call[Any] | None] = queue.SimpleQueue()
        self._spawned = 0
        self._closed = False
        # How many threads are busy now, how many of these are past their deadline, and how many ever were.
        self.in_use = 0
        self.stuck = 0
        self.stuck_total = 0
        self.on_change: Callable[[], None] = lambda: None

    @property
    def waiting(self) -> int:
        """Calls that wait for a thread."""
        return len(self._waiting)

    def run(
        self,
        work: Callable[[], T],
        timeout: float,
        cut: Callable[[], None] | None = None,
        asker: Asker = OPERATOR,
    ) -> Deferred[T]:
        """Call `work` in a thread; its result, or its exception without traceback, comes in the reactor's.

        Fails at once as `start` raises, and after `timeout` seconds (waiting included) with DeadlinePassed.
        """
        try:
            return self.start(lambda: Job(work, cut), timeout, (asker,)).deferred
        except BastionError as error:
            return fail(error)

    def start(self, begin: Callable[[], Job[T]], deadline: float, askers: Iterable[Asker]) -> Call[T]:
        """Let a call wait for a turn of any of `askers`. `begin` is called in the reactor's thread when it comes.

        What `begin` raises is the answer, without a thread. The call's Deferred fails after `deadline` seconds,
        or the job's `timeout` from its start, with DeadlinePassed; cancelling it gives the call up. Raises
        QueueFull, also when none of the askers may hold another place, and WorkersClosed.
        """
        if self._closed:
            raise WorkersClosed(f"{self._name} is closed")
        if self.in_use >= self._threads and len(self._waiting) >= self._queue_limit:
            raise QueueFull(f"{self._name}: all {self._threads} threads are busy")
        call = Call(begin, self._reactor.seconds() + deadline)
        call.deferred = Deferred(lambda _: self._give_up(call, None))
        for asker in askers:
            self._wait(call, asker)
        if call not in self._waiting:
            raise QueueFull(f"{self._name}: whoever asks holds as many places as it may")
        call.timer = self._reactor.callLater(deadline, self._deadline, call)
        self._start_waiting()
        return call

    def join(self, call: Call[Any], asker: Asker) -> None:
        """`asker` wants the answer of `call` too: while it waits, it may come in this one's turn as well."""
        if call in self._waiting:
            self._wait(call, asker)

    def close(self) -> None:
        """Fail everything with WorkersClosed and let the threads end. Waits for none of them."""
        if self._closed:
            return
        self._closed = True
        for call in [*self._waiting, *self._running]:
            self._give_up(call, WorkersClosed(f"{self._name} is closed"))
        for _ in range(self._spawned):
            self._inbox.put(None)

    # -- in the reactor's thread -----------------------------------------------------------------------------

    def _wait(self, call: Call[Any], asker: Asker) -> None:
        """Take a place in the asker's turns, once for each payer and urgency, if its budget has one."""
        purse = asker.purse
        if self._waiting.has(call, purse, asker.query):
            return
        if purse is not None:
            try:
                call.holds.append(purse.take(Work.DIRECTORY))
            except Refused:  # counted there
                return
        self._waiting.add(call, purse, asker.query)

    def _start_waiting(self) -> None:
        while self._waiting and self.in_use < self._threads:
            call = self._waiting.pop()
            begin, call.begin = call.begin, None
            assert begin is not None
            call.started = True
            try:
                job = begin()
            except BastionError as error:
                self._finish(call)
                call.release()
                call.deferred.errback(error)
                continue
            self._running.add(call)
            self.in_use += 1
            call.job, call.cut = job, job.cut
            if job.timeout is not None:
                self._stop_timer(call)
                left = call.give_up_at - self._reactor.seconds()
                call.timer = self._reactor.callLater(max(0.0, min(job.timeout, left)), self._deadline, call)
            if self._spawned < self.in_use:
                self._spawned += 1
                name = f"{self._name}-{self._spawned}"
                threading.Thread(target=self._serve, name=name, daemon=True).start()
            self._inbox.put(call)
        self.on_change()

    def _deadline(self, call: Call[Any]) -> None:
        self._give_up(call, DeadlinePassed(call.started))

    def _give_up(self, call: Call[Any], why: BastionError | None) -> None:
        """Abandon a call; `why` is what its Deferred fails with (None when the Deferred was cancelled)."""
        if call.answered:
            return
        if call in self._running:
            call.stuck = True
            self.stuck += 1
            self.stuck_total += 1
            if call.cut is not None:
                call.cut()
        else:
            self._waiting.remove(call)
            call.release()
        self._finish(call)
        self.on_change()
        if why is not None:
            call.deferred.errback(why)

    def _back(self, call: Call[Any], result: object, error: BaseException | None) -> None:
        """A thread has come back with the end of its call."""
        self.in_use -= 1
        self._running.discard(call)
        call.release()
        if call.stuck:
            self.stuck -= 1
        self._start_waiting()
        if call.answered:
            return
        self._finish(call)
        if error is not None:
            call.deferred.errback(error)
        else:
            call.deferred.callback(result)

    def _finish(self, call: Call[Any]) -> None:
        """Its Deferred fires now; nothing later may."""
        call.answered = True
        call.cut = None
        self._stop_timer(call)

    @staticmethod
    def _stop_timer(call: Call[Any]) -> None:
        timer, call.timer = call.timer, None
        if timer is not None and timer.active():
            timer.cancel()

    # -- in a thread of its own ------------------------------------------------------------------------------

    def _serve(self) -> None:
        while (call := self._inbox.get()) is not None:
            result: object = None
            error: BaseException | None = None
            job, call.job = call.job, None
            assert job is not None
            try:
                result = job.work()
            except BaseException as raised:
                if not isinstance(raised, BastionError):
                    _log.error("{name}: unexpected {kind}", name=self._name, kind=type(raised).__name__)
                # The frames of a traceback hold the job's locals, and those may be a password.
                error = raised.with_traceback(None)
                error.__context__ = error.__cause__ = None
            self._reactor.callFromThread(self._back, call, result, error)
            del call, job, result, error

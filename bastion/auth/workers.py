"""Threads for calls that block: bounded in number and in waiting, with deadlines kept by the reactor (L2).

Invariants: `in_use` never exceeds `threads` and `waiting` never exceeds `queue`; a Deferred of `run` fires at
its deadline at the latest, whatever its thread does. A thread that is still busy then is *stuck*: it is
counted, whatever it hangs on is cut by `on_deadline`, and it serves again as soon as it comes back.

The threads are daemons, so that one that never comes back cannot keep the process from ending.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger

from bastion.clock import DelayedCall, Timers
from bastion.errors import BastionError

T = TypeVar("T")
_log = Logger()


class ThreadReactor(Timers, Protocol):
    """What this needs of a reactor: IReactorTime and IReactorFromThreads."""

    def callFromThread(self, callable: Callable[..., object], *args: object) -> object: ...


class QueueFull(BastionError):
    """Every thread is busy and as many wait as may. Nothing was started."""


class WorkersClosed(BastionError):
    """The threads are being given up. A running call may still end somewhere; nobody will hear."""


class DeadlinePassed(BastionError):
    """The time is over. `started` is False when no thread had become free until then."""

    def __init__(self, started: bool) -> None:
        super().__init__("the deadline passed while " + ("working" if started else "waiting for a thread"))
        self.started = started


class _Task(Generic[T]):
    """One call: waiting, then running, then answered or abandoned."""

    def __init__(self, job: Callable[[], T], on_deadline: Callable[[], None] | None) -> None:
        self.job: Callable[[], T] | None = job
        self.on_deadline = on_deadline
        self.deferred: Deferred[T] = Deferred()
        self.timer: DelayedCall | None = None
        self.started = False
        self.stuck = False
        self.answered = False


class Workers:
    """At most `threads` threads named `name`, and at most `queue_limit` calls waiting for one."""

    def __init__(self, reactor: ThreadReactor, name: str, threads: int, queue_limit: int) -> None:
        self._reactor = reactor
        self._name = name
        self._threads = threads
        self._queue_limit = queue_limit
        self._waiting: deque[_Task[Any]] = deque()
        self._running: set[_Task[Any]] = set()
        self._inbox: queue.SimpleQueue[_Task[Any] | None] = queue.SimpleQueue()
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
        self, job: Callable[[], T], timeout: float, on_deadline: Callable[[], None] | None = None
    ) -> Deferred[T]:
        """Call `job` in a thread; its result, or its exception without traceback, comes in the reactor's.

        Fails at once with QueueFull or WorkersClosed, and after `timeout` seconds (waiting included) with
        DeadlinePassed. `on_deadline` runs in the reactor's thread when the call is given up while it runs
        (deadline, cancel, close): it has to make the job return soon, by shutting its socket down for
        example.
        """
        if self._closed:
            return fail(WorkersClosed(f"{self._name} is closed"))
        if self.in_use >= self._threads and len(self._waiting) >= self._queue_limit:
            return fail(QueueFull(f"{self._name}: all {self._threads} threads are busy"))
        task = _Task(job, on_deadline)
        task.deferred = Deferred(lambda _: self._give_up(task, None))
        task.timer = self._reactor.callLater(timeout, self._deadline, task)
        self._waiting.append(task)
        self._start_waiting()
        return task.deferred

    def close(self) -> None:
        """Fail everything with WorkersClosed and let the threads end. Waits for none of them."""
        if self._closed:
            return
        self._closed = True
        for task in [*self._waiting, *self._running]:
            self._give_up(task, WorkersClosed(f"{self._name} is closed"))
        for _ in range(self._spawned):
            self._inbox.put(None)

    # -- in the reactor's thread -----------------------------------------------------------------------------

    def _start_waiting(self) -> None:
        while self._waiting and self.in_use < self._threads:
            task = self._waiting.popleft()
            task.started = True
            self._running.add(task)
            self.in_use += 1
            if self._spawned < self.in_use:
                self._spawned += 1
                name = f"{self._name}-{self._spawned}"
                threading.Thread(target=self._serve, name=name, daemon=True).start()
            self._inbox.put(task)
        self.on_change()

    def _deadline(self, task: _Task[Any]) -> None:
        self._give_up(task, DeadlinePassed(task.started))

    def _give_up(self, task: _Task[Any], why: BastionError | None) -> None:
        """Abandon a call; `why` is what its Deferred fails with (None when the Deferred was cancelled)."""
        if task.answered:
            return
        task.answered = True
        self._stop_timer(task)
        if task.started:
            task.stuck = True
            self.stuck += 1
            self.stuck_total += 1
            if task.on_deadline is not None:
                task.on_deadline()
        else:
            self._waiting.remove(task)
        self.on_change()
        if why is not None:
            task.deferred.errback(why)

    def _back(self, task: _Task[Any], result: object, error: BaseException | None) -> None:
        """A thread has come back with the end of its call."""
        self.in_use -= 1
        self._running.discard(task)
        if task.stuck:
            self.stuck -= 1
        self._start_waiting()
        if task.answered:
            return
        task.answered = True
        self._stop_timer(task)
        if error is not None:
            task.deferred.errback(error)
        else:
            task.deferred.callback(result)

    @staticmethod
    def _stop_timer(task: _Task[Any]) -> None:
        timer, task.timer = task.timer, None
        if timer is not None and timer.active():
            timer.cancel()

    # -- in a thread of its own ------------------------------------------------------------------------------

    def _serve(self) -> None:
        while (task := self._inbox.get()) is not None:
            result: object = None
            error: BaseException | None = None
            job, task.job = task.job, None
            assert job is not None
            try:
                result = job()
            except BaseException as raised:
                if not isinstance(raised, BastionError):
                    _log.error("{name}: unexpected {kind}", name=self._name, kind=type(raised).__name__)
                # The frames of a traceback hold the job's locals, and those may be a password.
                error = raised.with_traceback(None)
                error.__context__ = error.__cause__ = None
            self._reactor.callFromThread(self._back, task, result, error)
            del task, job, result, error

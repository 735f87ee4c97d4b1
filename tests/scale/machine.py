"""Time, processors and threads, as events: what the simulation stands on."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable

Act = Callable[[], None]


class Loop:
    """Events in the order of their times; those of one time in the order in which they were asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Act]] = []
        self._count = 0

    def after(self, seconds: float, act: Act) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + seconds, self._count, act))

    def run(self, until: float = float("inf")) -> None:
        """All that happens until then, or until nothing more does."""
        while self._events and self._events[0][0] <= until:
            self.now, _, act = heapq.heappop(self._events)
            act()

    # As a `bastion.clock.Clock`, for the gateway's own limits.

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


class Process:
    """Work that one processor at most does at a time, piece by piece; what is urgent comes before what is not."""

    __slots__ = ("_processors", "running", "urgent", "waiting")

    def __init__(self, processors: Processors) -> None:
        self._processors = processors
        self.urgent: deque[tuple[float, Act]] = deque()
        self.waiting: deque[tuple[float, Act]] = deque()
        self.running = False

    def work(self, seconds: float, then: Act, urgent: bool = False) -> None:
        """`then` is called when it is done."""
        idle = not (self.running or self.urgent or self.waiting)
        (self.urgent if urgent else self.waiting).append((seconds, then))
        if idle:
            self._processors.ready(self)

    def next(self) -> tuple[float, Act] | None:
        queue = self.urgent or self.waiting
        return queue.popleft() if queue else None


class Processors:
    """So many of them, and the processes that want one, in turn. `busy` is the seconds they have worked."""

    def __init__(self, loop: Loop, count: int) -> None:
        self._loop = loop
        self._idle = count
        self._queue: deque[Process] = deque()
        self.busy = 0.0

    def ready(self, process: Process) -> None:
        """It has work and is not running."""
        self._queue.append(process)
        self._dispatch()

    def _dispatch(self) -> None:
        while self._idle and self._queue:
            process = self._queue.popleft()
            piece = process.next()
            assert piece is not None, "a process without work is not in the queue"
            self._idle -= 1
            process.running = True
            self._run(process, *piece)

    def _run(self, process: Process, seconds: float, then: Act) -> None:
        def done() -> None:
            self.busy += seconds
            self._idle += 1
            process.running = False
            if process.urgent or process.waiting:
                self._queue.append(process)
            then()
            self._dispatch()

        self._loop.after(seconds, done)


class Threads:
    """So many calls at once, in the order they came. `most` is the longest that their queue has been."""

    def __init__(self, loop: Loop, count: int) -> None:
        self._loop = loop
        self._idle = count
        self._queue: deque[tuple[float, Act]] = deque()
        self.most = 0

    def call(self, seconds: float, then: Act) -> None:
        self._queue.append((seconds, then))
        self.most = max(self.most, len(self._queue) - self._idle)
        self._dispatch()

    def _dispatch(self) -> None:
        while self._idle and self._queue:
            seconds, then = self._queue.popleft()
            self._idle -= 1
            self._loop.after(seconds, lambda then=then: self._done(then))  # type: ignore[misc]

    def _done(self, then: Act) -> None:
        self._idle += 1
        then()
        self._dispatch()

"""One running reactor for the whole pytest process, in a daemon thread of its own.

A test calls `run(function, ...)`: the function runs in the reactor's thread, a Deferred or coroutine that it
returns is waited for, and its result or exception comes back to the test. Nothing waits for ever: after
`timeout` seconds the Deferred is cancelled and `TimeoutError` names the function.

The reactor is started by the first use and stopped when the process ends; it is never stopped between tests,
because a Twisted reactor cannot be started twice. Signal handlers stay with the main thread, so
`reactor.spawnProcess` does not reap here: start processes with `subprocess`.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

from twisted.internet import reactor as _reactor  # noqa: TID251 - the one place in the tests that starts it
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.python.failure import Failure

P = ParamSpec("P")
T = TypeVar("T")

# Longer than any deadline under test, shorter than pytest's patience.
DEFAULT_TIMEOUT = 30.0
# After the cancel, how long the cancelled work may take to say so.
CANCEL_GRACE = 5.0

reactor: Any = _reactor
_lock = threading.Lock()
_thread: threading.Thread | None = None


def start() -> Any:
    """Start the reactor's thread if need be; returns the running reactor."""
    global _thread
    with _lock:
        if _thread is None:
            running = threading.Event()
            reactor.callWhenRunning(running.set)
            _thread = threading.Thread(target=_main, name="test-reactor", daemon=True)
            _thread.start()
            if not running.wait(10.0):
                raise RuntimeError("the reactor did not start")
            atexit.register(_stop)
    return reactor


def _main() -> None:
    reactor.run(installSignalHandlers=False)


def _stop() -> None:
    assert _thread is not None
    if _thread.is_alive():
        reactor.callFromThread(_stop_if_running)
        _thread.join(5.0)


def _stop_if_running() -> None:
    if reactor.running:
        reactor.stop()


def in_reactor() -> bool:
    """Whether the caller is in the reactor's thread."""
    return _thread is not None and threading.current_thread() is _thread


def submit(function: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Running:
    """Start `function` in the reactor's thread and return at once."""
    start()
    if in_reactor():
        raise RuntimeError("submit() and run() are for other threads than the reactor's")
    running = Running(getattr(function, "__qualname__", repr(function)))
    reactor.callFromThread(running._begin, lambda: function(*args, **kwargs))
    return running


def run(function: Callable[..., Any], *args: Any, timeout: float = DEFAULT_TIMEOUT, **kwargs: Any) -> Any:
    """Call `function` in the reactor's thread; return what it, its Deferred or its coroutine ends with."""
    return submit(function, *args, **kwargs).result(timeout)


class Running:
    """Work that was started in the reactor's thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._deferred: Deferred[Any] | None = None

    @property
    def done(self) -> bool:
        return self._future.done()

    def result(self, timeout: float = DEFAULT_TIMEOUT) -> Any:
        """Wait for the end. Raises what the work raised, or TimeoutError after cancelling it."""
        try:
            return self._future.result(timeout)
        except concurrent.futures.TimeoutError:
            if self._future.done():  # the work itself ended with a TimeoutError
                raise
        self.cancel()
        with contextlib.suppress(BaseException):
            self._future.result(CANCEL_GRACE)
        raise TimeoutError(f"{self._name} did not end within {timeout} s")

    def cancel(self) -> None:
        """Cancel the Deferred; the work ends with CancelledError unless it decides otherwise."""
        reactor.callFromThread(self._cancel)

    def _cancel(self) -> None:
        if self._deferred is not None:
            self._deferred.cancel()

    def _begin(self, call: Callable[[], Any]) -> None:
        try:
            outcome = call()
        except BaseException as error:
            self._future.set_exception(error)
            return
        if inspect.iscoroutine(outcome):
            outcome = Deferred.fromCoroutine(outcome)
        if isinstance(outcome, Deferred):
            self._deferred = outcome
            outcome.addCallbacks(self._future.set_result, self._failed)
        else:
            self._future.set_result(outcome)

    def _failed(self, failure: Failure) -> None:
        self._future.set_exception(failure.value or RuntimeError("a failure without an exception"))


@contextlib.contextmanager
def logged_failures() -> Iterator[list[str]]:
    """Collect what Twisted logs as an error meanwhile: unhandled Deferreds and exceptions in callbacks."""
    found: list[str] = []

    def note(event: LogEvent) -> None:
        level = event.get("log_level")
        if level is not None and level >= LogLevel.error:
            failure = event.get("log_failure")
            found.append(failure.getTraceback() if failure is not None else str(event.get("log_format")))

    observer: Any = note
    globalLogPublisher.addObserver(observer)
    try:
        yield found
    finally:
        globalLogPublisher.removeObserver(observer)


def pending_calls() -> list[str]:
    """The delayed calls that are still waiting: a test that leaves none behind can say so."""
    calls: list[str] = run(lambda: [str(call) for call in reactor.getDelayedCalls()])
    return calls

"""A client process that runs while a test talks to it: what it prints is collected by threads."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Self

STOP_TIMEOUT = 10.0


class Client:
    """`out` and `err` are everything printed so far; the waits end with an AssertionError that shows both."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=None if environment is None else dict(environment),
            start_new_session=True,  # what it starts (an askpass) ends with it
        )
        self._changed = threading.Condition()
        self._out, self._err = bytearray(), bytearray()
        assert self._process.stdout is not None and self._process.stderr is not None
        self._threads = [
            threading.Thread(target=self._collect, args=pair, daemon=True)
            for pair in ((self._process.stdout, self._out), (self._process.stderr, self._err))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def out(self) -> bytes:
        with self._changed:
            return bytes(self._out)

    @property
    def err(self) -> bytes:
        with self._changed:
            return bytes(self._err)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, data: bytes) -> None:
        """Write to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    def end_input(self) -> None:
        """Close its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def expect(self, wanted: bytes, timeout: float = 20.0, after: int = 0) -> None:
        """Return when `wanted` stands in `out`, from byte `after` on."""
        self._wait(lambda: wanted in self._out[after:], timeout, f"{wanted!r} was never printed")

    def expect_bytes(self, count: int, timeout: float = 20.0) -> None:
        """Return when at least `count` bytes have been printed."""
        self._wait(lambda: len(self._out) >= count, timeout, f"{count} bytes were never printed")

    def echo(self, line: bytes, timeout: float = 20.0) -> float:
        """Send a line to a remote `cat` (or shell) and wait until it is back; the seconds it took."""
        start, began = len(self.out), time.monotonic()
        self.send(line + b"\n")
        self.expect(line, timeout, start)
        return time.monotonic() - began

    def wait(self, timeout: float = 20.0) -> int:
        """The exit code, once it has ended and all it printed is in `out` and `err`."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it still runs; {self._shown()}") from None
        for thread in self._threads:
            thread.join(STOP_TIMEOUT)
        return code

    def close(self) -> None:
        """End it, whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(STOP_TIMEOUT)
        for thread in self._threads:
            thread.join(STOP_TIMEOUT)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait(self, true: Callable[[], bool], timeout: float, text: str) -> None:
        give_up_at = time.monotonic() + timeout
        with self._changed:
            while not true():
                left = give_up_at - time.monotonic()
                ended = not any(thread.is_alive() for thread in self._threads)
                assert left > 0 and not ended, f"{text}; {self._shown()}"
                self._changed.wait(min(left, 0.2))

    def _shown(self) -> str:
        return f"out: {bytes(self._out[-2000:])!r}\nerr: {bytes(self._err[-2000:])!r}"

    def _collect(self, stream: IO[bytes], into: bytearray) -> None:
        with contextlib.suppress(OSError, ValueError):
            while piece := stream.read(65536):
                with self._changed:
                    into += piece
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

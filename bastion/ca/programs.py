"""One run of a program whose output is wanted (L2). Blocks: call it in a thread.

Invariant: what it prints is bounded while it is read, it has a deadline, and no process of its group is left behind.
Nothing that it printed stands in an error.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from enum import Enum

from bastion.errors import ConfigError

_PIECE = 64 * 1024


class Fault(Enum):
    """What a run came to."""

    START = "cannot be started"
    TIMEOUT = "did not end in time"
    TOO_MUCH = "printed too much"
    STATUS = "ended with another status than 0"
    GIVEN_UP = "was given up"


class ProgramFailed(ConfigError):
    """As a ConfigError, its file is the program."""

    def __init__(self, program: str, fault: Fault, problem: str) -> None:
        super().__init__(program, 0, "", problem)
        self.fault = fault


class Program:
    """`output` in a thread; `kill` from anywhere, at any time."""

    def __init__(
        self,
        arguments: Sequence[str],
        timeout: float,
        most: int,
        what: str,
        environment: Mapping[str, str] | None = None,
        errors: int | None = subprocess.DEVNULL,
    ) -> None:
        """`timeout` in seconds, `most` in bytes, `what` it is called in errors. `environment` is all that it has; None:
        this process's. `errors`: where its standard error goes; not to the log, which is no place for secrets."""
        self._arguments = tuple(arguments)
        self._timeout, self._most, self._what = timeout, most, what
        self._environment, self._errors = environment, errors
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    def output(self) -> bytes:
        """All that the program prints. Raises ProgramFailed; leaves no process of its group behind."""
        until = time.monotonic() + self._timeout
        process = self._start()
        try:
            output = self._read(process, until)
            status = self._wait(process, until)
        finally:
            self.kill()
            assert process.stdout is not None
            process.stdout.close()
            process.wait()
        if status != 0:
            raise self._wrong(Fault.STATUS, f"ended with status {status}")
        return output

    def kill(self) -> None:
        """End the program and what it started in its group."""
        with self._lock:
            self._killed = True
            process = self._process
            # Once it was waited for, its number may be somebody else's.
            if process is not None and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def _start(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._killed:
                raise self._wrong(Fault.GIVEN_UP, "was given up")
            try:
                self._process = subprocess.Popen(
                    self._arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    start_new_session=True,
                    cwd="/",
                    env=self._environment,
                )
            except (OSError, ValueError) as error:
                raise self._wrong(Fault.START, f"cannot be started ({type(error).__name__})") from None
            return self._process

    def _read(self, process: subprocess.Popen[bytes], until: float) -> bytes:
        """All it prints, until it closes its output or the time is over."""
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        os.set_blocking(descriptor, False)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        output = bytearray()
        while True:
            left = until - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise self._late()
            try:
                piece = os.read(descriptor, _PIECE)
            except BlockingIOError:
                continue
            if not piece:
                return bytes(output)
            output += piece
            if len(output) > self._most:
                raise self._wrong(Fault.TOO_MUCH, "printed too much")

    def _wait(self, process: subprocess.Popen[bytes], until: float) -> int:
        """Its exit status. WNOWAIT leaves its number taken until `kill` is done with its group."""
        descriptor = os.pidfd_open(process.pid)
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll(max(until - time.monotonic(), 0) * 1000)
        finally:
            os.close(descriptor)
        found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if found is None:
            raise self._late()
        return found.si_status

    def _late(self) -> ProgramFailed:
        return self._wrong(Fault.TIMEOUT, f"did not end within {self._timeout:g} s")

    def _wrong(self, fault: Fault, problem: str) -> ProgramFailed:
        return ProgramFailed(self._arguments[0], fault, f"{self._what} {problem}")

"""Passwords for targets, from a file or a program (L2). Everything here blocks: call it in a thread.

Invariant: a secret is returned and kept nowhere; no error text holds a byte of it, nor of what a program
wrote. What the engineer reads (`problem`) names no path; what the operator reads (the whole ConfigError) does.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Sequence

from bastion.errors import ConfigError

MAX_SECRET = 1024
"""Bytes of a password; OpenSSH's sshd takes no longer one."""

MAX_OUTPUT = 64 * 1024
"""Bytes of a file or of a program's output that are looked at: `pass show` prints notes below the password."""


def read_secret_file(path: str | os.PathLike[str], what: str = "password") -> bytes:
    """The first line of a file that only its owner and group can read. Raises ConfigError.

    Group may read it (0640), as with other secrets of the configuration: systemd and configuration management
    hand them out so.
    """
    name = os.fspath(path)
    try:
        # O_NONBLOCK: a FIFO in the place of the file must not hang the login.
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            mode = stat.S_IMODE(status.st_mode)
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(name, 0, "", f"the {what}'s file is not a regular file")
            if mode & 0o027:
                problem = f"the {what}'s file lets others in (mode {mode:04o})"
                raise ConfigError(name, 0, "", problem, f"chmod 600 {name}")
            data = os.read(descriptor, MAX_OUTPUT)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "bad path"
        raise ConfigError(name, 0, "", f"the {what}'s file cannot be read: {why}") from None
    return _first_line(data, name, f"the {what}'s file", what)


def check_program(program: str, what: str = "the password's command") -> None:
    """Refuse a program that is missing, cannot be run, or can be replaced by others. Raises ConfigError."""
    try:
        status = os.stat(program)
    except (OSError, ValueError):
        raise ConfigError(program, 0, "", f"{what} does not exist") from None
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode) or not os.access(program, os.X_OK):
        raise ConfigError(program, 0, "", f"{what} is not a program that can be run")
    if mode & 0o022:
        problem = f"{what} can be replaced by others (mode {mode:04o})"
        raise ConfigError(program, 0, "", problem, f"chmod go-w {program}")


class SecretCommand:
    """One run of a program that prints a password. `run` in a thread; `kill` from anywhere, at any time."""

    def __init__(self, arguments: Sequence[str], timeout: float) -> None:
        self._arguments = tuple(arguments)
        self._timeout = timeout
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    def run(self) -> bytes:
        """The first line that the program prints. Raises ConfigError; leaves no process of its group behind."""
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
            raise self._wrong(f"ended with status {status}")
        return _first_line(output, self._arguments[0], "the password's command")

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
                raise self._wrong("was given up")
            try:
                self._process = subprocess.Popen(
                    self._arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,  # it may hold the secret, and the gateway's log is no place for it
                    start_new_session=True,
                    cwd="/",
                )
            except (OSError, ValueError) as error:
                raise self._wrong(f"cannot be started ({type(error).__name__})") from None
            return self._process

    def _read(self, process: subprocess.Popen[bytes], until: float) -> bytes:
        """All it prints, at most MAX_OUTPUT, until it closes its output or the time is over."""
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        os.set_blocking(descriptor, False)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        output = bytearray()
        while True:
            left = until - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise self._wrong(f"did not end within {self._timeout:g} s")
            try:
                piece = os.read(descriptor, MAX_OUTPUT)
            except BlockingIOError:
                continue
            if not piece:
                return bytes(output)
            output += piece
            if len(output) > MAX_OUTPUT:
                raise self._wrong("printed too much")

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
            raise self._wrong(f"did not end within {self._timeout:g} s")
        return found.si_status

    def _wrong(self, problem: str) -> ConfigError:
        return ConfigError(self._arguments[0], 0, "", f"the password's command {problem}")


def _first_line(data: bytes, name: str, what: str, secret: str = "password") -> bytes:
    line = data.partition(b"\n")[0].rstrip(b"\r")
    if not line:
        raise ConfigError(name, 0, "", f"{what} holds no {secret} in its first line")
    if len(line) > MAX_SECRET:
        raise ConfigError(name, 0, "", f"the first line of {what} is longer than {MAX_SECRET} bytes")
    return line

"""Passwords for targets, from a file or a program (L2). Everything here blocks: call it in a thread.

Invariant: a secret is returned and kept nowhere; no error text holds a byte of it, nor of what a program
wrote. What the engineer reads (`problem`) names no path; what the operator reads (the whole ConfigError) does.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Final

from bastion.ca.programs import Program
from bastion.errors import ConfigError

MAX_SECRET = 1024
"""Bytes of a password; OpenSSH's sshd takes no longer one."""

MAX_OUTPUT = 64 * 1024
"""Bytes of a file or of a program's output that are looked at: `pass show` prints notes below the password."""

_COMMAND: Final = "the password's command"


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


def bearer(path: str | os.PathLike[str] | None, what: str) -> dict[str, str]:
    """The header that shows a token (RFC 6750), none without a file. Raises ConfigError."""
    return (
        {} if path is None else {"Authorization": "Bearer " + read_secret_file(path, what).decode("latin-1")}
    )


def check_program(program: str, what: str = _COMMAND) -> None:
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


class SecretCommand(Program):
    """One run of a program that prints a password. `run` in a thread; `kill` from anywhere, at any time."""

    def __init__(self, arguments: Sequence[str], timeout: float) -> None:
        super().__init__(arguments, timeout, MAX_OUTPUT, _COMMAND)
        self._name = arguments[0]

    def run(self) -> bytes:
        """The first line that the program prints. Raises ConfigError; leaves no process of its group behind."""
        return _first_line(self.output(), self._name, _COMMAND)


def _first_line(data: bytes, name: str, what: str, secret: str = "password") -> bytes:
    line = data.partition(b"\n")[0].rstrip(b"\r")
    if not line:
        raise ConfigError(name, 0, "", f"{what} holds no {secret} in its first line")
    if len(line) > MAX_SECRET:
        raise ConfigError(name, 0, "", f"the first line of {what} is longer than {MAX_SECRET} bytes")
    return line

"""A terminal in which an ssh runs: typed into like a person does, read like a screen. Only pexpect is behind it."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Self

import pexpect

from tests.support.doors import Door

TIMEOUT = 20.0
# Typed with a quote in it, so that the echo of the command is not taken for the prompt.
PROMPT = "bastion-test> "
SET_PROMPT = "PS1='bastion''-test> '; unset PROMPT_COMMAND\r"


class Terminal:
    """A shell on the target. `shown` is every byte that ssh printed, `typed` every byte it was given."""

    def __init__(
        self, door: Door, *arguments: str, options: Sequence[str] = (), size: tuple[int, int] = (24, 80)
    ) -> None:
        self._log, self.typed = io.BytesIO(), b""
        program, *rest = door.command("ssh", "-tt", *options, door.host, *arguments)
        environment = {**door.environment(), "TERM": "xterm-256color"}
        self._child = pexpect.spawn(program, rest, env=environment, timeout=TIMEOUT, dimensions=size)
        self._child.logfile_read = self._log
        self._child.delaybeforesend = None
        if not arguments:
            self._child.expect(r"[#$] ")  # whatever the login shell's prompt is
            self.type(SET_PROMPT)
            self._child.expect_exact(PROMPT)

    @property
    def shown(self) -> bytes:
        return self._log.getvalue()

    def type(self, text: str) -> None:
        self.typed += text.encode()
        self._child.send(text)

    def expect(self, text: str, timeout: float = TIMEOUT) -> None:
        """Wait until exactly this is shown."""
        self._child.expect_exact(text, timeout)

    def expect_prompt(self) -> None:
        self.expect(PROMPT)

    def ask(self, command: str) -> str:
        """Type a command; what it answered, without the echo."""
        self.type(command + "\r")
        self.expect_prompt()
        lines = str(self._child.before.decode()).replace("\x1b[?2004h", "").replace("\x1b[?2004l", "")
        return re.sub(r"\r+", "", lines).strip("\n").rpartition("\n")[2]

    def until(self, command: str, answer: str, tries: int = 100) -> None:
        """Ask again until this is the answer: for what arrives on its own time, as a window change does."""
        for _ in range(tries):
            if self.ask(command) == answer:
                return
        raise AssertionError(f"{command} never said {answer}: {self.shown[-500:]!r}")

    def resize(self, rows: int, cols: int) -> None:
        self._child.setwinsize(rows, cols)

    def leave(self, command: str) -> None:
        """Type what ends the shell and wait for ssh to end."""
        self.type(command + "\r")
        self.expect_end()

    def expect_end(self) -> None:
        self._child.expect(pexpect.EOF)
        self._child.wait()
        self._child.close()

    @property
    def exit_status(self) -> int | None:
        return self._child.exitstatus

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close(force=True)

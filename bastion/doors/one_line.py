"""One line that a client sends to a command of the lobby: a key from a file, a code that somebody types.

Invariants: no more than `LINE_MAX` bytes are kept, and they are waited for no longer than `LINE_WAIT`; without a
terminal the line ends with the client's end of file, so that a second line is seen and never passed over.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from twisted.internet.defer import Deferred

from bastion.clock import DelayedCall, Timers
from bastion.errors import BastionError

LINE_MAX: Final = 16 * 1024
"""Bytes of it. The line of an RSA key of 16,384 bits has 2.8 KiB."""

LINE_WAIT: Final = 10.0
"""Seconds for all of it, from the moment at which it is asked for."""

_ENDS: Final = (b"\r", b"\n", b"\x04")
"""What ends a line that is typed on a terminal: Return and Ctrl-D."""


class LineFault(StrEnum):
    """Why there is no line."""

    LONG = "long"
    LATE = "late"
    SEVERAL = "several"
    NONE = "none"
    NO_TEXT = "no_text"


class NoLine(BastionError):
    """There is none, and why."""

    def __init__(self, fault: LineFault, text: str) -> None:
        super().__init__(text)
        self.fault, self.text = fault, text


class OneLine:
    """Collects what comes from the beginning on; `read` says when somebody wants it."""

    def __init__(self, timers: Timers, terminal: bool = False) -> None:
        self._timers = timers
        self._terminal = terminal
        self._kept = bytearray()
        self._ended = False
        self._answer: Deferred[str] | None = None
        self._timer: DelayedCall | None = None

    def read(self, wait: float = LINE_WAIT) -> Deferred[str]:
        """The line, without blanks and line ends around it. Fails with NoLine. Cancelling it is leaving."""
        assert self._answer is None
        answer: Deferred[str] = Deferred(lambda _: self.stop())
        self._answer = answer
        self._timer = self._timers.callLater(wait, self._late)
        self._look()
        return answer

    def take(self, data: bytes) -> None:
        """More of it; what is beyond the limit is dropped, and nobody waits for its end."""
        if not self._ended:
            self._kept += data[: LINE_MAX + 1 - len(self._kept)]
            self._look()

    def hand_over(self) -> bytes:
        """What has come so far, for somebody else; the rest is for him too."""
        kept = bytes(self._kept)
        self.stop()
        return kept

    def end(self) -> None:
        """The client sends no more."""
        self._ended = True
        self._look()

    def stop(self) -> None:
        """Nobody waits for it any more."""
        self._kept.clear()
        self._ended = True
        self._settle()

    def _look(self) -> None:
        if self._answer is None:
            return
        if len(self._kept) > LINE_MAX:
            self._fail(LineFault.LONG, f"that is longer than {LINE_MAX >> 10} KiB")
        elif self._ended or (self._terminal and any(end in self._kept for end in _ENDS)):
            self._whole()

    def _whole(self) -> None:
        data = bytes(self._kept)
        if self._terminal:
            for end in _ENDS:
                data = data.partition(end)[0]
        try:
            text = data.decode("utf-8").lstrip("\ufeff")  # which PowerShell puts before what it pipes
        except UnicodeDecodeError:
            self._fail(LineFault.NO_TEXT, "that is no text")
            return
        lines = [line for line in text.replace("\r", "\n").split("\n") if line.strip(" \t")]
        if len(lines) == 1:
            answer = self._settle()
            if answer is not None:
                answer.callback(lines[0].strip(" \t"))
        elif lines:
            self._fail(LineFault.SEVERAL, f"{len(lines)} lines came where one was expected")
        else:
            self._fail(LineFault.NONE, "nothing came")

    def _late(self) -> None:
        self._timer = None
        self._fail(LineFault.LATE, "it did not come in time")

    def _fail(self, fault: LineFault, text: str) -> None:
        answer = self._settle()
        if answer is not None:
            answer.errback(NoLine(fault, text))

    def _settle(self) -> Deferred[str] | None:
        answer, self._answer = self._answer, None
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        self._kept.clear()
        return answer

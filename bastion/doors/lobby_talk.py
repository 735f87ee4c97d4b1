"""A conversation on a session channel of the lobby: questions, a line for each answer.

On a terminal the client shows nothing of what is typed. Invariants: one question at a time, each with a timer; of an
answer no more is kept than one may be long; a channel that closes ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

from bastion.clock import DelayedCall, Timers
from bastion.doors.door import Outer
from bastion.errors import LimitReason, Refused
from bastion.userauth.keyboard_interactive import MAX_ANSWER, Answers
from bastion.wire.userauth import Prompt

_ENDS = (b"\r"[0], b"\n"[0])
_ERASES = (0x08, 0x7F)
_GIVES_UP = (0x03, 0x04)  # Ctrl-C, Ctrl-D


class Talk:
    """One call of a command on one session channel. `write` sends text with LF line ends, `end` ends the command."""

    def __init__(
        self,
        outer: Outer,
        terminal: bool,
        write: Callable[[str], None],
        end: Callable[[int], None],
    ) -> None:
        self._outer = outer
        self._clock: Timers = outer.gateway.reactor
        self._terminal = terminal
        self._write: Callable[[str], None] | None = write
        self._end: Callable[[int], None] | None = end
        self.asked: Deferred[Answers] | None = None
        self._timer: DelayedCall | None = None
        self._line = bytearray()
        self._running: Deferred[None] | None = None
        self._waiting = False

    def run(self, talk: Coroutine[Any, Any, None]) -> None:
        """It ends in `end`, or in `stop`."""
        self._running = running = Deferred.fromCoroutine(talk)
        running.addErrback(self._failed)

    def stop(self) -> None:
        """The channel is gone."""
        self._write = self._end = None
        running, self._running = self._running, None
        if running is not None:
            running.cancel()

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if self._write is None or isinstance(error, CancelledError):
            return
        if isinstance(error, Refused):
            self._say(f"{error.text}\n")
        else:
            self._outer.gateway.log_failure("asking in the lobby", failure)
        self._finish(1)

    # -- questions -----------------------------------------------------------------------------------------

    def ask(self, prompts: tuple[Prompt, ...], instruction: str, timeout: float) -> Deferred[Answers]:
        """A line that is typed, or a text alone where nothing is asked. Fails with Refused."""
        if not prompts:
            self._say(f"{instruction}\n")
            return succeed(())
        (prompt,) = prompts
        asked: Deferred[Answers] = Deferred(self._cancelled)
        self.asked = asked
        self._timer = self._clock.callLater(timeout, self._late)
        self._say(f"{instruction}\n{prompt.text}")
        return asked

    def _cancelled(self, _: Deferred[Answers]) -> None:
        self._withdraw()

    def data(self, data: bytes) -> None:
        """What the engineer typed."""
        for octet in data:
            if octet in _GIVES_UP:
                self._given_up()
                return
            if self.asked is None:
                continue
            if octet in _ERASES:
                del self._line[-1:]
            elif octet in _ENDS:
                line = bytes(self._line)
                asked = self._withdraw()
                self._say("\n")
                if asked is not None:
                    asked.callback((line,))
                return  # what was typed ahead is for nobody: the next question may be another's
            elif len(self._line) < MAX_ANSWER:
                self._line.append(octet)
            else:
                self._refuse(Refused(LimitReason.AUTH_REQUESTS, "the answer is too long"))
                return

    def ended(self) -> None:
        """The engineer types no more."""
        self._given_up()

    def _given_up(self) -> None:
        if self._waiting:
            self._waiting = False
            self._finish(0)
        else:
            self._refuse(Refused(LimitReason.AUTH_REQUESTS, "nothing was given"))

    def _late(self) -> None:
        self._timer = None
        self._refuse(Refused(LimitReason.LOGIN_GRACE, "the question was not answered in time"))

    def _refuse(self, refusal: Refused) -> None:
        asked = self._withdraw()
        if asked is not None:
            asked.errback(refusal)

    def _withdraw(self) -> Deferred[Answers] | None:
        asked, self.asked = self.asked, None
        timer, self._timer = self._timer, None
        self._line.clear()
        if timer is not None and timer.active():
            timer.cancel()
        return asked

    def _say(self, text: str) -> None:
        if self._write is not None:
            self._write(text)

    def _finish(self, status: int) -> None:
        end, self._end = self._end, None
        self._running = None
        if end is not None:
            end(status)

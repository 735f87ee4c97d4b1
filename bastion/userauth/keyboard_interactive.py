"""Asking an engineer more, after the first proof and before the success: a password for the target, a factor.

The step is keyboard-interactive (RFC 4256). After a proof by another method the client is told *partial
success* and that keyboard-interactive can continue (RFC 4252 section 5.1); after a proof by
keyboard-interactive itself the exchange is still open, and the next question simply follows, so that a client
with one attempt (NumberOfPasswordPrompts) is not out of attempts.

Invariants: one question at a time, each with a timer; an answer goes to whoever asked, once, and is kept
nowhere; nothing but an answer to an open question is taken, and every request still counts against the limit
of the connection (docs/security.md, C14).
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from bastion.clock import DelayedCall, Timers
from bastion.errors import LimitReason, ProtocolError, Refused
from bastion.wire.userauth import InfoRequest, InfoResponse, Prompt, UserauthFailure

METHOD = "keyboard-interactive"

# Rounds of questions on one connection, whoever asks: a password typed wrongly twice and two factors are five.
MAX_QUESTIONS = 16
# Bytes of one answer; a password of the directory has the same limit.
MAX_ANSWER = 1024

Answers = tuple[bytes, ...]


class Questions:
    """The questions of one connection. `send` sends one message."""

    def __init__(self, send: Callable[[bytes], None], clock: Timers, exchange_open: bool) -> None:
        """`exchange_open`: the proof before was an answer, and nothing has been said since."""
        self._send: Callable[[bytes], None] | None = send
        self._clock = clock
        self._exchange_open = exchange_open
        self._asked = 0
        self._request: InfoRequest | None = None
        self._shown = False  # the client has the question, so that an answer may come
        self._answer: Deferred[Answers] | None = None
        self._timer: DelayedCall | None = None

    @property
    def waiting(self) -> bool:
        """A question is open: messages of the client are for `take_request` and `take_answer`."""
        return self._answer is not None

    def ask(self, prompts: tuple[Prompt, ...], instruction: str, timeout: float) -> Deferred[Answers]:
        """The answers, one for each prompt, or `Refused` when none come in time or the connection ends.

        Without a prompt the text alone is shown, which a client answers at once (RFC 4256 section 3.2).
        Cancelling withdraws the question. ValueError: one is open already, or there is nothing to ask or show.
        """
        if self.waiting or self._send is None or not (prompts or instruction):
            raise ValueError("nothing can be asked now")
        self._asked += 1
        answer: Deferred[Answers] = Deferred(self._cancelled)
        if self._asked > MAX_QUESTIONS:
            answer.errback(Refused(LimitReason.AUTH_REQUESTS, "too many questions on one connection"))
            return answer
        self._request = InfoRequest(instruction=instruction, prompts=prompts)
        self._answer = answer
        self._timer = self._clock.callLater(timeout, self._late)
        if self._exchange_open:
            self._show()
        else:
            self._send(UserauthFailure((METHOD,), partial=True).encode())
        return answer

    def take_request(self, method: str) -> None:
        """The client begins a method. Only keyboard-interactive leads on."""
        if self._send is None:
            return
        self._exchange_open = self._shown = False
        if method == METHOD:
            self._show()
        else:
            self._send(UserauthFailure((METHOD,), partial=False).encode())

    def take_answer(self, answer: InfoResponse) -> None:
        """The client's answers. Raises ProtocolError for those nobody asked for."""
        request = self._request
        if request is None or not self._shown:
            raise ProtocolError("an answer came to a question that was not asked")
        if len(answer.responses) != len(request.prompts):
            # RFC 4256 section 3.4: a failure; the question stays, for whoever begins the method again
            assert self._send is not None
            self._exchange_open = self._shown = False
            self._send(UserauthFailure((METHOD,), partial=False).encode())
            return
        self._exchange_open = True
        asked = self._withdraw()
        if asked is None:
            return
        if any(len(response) > MAX_ANSWER for response in answer.responses):
            asked.errback(Refused(LimitReason.AUTH_REQUESTS, "the answer is too long"))
        else:
            asked.callback(answer.responses)

    def stop(self) -> None:
        """The connection is gone."""
        self._send = None
        asked = self._withdraw()
        if asked is not None:
            asked.cancel()

    def _show(self) -> None:
        assert self._send is not None and self._request is not None
        self._exchange_open = self._shown = True
        self._send(self._request.encode())

    def _late(self) -> None:
        self._timer = None
        asked = self._withdraw()
        if asked is not None:
            asked.errback(Refused(LimitReason.LOGIN_GRACE, "the question was not answered in time"))

    def _cancelled(self, _: Deferred[Answers]) -> None:
        self._withdraw()

    def _withdraw(self) -> Deferred[Answers] | None:
        """Close the question; whoever asked, when nobody has told him yet."""
        asked, self._answer = self._answer, None
        timer, self._timer = self._timer, None
        self._request = None
        self._shown = False
        if timer is not None and timer.active():
            timer.cancel()
        return asked

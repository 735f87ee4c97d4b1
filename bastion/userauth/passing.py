"""What a target asks after it has taken our key (RFC 4256), passed on to the engineer who logs in.

The words are the target's, and targets are hostile: every line of them is shown as text, cut, and marked with the
target's name, so that nobody takes a target's question for the gateway's. The answers go to the target in padded
packets and are kept nowhere; what comes of them is the target's to say.

Invariants: rounds and questions are bounded; one round is with the engineer at a time, and the target has nothing to
say meanwhile; who goes away takes the question along.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from bastion.errors import ProtocolError, Refused, UpstreamReason
from bastion.wire.printable import not_ours, printable
from bastion.wire.userauth import InfoRequest, InfoResponse, Prompt

MAX_ROUNDS: Final = 8
"""Requests of one login, empty ones included: a code typed wrongly twice, and what PAM says after each."""

MAX_PROMPTS: Final = 4
"""Questions of one round."""

SHOWN_PROMPT: Final = 120
"""Characters of one question."""

SHOWN_TEXT: Final = 512
"""Characters of what stands above the questions."""

PassOn = Callable[[tuple[Prompt, ...], str], Deferred[tuple[bytes, ...]]]
"""Asks the engineer: prompts and an instruction, both ours by now; one answer for each prompt, or Refused."""


class PassedQuestions:
    """The questions of one login. `send` takes a message with a secret in it, `refuse` ends the login."""

    def __init__(
        self,
        target: str,
        pass_on: PassOn,
        send: Callable[[bytes], None],
        on_waiting: Callable[[bool], None],
        refuse: Callable[[Refused], None],
    ) -> None:
        self._target = target
        self._pass_on = pass_on
        self._send: Callable[[bytes], None] | None = send
        self._on_waiting = on_waiting
        self._refuse = refuse
        self._rounds = 0
        self._asking: Deferred[tuple[bytes, ...]] | None = None

    @property
    def waiting(self) -> bool:
        """A round is with the engineer."""
        return self._asking is not None

    def take(self, request: InfoRequest) -> None:
        """One round of the target's. Raises ProtocolError for one too many."""
        self._rounds += 1
        if self._rounds > MAX_ROUNDS:
            raise ProtocolError("the target asks too often")
        assert self._send is not None
        if not request.prompts:
            self._send(InfoResponse(()).encode())
            return
        if len(request.prompts) > MAX_PROMPTS:
            self._refuse(
                Refused(UpstreamReason.LOGIN_REFUSED, f"it asks {len(request.prompts)} questions at once")
            )
            return
        prompts = tuple(Prompt(marked(self._target, prompt.text), prompt.echo) for prompt in request.prompts)
        above = " ".join(text for text in (request.name, request.instruction) if text.strip())
        instruction = f"{self._target} says: {_shown(above, SHOWN_TEXT)}" if above else ""
        self._on_waiting(True)
        self._asking = asking = self._pass_on(prompts, instruction)
        asking.addCallbacks(self._answered, self._not_answered)

    def stop(self) -> None:
        """Nobody waits for an answer any more."""
        self._send = None
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()

    def _answered(self, answers: tuple[bytes, ...]) -> None:
        if self._over():
            return
        assert self._send is not None
        self._send(InfoResponse(answers).encode())

    def _not_answered(self, failure: Failure) -> None:
        if self._over() or isinstance(failure.value, CancelledError):
            return
        if isinstance(failure.value, Refused):
            self._refuse(failure.value)
        else:
            self._refuse(Refused(UpstreamReason.CREDENTIAL_FAILED, "its question could not be asked"))

    def _over(self) -> bool:
        self._asking = None
        self._on_waiting(False)
        return self._send is None


def marked(target: str, text: str) -> str:
    """A target's question as the engineer reads it: `web1 asks: Verification code: `."""
    return f"{target} asks: {_shown(text, SHOWN_PROMPT)} "


def _shown(text: str, limit: int) -> str:
    return not_ours(printable(" ".join(text.split()), limit))

"""Logging in to a target with a password, for appliances that know nothing better (RFC 4252 section 8, RFC 4256).

The target is asked first which methods it has (`none`); then comes `password`, or keyboard-interactive with
exactly one question that is not echoed. The secret is fetched only when the target is about to take it, goes
out in a padded packet and is kept by nobody here. What a target asks after it is refused, or passed on to the engineer
where its entry says `ask = true` (`userauth.passing`).

Invariants: a secret answers one hidden question, the first, and nothing else; what a target asks is bounded in number
and length and shown to the engineer only as the target's; nothing of the secret is in an error, a repr or a log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from bastion.errors import ProtocolError, Refused, UpstreamReason
from bastion.transport.packet_conn import PacketConn
from bastion.userauth.client import KEYBOARD_INTERACTIVE, SHOWN_METHODS, AskingLogin, OnBanner
from bastion.userauth.passing import PassOn
from bastion.wire.printable import printable, quoted
from bastion.wire.userauth import (
    InfoRequest,
    InfoResponse,
    KeyboardInteractiveBody,
    PasswordBody,
    UserauthFailure,
)

# Rounds of one keyboard-interactive exchange that hold no question: PAM sends one or two after the answer.
MAX_EMPTY_ROUNDS = 4
# Characters of a target's question that a refusal repeats.
SHOWN_QUESTION = 60

METHODS = ("password", KEYBOARD_INTERACTIVE)
"""In the order in which they are chosen: `password` shows us no text of the target's."""


@dataclass(frozen=True, slots=True)
class PasswordCredential:
    """Where a password comes from. `fetch(attempt)` is called with 0, 1, ... below `tries`, asking again each time.

    Its Deferred fires with the password in bytes or fails with `Refused`; cancelling it withdraws the
    question. `by_person`: somebody is asked, so the dial's timer stands still meanwhile. `source` is a word
    for the audit log. `pass_on`: whom to ask what the target, called `target`, asks after it.
    """

    fetch: Callable[[int], Deferred[bytes]]
    source: str
    tries: int = 1
    by_person: bool = False
    target: str = ""
    pass_on: PassOn | None = field(default=None, repr=False)


class PasswordLogin(AskingLogin):
    """Logs in with a password. `on_waiting(True)` is called before a person is asked, with False afterwards."""

    def __init__(
        self,
        transport: PacketConn,
        login: str,
        credential: PasswordCredential,
        on_banner: OnBanner,
        on_waiting: Callable[[bool], None],
    ) -> None:
        super().__init__(transport, login, on_banner, on_waiting, credential.target, credential.pass_on)
        self._credential: PasswordCredential | None = credential
        self._fetching: Deferred[bytes] | None = None
        self._attempt = 0
        self._answered = False
        self._empty_rounds = 0

    # -- which method --------------------------------------------------------------------------------------

    def _begin(self) -> None:
        # RFC 4252 section 5.2: the answer lists what can be used. Some appliances ask in the shell and let
        # everybody in here; that is theirs to decide.
        self._request("none")

    def _failed(self, method: str, failure: UserauthFailure) -> None:
        asked = printable(", ".join(failure.methods[:SHOWN_METHODS]))
        if method == "none":
            usable = [name for name in METHODS if name in failure.methods]
            if usable:
                self._try(usable[0])
            else:
                self._refuse(f"it takes no password; it offers {asked or 'nothing'}")
        elif self._passed is not None:
            # After a password that was taken it may ask again; within one exchange nobody knows what was wrong.
            again = self._exchanges and KEYBOARD_INTERACTIVE in failure.methods
            if not again or not self._let_ask():
                self._refuse_answers()
        elif failure.partial:
            if KEYBOARD_INTERACTIVE not in failure.methods or not self._let_ask():
                self._refuse(f"it accepted the password of {self._login} but asks for {asked}")
        elif self._attempt + 1 < self._tries and method in failure.methods:
            self._attempt += 1
            self._try(method)
        else:
            self._refuse(f"login {self._login} was refused with the password")

    @property
    def _tries(self) -> int:
        return 1 if self._credential is None else self._credential.tries

    def _try(self, method: str) -> None:
        if method == "password":
            self._fetch(self._send_password)
            return
        self._answered = False
        self._empty_rounds = 0
        self._request(method, KeyboardInteractiveBody().encode())

    # -- message 60 ----------------------------------------------------------------------------------------

    def _sixty(self, payload: bytes) -> None:
        if self._method == "password":
            # SSH_MSG_USERAUTH_PASSWD_CHANGEREQ (RFC 4252 section 8): a person must do that.
            self._refuse(f"the password of {self._login} has expired: it asks for a new one")
        elif self._method == KEYBOARD_INTERACTIVE and self._passed is None:
            self._questions(payload)
        else:
            super()._sixty(payload)

    def _questions(self, payload: bytes) -> None:
        prompts = InfoRequest.parse(payload).prompts
        if prompts and self._answered and self._pass_questions_on():
            super()._sixty(payload)
            return
        if not prompts:
            self._empty_rounds += 1
            if self._empty_rounds > MAX_EMPTY_ROUNDS:
                raise ProtocolError("too many rounds without a question")
            self._send(InfoResponse(()).encode())
            return
        question = quoted(prompts[0].text.strip(), SHOWN_QUESTION)
        if len(prompts) > 1:
            self._refuse(
                f"it asks {len(prompts)} questions at once ({question}, ...), not for a password only"
            )
        elif self._answered:
            self._refuse(f"after the password of {self._login} it asks another question: {question}")
        elif prompts[0].echo:
            self._refuse(f"it asks a question whose answer would be shown, so not for a password: {question}")
        else:
            self._answered = True
            self._fetch(self._send_answer)

    # -- the secret ----------------------------------------------------------------------------------------

    def _fetch(self, send: Callable[[bytes], None]) -> None:
        """Get the secret, and send it in the same turn. Until then the target has nothing to say."""
        assert self._credential is not None
        self._method = ""
        by_person = self._credential.by_person
        if by_person and self._on_waiting is not None:
            self._on_waiting(True)
        fetching = self._fetching = self._credential.fetch(self._attempt)

        def waited() -> bool:
            self._fetching = None
            if by_person and self._on_waiting is not None:
                self._on_waiting(False)
            return self._transport is not None

        def have(secret: bytes) -> None:
            if waited():
                send(secret)

        def have_not(failure: Failure) -> None:
            if not waited() or isinstance(failure.value, CancelledError):
                return
            if isinstance(failure.value, Refused):
                self._finish(failure.value)
            else:
                self._refuse("its password cannot be fetched now", UpstreamReason.CREDENTIAL_FAILED)

        fetching.addCallbacks(have, have_not)

    def _send_password(self, secret: bytes) -> None:
        self._request("password", PasswordBody(secret).encode(), secret=True)

    def _send_answer(self, secret: bytes) -> None:
        self._method = KEYBOARD_INTERACTIVE
        self._send(InfoResponse((secret,)).encode(), secret=True)

    def _finish(self, error: Refused | None) -> None:
        self._credential = self._on_waiting = self._transport = None  # whatever is fetched now is not sent
        fetching, self._fetching = self._fetching, None
        if fetching is not None:
            fetching.cancel()
        super()._finish(error)

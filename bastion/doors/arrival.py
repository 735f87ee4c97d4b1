"""From the last factor to a running session, on one SSH connection of an engineer: outer or inner.

While the target is being reached the engineer is shown signs of life; USERAUTH_SUCCESS goes out only when the
session is ready, so that no message of the engineer has to wait for a target. A failure is one line that is read
once, with the reference that `bastion explain` takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from bastion.clock import DelayedCall
from bastion.errors import PolicyReason, Refused
from bastion.recording.format import REF_LENGTH
from bastion.session.gateway import Gateway
from bastion.session.opening import Opening
from bastion.session.session import Session
from bastion.transport.settings import CloseReason
from bastion.transport.transport import ServerTransport
from bastion.userauth.server import UserauthService
from bastion.wire.data import byte, string
from bastion.wire.numbers import MSG_IGNORE, MSG_USERAUTH_SUCCESS, Disconnect
from bastion.wire.userauth import Prompt

# While the engineer waits for the target an IGNORE goes out this often: a client with ServerAliveInterval
# drops a silent leg.
SIGN_OF_LIFE = 5.0
# Seconds to answer a question when the login grace, which is the limit otherwise, is switched off.
ANSWER_TIME = 60.0


class Proof(Protocol):
    """The authenticator of the connection, as far as it is told of the end of its work."""

    def stop(self) -> None: ...


class Arrival:
    """One connection's way into one session. `stop` when the connection is over.

    Once the engineer is in, only `session` is left of it: who proved what, and how, is no longer kept.
    """

    __slots__ = (
        "_gateway",
        "_life",
        "_on_closed",
        "_opening",
        "_proof",
        "_transport",
        "_userauth",
        "_wording",
        "session",
    )

    def __init__(
        self, gateway: Gateway, transport: ServerTransport, userauth: UserauthService, proof: Proof
    ) -> None:
        self._gateway = gateway
        self._transport = transport
        self._userauth: UserauthService | None = userauth
        self._proof: Proof | None = proof
        self._opening: Opening | None = None
        self._life: DelayedCall | None = None
        self._on_closed: Callable[[CloseReason], None] | None = None
        self._wording: Callable[[Refused], str] = _as_it_is
        self.session: Session | None = None

    def begin(
        self,
        opening: Opening,
        on_closed: Callable[[CloseReason], None],
        wording: Callable[[Refused], str] | None = None,
    ) -> None:
        """Open the session; `on_closed` hears of the connection's end also once the session has it.

        `wording` makes the line of a refusal for this door.
        """
        assert self._userauth is not None
        self._opening, self._on_closed = opening, on_closed
        self._wording = wording or _as_it_is
        self._life = self._gateway.reactor.callLater(SIGN_OF_LIFE, self._show_life)
        opening.on_banner = self._userauth.banner
        opening.on_ask = self._ask
        opening.open(self._transport).addCallbacks(self._ready, self._failed)

    def _ask(self, prompt: str, instruction: str) -> Deferred[bytes]:
        """One hidden answer of the engineer, within the time that a login may take."""
        assert self._userauth is not None
        timeout = self._transport.settings.login_grace or ANSWER_TIME
        asked = self._userauth.ask((Prompt(prompt),), instruction, timeout)
        return asked.addCallback(lambda answers: answers[0])

    def _show_life(self) -> None:
        self._life = self._gateway.reactor.callLater(SIGN_OF_LIFE, self._show_life)
        self._transport.send_payload(byte(MSG_IGNORE) + string(b""))

    def _ready(self, session: Session) -> None:
        """The target's leg is up and the recorder runs: success and the session begin in one turn."""
        self._opening = None
        on_closed, self._on_closed = self._on_closed, None
        assert on_closed is not None
        self.succeed()
        self.session = session
        # From here the session hears of the close; the connection only counts it.
        session.start(on_client_closed=on_closed)

    def succeed(self) -> None:
        """USERAUTH_SUCCESS: from the next message on the connection protocol is spoken."""
        self._stop_waiting()
        self._stop_proving()
        self._transport.authenticated()
        self._transport.send_payload(byte(MSG_USERAUTH_SUCCESS))

    def _failed(self, failure: Failure) -> None:
        opening, self._opening = self._opening, None
        if opening is None:
            return  # the engineer left, and the opening was cancelled for that
        error = failure.value
        if not isinstance(error, Refused):
            self._gateway.log_failure("opening a session", failure)
            error = Refused(PolicyReason.NO_RULE, "the gateway failed, the operator's log says how")
        self.refuse(error, opening.session_id)

    def refuse(self, refusal: Refused, session_id: str) -> None:
        """One line, which the engineer reads once."""
        self._stop_waiting()
        line = f"bastion: {self._wording(refusal)} (ref {session_id[:REF_LENGTH]})"
        if self._userauth is not None:
            self._userauth.turn_away(line)
        else:
            self._transport.disconnect(Disconnect.BY_APPLICATION, line)

    def _stop_waiting(self) -> None:
        life, self._life = self._life, None
        if life is not None and life.active():
            life.cancel()

    def stop(self) -> None:
        """The connection is over: whatever is under way ends, and the cycles with it."""
        self._stop_waiting()
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
        self._on_closed = self.session = None
        self._stop_proving()

    def _stop_proving(self) -> None:
        userauth, self._userauth = self._userauth, None
        proof, self._proof = self._proof, None
        if userauth is not None:
            userauth.stop()
        if proof is not None:
            proof.stop()
        self._wording = _as_it_is


def _as_it_is(refusal: Refused) -> str:
    return refusal.text

"""The server's half of ssh-userauth (RFC 4252), one request at a time.

What it is for: to turn a peer's messages into calls of an `Authenticator`, and its outcomes into answers.
Invariants: a factor is counted only inside the branch that verified the signature or had the password
checked; the offered key of a query is never stored; a second request waits until the first is answered, so
the name that succeeds is the name that was checked (failures.md C4, C5, CVE-2024-45337); every request counts
against a limit, `none` and key queries too (C14); after success nothing more is listened to (RFC 4252 5.1),
but for the answers to what `ask` asks before USERAUTH_SUCCESS is sent (`ssh.questions`).

The Authenticator decides; it sees verified facts only and never a message.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from bastion.auth.certificates import read_user_certificate
from bastion.clock import DelayedCall, Timers
from bastion.errors import AuthReason, LimitReason, ProtocolError, Refused
from bastion.ssh.questions import Answers, Questions
from bastion.wire.certificates import Certificate
from bastion.wire.data import Reader, byte, string
from bastion.wire.keys import BadSignature, PublicKey
from bastion.wire.numbers import MSG_SERVICE_ACCEPT, MSG_SERVICE_REQUEST, Disconnect
from bastion.wire.userauth import (
    InfoRequest,
    InfoResponse,
    KeyboardInteractiveBody,
    PasswordBody,
    PkOk,
    Prompt,
    PublicKeyBody,
    UserauthBanner,
    UserauthFailure,
    UserauthRequest,
    signed_data,
)

# RFC 4252 section 4 asks for a limit; 20 lets an agent with many keys ask, and stops a dictionary of names.
MAX_REQUESTS = 20
# Failures of a verified kind (a wrong password, a key that signed but may not enter): OpenSSH's MaxAuthTries.
MAX_FAILURES = 6
# Requests that may wait behind the one being checked. Four of at most 64 KiB each is 256 KiB a connection.
MAX_WAITING = 4
MAX_PASSWORD = 1024
MAX_USER = 255
# A refused password is answered no sooner than this many seconds after it came, whatever the directory did.
REFUSAL_FLOOR = 0.3

# Signature algorithm -> the type its key blob must declare (RFC 8332 section 3, OpenSSH PROTOCOL.certkeys).
KEY_TYPE_OF: dict[str, str] = {
    "ssh-ed25519": "ssh-ed25519",
    "ecdsa-sha2-nistp256": "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384": "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521": "ecdsa-sha2-nistp521",
    "rsa-sha2-256": "ssh-rsa",
    "rsa-sha2-512": "ssh-rsa",
    "ssh-ed25519-cert-v01@openssh.com": "ssh-ed25519-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com": "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com": "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com": "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "rsa-sha2-256-cert-v01@openssh.com": "ssh-rsa-cert-v01@openssh.com",
    "rsa-sha2-512-cert-v01@openssh.com": "ssh-rsa-cert-v01@openssh.com",
}
CERT_SUFFIX = "-cert-v01@openssh.com"

Credential = PublicKey | Certificate


class Authenticator(Protocol):
    """Decides who a connection is. One per connection; fails Deferreds with `Refused(AuthReason, ...)`."""

    def methods(self) -> tuple[str, ...]:
        """The method names offered in USERAUTH_FAILURE, in order."""
        ...

    def attempted(self, user: str, method: str, reason: AuthReason) -> None:
        """One attempt ended. For the audit log, the meters and the penalties.

        Raises Refused when that cannot be written down and must be: the connection then ends with its text.
        """
        ...

    def none(self, user: str) -> Deferred[None]:
        """May this connection in as `user` without proof of its own?"""
        ...

    def key_known(self, user: str, credential: Credential) -> Deferred[None]:
        """Would a signature of this credential be accepted? Nothing may be remembered."""
        ...

    def key_proved(self, user: str, credential: Credential) -> Deferred[None]:
        """`credential` signed this connection's session id."""
        ...

    def password(self, user: str, password: str) -> Deferred[None]:
        """Check a directory password of 1 to 1024 bytes."""
        ...

    def prompt(self, user: str) -> str:
        """What keyboard-interactive asks. Raises Refused for a name that nobody can have."""
        ...

    def succeeded(self, user: str, method: str) -> None:
        """Every factor is there. Whoever implements this sends the success when the target is ready."""
        ...


class Transport(Protocol):
    """What this service needs of the transport below."""

    session_id: bytes

    def send_payload(self, payload: bytes) -> None: ...

    def disconnect(self, code: int, text: str) -> None: ...


class UserauthService:
    """The service object behind message numbers 50 to 79 on a server connection."""

    name = b"ssh-userauth"

    def __init__(self, transport: Transport, authenticator: Authenticator, clock: Timers) -> None:
        self._transport: Transport | None = transport
        self._authenticator: Authenticator | None = authenticator
        self._clock = clock
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._accepted = False
        self._busy = False
        self._done = False
        self._requests = 0
        self._failures = 0
        self._user: str | None = None
        self._asked: str | None = None  # the user a keyboard-interactive prompt is open for
        self._timer: DelayedCall | None = None
        self._questions: Questions | None = None  # once the proof stands, what may still be asked

    # -- messages in ---------------------------------------------------------------------------------

    def packetReceived(self, number: int, payload: bytes) -> None:
        """Take one message 5 or 50..79 without its number byte. Raises ProtocolError for garbage."""
        if self._transport is None:
            return
        if self._done:
            # RFC 4252 section 5.1: requests after success are ignored silently
            if self._questions is not None and self._questions.waiting:
                self._take_more(self._questions, number, payload)
            return
        if not self._accepted and number != MSG_SERVICE_REQUEST:
            raise ProtocolError("authentication was tried before its service was asked for")
        if number not in (MSG_SERVICE_REQUEST, 50, 61):
            raise ProtocolError(f"message {number} is not for a server")
        if self._busy:
            if len(self._waiting) >= MAX_WAITING:
                raise ProtocolError("too many authentication requests waiting")
            self._waiting.append((number, payload))
            return
        self._take(number, payload)

    def _accept_service(self, body: Reader) -> None:
        """RFC 4253 section 10. Whoever asks again (paramiko before each method, as sshd lets it) gets the same
        answer; it begins nothing and ends nothing, and counts as a request."""
        assert self._transport is not None
        service = body.string(64)
        body.end()
        if service != self.name:
            text = "only ssh-userauth can be asked for here"
            raise ProtocolError(text, Disconnect.SERVICE_NOT_AVAILABLE)
        self._accepted = True
        self._transport.send_payload(byte(MSG_SERVICE_ACCEPT) + string(service))

    def _count_request(self) -> bool:
        """One request more; False when it was one too many, and all is over."""
        self._requests += 1
        if self._requests > MAX_REQUESTS:
            self._give_up("too many authentication requests", LimitReason.AUTH_REQUESTS)
            return False
        return True

    def _take(self, number: int, payload: bytes) -> None:
        if number == MSG_SERVICE_REQUEST:
            if not self._accepted or self._count_request():
                self._accept_service(Reader(payload))
            return
        if number == 61:
            self._answer_received(InfoResponse.parse(b"\x3d" + payload))
            return
        self._asked = None
        request = UserauthRequest.parse(b"\x32" + payload)
        if not self._count_request():
            return
        if request.service != "ssh-connection":
            raise ProtocolError("only ssh-connection can follow ssh-userauth")
        # RFC 4252 section 5: the name may change. There is nothing to flush for it: until the success every
        # request is an attempt of its own, and an open question was withdrawn above.
        self._user = request.user
        self._dispatch(request)

    def _dispatch(self, request: UserauthRequest) -> None:
        assert self._authenticator is not None
        user, method = request.user, request.method
        if method == "none":
            self._run(user, "none", self._authenticator.none(user), counts=False)
        elif method not in self._authenticator.methods():
            self._refuse(user, "other", AuthReason.METHOD_NOT_OFFERED, counts=False)
        elif method == "password":
            self._password(user, PasswordBody.parse(request.body))
        elif method == "publickey":
            self._public_key(request)
        elif method == "keyboard-interactive":
            KeyboardInteractiveBody.parse(request.body)  # both fields are hints a server may ignore
            self._ask(user)
        else:
            self._refuse(user, "other", AuthReason.METHOD_NOT_OFFERED, counts=False)

    # -- more, after the proof -------------------------------------------------------------------------

    def ask(self, prompts: tuple[Prompt, ...], instruction: str, timeout: float) -> Deferred[Answers]:
        """Ask somebody whose proof stands something more, before the success is sent (`ssh.questions`).

        The texts are ours. Fires with one answer for each prompt, in bytes; fails with Refused.
        """
        if self._questions is None or self._transport is None:
            raise ValueError("nobody has proved anything yet")
        return self._questions.ask(prompts, instruction, timeout)

    def _take_more(self, questions: Questions, number: int, payload: bytes) -> None:
        if number == 61:
            questions.take_answer(InfoResponse.parse(b"\x3d" + payload))
            return
        if number not in (MSG_SERVICE_REQUEST, 50):
            raise ProtocolError(f"message {number} is not for a server here")
        self._requests += 1
        if self._requests > MAX_REQUESTS:
            raise ProtocolError("too many authentication requests")
        if number == MSG_SERVICE_REQUEST:
            self._accept_service(Reader(payload))
            return
        request = UserauthRequest.parse(b"\x32" + payload)
        if request.user != self._user or request.service != "ssh-connection":
            # RFC 4252 section 5: somebody is proved by now, and that cannot be undone
            raise ProtocolError("user and service may not change within a connection")
        if request.method == "keyboard-interactive":
            KeyboardInteractiveBody.parse(request.body)
        questions.take_request(request.method)

    # -- password and keyboard-interactive -------------------------------------------------------------

    def _password(self, user: str, body: PasswordBody) -> None:
        if body.new is not None:  # RFC 4252 section 8: we never ask for a change, so none may come
            self._refuse(user, "password", AuthReason.METHOD_NOT_OFFERED, counts=True)
            return
        self._check_password(user, "password", body.password)

    def _ask(self, user: str) -> None:
        assert self._authenticator is not None and self._transport is not None
        try:
            prompt = self._authenticator.prompt(user)
        except Refused as refusal:
            self._refuse(user, "keyboard-interactive", self._reason_of(refusal), counts=True)
            return
        self._asked = user
        self._transport.send_payload(InfoRequest(prompts=(Prompt(prompt),)).encode())

    def _answer_received(self, answer: InfoResponse) -> None:
        if self._asked is None:
            raise ProtocolError("an answer came to a question that was not asked")
        user, self._asked = self._asked, None
        if len(answer.responses) != 1:  # RFC 4256 section 3.4: the server must send a failure
            reason = AuthReason.BAD_PASSWORD if answer.responses else AuthReason.EMPTY_PASSWORD
            self._refuse(user, "keyboard-interactive", reason, counts=True)
            return
        self._check_password(user, "keyboard-interactive", answer.responses[0])

    def _check_password(self, user: str, method: str, secret: bytes) -> None:
        assert self._authenticator is not None
        if not secret:
            self._refuse(user, method, AuthReason.EMPTY_PASSWORD, counts=True)
            return
        if len(secret) > MAX_PASSWORD:
            self._refuse(user, method, AuthReason.PASSWORD_TOO_LONG, counts=True)
            return
        try:
            password = secret.decode("utf-8")
        except UnicodeDecodeError:
            self._refuse(user, method, AuthReason.BAD_PASSWORD, counts=True)
            return
        self._run(user, method, self._authenticator.password(user, password), counts=True)

    # -- public key ------------------------------------------------------------------------------------

    def _public_key(self, request: UserauthRequest) -> None:
        user, body = request.user, PublicKeyBody.parse(request.body)
        algorithm, blob, signature = body.algorithm, body.blob, body.signature
        credential = self._read_credential(user, algorithm, blob, signed=signature is not None)
        if credential is None:
            return
        assert self._authenticator is not None and self._transport is not None
        if signature is None:
            self._query(user, algorithm, blob, self._authenticator.key_known(user, credential))
            return
        key = credential.key if isinstance(credential, Certificate) else credential
        assert isinstance(key, PublicKey)
        data = signed_data(self._transport.session_id, user, request.service, algorithm, blob)
        try:
            key.verify(signature, data, algorithm.removesuffix(CERT_SUFFIX))
        except BadSignature:
            self._refuse(user, "publickey", AuthReason.BAD_SIGNATURE, counts=True)
            return
        self._run(user, "publickey", self._authenticator.key_proved(user, credential), counts=True)

    def _read_credential(self, user: str, algorithm: str, blob: bytes, signed: bool) -> Credential | None:
        """The parsed key or certificate, or None after refusing it."""
        if algorithm.startswith("sk-"):
            self._refuse(user, "publickey", AuthReason.SK_KEY_REFUSED, counts=signed)
            return None
        declared = KEY_TYPE_OF.get(algorithm)
        if declared is None:
            self._refuse(user, "publickey", AuthReason.KEY_UNSUPPORTED, counts=signed)
            return None
        malformed = AuthReason.CERT_MALFORMED if CERT_SUFFIX in algorithm else AuthReason.KEY_MALFORMED
        try:
            credential = read_user_certificate(blob) if CERT_SUFFIX in algorithm else PublicKey.parse(blob)
        except Refused as refusal:
            reason = refusal.reason if isinstance(refusal.reason, AuthReason) else malformed
            self._refuse(user, "publickey", reason, counts=True)
            return None
        except ProtocolError:
            self._refuse(user, "publickey", malformed, counts=True)
            return None
        # CVE-2026-16516 class: the blob must be of the type that the algorithm stands for.
        if Reader(blob).text(64) != declared:
            self._refuse(user, "publickey", malformed, counts=True)
            return None
        return credential

    def _query(self, user: str, algorithm: str, blob: bytes, known: Deferred[None]) -> None:
        self._busy = True

        def acceptable(_: None) -> None:
            if self._transport is not None:
                # RFC 4252 section 7: PK_OK echoes what was asked; nothing of it is kept.
                self._transport.send_payload(PkOk(algorithm, blob).encode())
            self._next()

        def refused(failure: Failure) -> None:
            self._refuse(user, "publickey", self._reason_of(failure.value), counts=False)
            self._next()

        known.addCallbacks(acceptable, refused)

    # -- outcomes --------------------------------------------------------------------------------------

    def _run(self, user: str, method: str, outcome: Deferred[None], counts: bool) -> None:
        self._busy = True
        began = self._clock.seconds()

        def proved(_: None) -> None:
            if self._transport is None or self._authenticator is None:
                return
            self._done = True
            self._waiting.clear()
            if self._report(user, method, AuthReason.OK):
                answered = method == "keyboard-interactive"
                self._questions = Questions(self._transport.send_payload, self._clock, answered)
                self._authenticator.succeeded(user, method)

        def refused(failure: Failure) -> None:
            reason = self._reason_of(failure.value)
            wait = max(0.0, began + REFUSAL_FLOOR - self._clock.seconds()) if counts else 0.0
            if wait:
                self._timer = self._clock.callLater(wait, answer, reason)
            else:
                answer(reason)

        def answer(reason: AuthReason) -> None:
            self._timer = None
            self._refuse(user, method, reason, counts)
            self._next()

        outcome.addCallbacks(proved, refused)

    @staticmethod
    def _reason_of(error: BaseException | None) -> AuthReason:
        if isinstance(error, Refused) and isinstance(error.reason, AuthReason):
            return error.reason
        return AuthReason.INTERNAL_ERROR

    def _refuse(self, user: str, method: str, reason: AuthReason, counts: bool) -> None:
        if self._transport is None or self._authenticator is None:
            return
        if not self._report(user, method, reason):
            return
        if counts:
            self._failures += 1
        if self._failures >= MAX_FAILURES:
            self._give_up("too many authentication failures", AuthReason.TOO_MANY_ATTEMPTS)
            return
        methods = self._authenticator.methods()
        self._transport.send_payload(UserauthFailure(methods, False).encode())

    def _report(self, user: str, method: str, reason: AuthReason) -> bool:
        """Tell the authenticator of an outcome. False when it cannot be written down: all is over then."""
        assert self._transport is not None and self._authenticator is not None
        try:
            self._authenticator.attempted(user, method, reason)
        except Refused as refusal:
            self.banner(f"bastion: {refusal.text}\r\n")
            self._transport.disconnect(Disconnect.BY_APPLICATION, f"bastion: {refusal.text}")
            self.stop()
            return False
        return True

    def _give_up(self, text: str, reason: AuthReason | LimitReason) -> None:
        assert self._transport is not None and self._authenticator is not None
        if isinstance(reason, LimitReason) and not self._report(
            self._user or "", "other", AuthReason.TOO_MANY_ATTEMPTS
        ):
            return
        self._transport.disconnect(Disconnect.NO_MORE_AUTH_METHODS_AVAILABLE, text)
        self.stop()

    def _next(self) -> None:
        self._busy = False
        while self._waiting and not self._busy and not self._done and self._transport is not None:
            number, payload = self._waiting.popleft()
            try:
                self._take(number, payload)
            except ProtocolError as error:
                self._transport.disconnect(error.code, error.text)
                self.stop()

    def banner(self, text: str) -> None:
        """Show `text` to the engineer before success (RFC 4252 section 5.4); it must be sanitised already."""
        if self._transport is not None:
            self._transport.send_payload(UserauthBanner(text.encode()).encode())

    def stop(self) -> None:
        """Break the cycles with the connection; late outcomes find nobody."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        self._done = True
        questions, self._questions = self._questions, None
        if questions is not None:
            questions.stop()
        self._waiting.clear()
        self._transport = None
        self._authenticator = None

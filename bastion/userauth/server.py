"""The server's half of ssh-userauth (RFC 4252), one request at a time.

What it is for: to turn a peer's messages into attempts of an `Authenticator`, and their outcomes into answers.
Invariants: an attempt is settled as soon as its outcome is known, or the connection ends, whoever still listens;
only the answer waits. A factor is counted only inside the branch that verified the signature or had the password
checked; the offered key of a query is never stored; a second request waits until the first is answered, so the
name that succeeds is the name that was checked (docs/security.md, C4 and C5; CVE-2024-45337); every request counts
against a limit, `none` and key queries too (C14); once something was proved, neither user name nor service may
change; after success nothing more is listened to (RFC 4252 5.1), but for the answers to what `ask` asks before
USERAUTH_SUCCESS is sent (`userauth.keyboard_interactive`).

The Authenticator decides; it sees verified facts only and never a message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from bastion.auth.identity import MAX_USER_NAME
from bastion.clock import DelayedCall, Timers
from bastion.errors import AuthReason, LimitReason, ProtocolError, Refused
from bastion.transport.packet_conn import PacketConn
from bastion.userauth.authenticator import Attempt, Authenticator
from bastion.userauth.keyboard_interactive import Answers, Questions
from bastion.wire.data import Reader, byte, string
from bastion.wire.numbers import (
    MSG_IGNORE,
    MSG_SERVICE_ACCEPT,
    MSG_SERVICE_REQUEST,
    MSG_USERAUTH_SUCCESS,
    Disconnect,
)
from bastion.wire.userauth import (
    HOSTBOUND,
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
# A password is answered no sooner than this many seconds after it came, right or wrong, whatever the directory did:
# who hangs up before knows nothing that he was not charged for. One that is wrong and took longer is answered after two
# or more times as long: a busy machine does not show what it had to do. Keys and certificates are nobody's guess.
ANSWER_FLOOR = 0.3
# What counts as a failure in a query too: no client of good faith sends it.
MALFORMED = frozenset((AuthReason.KEY_MALFORMED, AuthReason.CERT_MALFORMED))

SHOWN_DISCONNECT = 400
"""Bytes of a DISCONNECT's text that OpenSSH shows (packet.c: %.400s)."""

SEE_ABOVE = "the line above says why"
"""The text of a DISCONNECT whose reason is too long for it and stands in a banner."""


class UserauthService:
    """The service behind message numbers 50 to 79 on a server connection."""

    name = b"ssh-userauth"

    def __init__(self, transport: PacketConn, authenticator: Authenticator, clock: Timers) -> None:
        self._transport: PacketConn | None = transport
        self._authenticator: Authenticator | None = authenticator
        self._clock = clock
        self._waiting: deque[bytes] = deque()
        self._accepted = False
        self._busy = False
        self._done = False
        self._requests = 0
        self._failures = 0
        self._user: str | None = None
        self._partial = False  # something was proved for that name, and more is needed
        self._owing: Attempt | None = None  # all is proved but what others judge
        self._attempt: Attempt | None = None  # the one that is being judged
        self._work: Deferred[None] | None = None  # ... and who judges it
        self._asked: str | None = None  # the user a keyboard-interactive prompt is open for
        self._timer: DelayedCall | None = None
        self._answering = False  # the attempt that is judged is the answer to a question
        self._questions: Questions | None = None  # once the proof stands, what may still be asked

    # -- messages in ---------------------------------------------------------------------------------

    def receive(self, payload: bytes) -> None:
        """Take one message 5 or 50..79. Raises ProtocolError for garbage."""
        if self._transport is None:
            return
        number = payload[0]
        if self._done:
            # RFC 4252 section 5.1: requests after success are ignored silently
            if self._questions is not None and self._questions.waiting:
                self._take_more(self._questions, payload)
            return
        if not self._accepted and number != MSG_SERVICE_REQUEST:
            raise ProtocolError("authentication was tried before its service was asked for")
        if number not in (MSG_SERVICE_REQUEST, 50, 61):
            raise ProtocolError(f"message {number} is not for a server")
        if self._busy:
            if len(self._waiting) >= MAX_WAITING:
                raise ProtocolError("too many authentication requests waiting")
            self._waiting.append(payload)
            return
        self._take(payload)

    def _accept_service(self, body: Reader) -> None:
        """RFC 4253 section 10. Whoever asks again (paramiko before each method, as sshd lets it) gets the same
        answer; it begins nothing and ends nothing, and counts as a request."""
        service = body.string(64)
        body.end()
        if service != self.name:
            text = "only ssh-userauth can be asked for here"
            raise ProtocolError(text, Disconnect.SERVICE_NOT_AVAILABLE)
        self._accepted = True
        self._send(byte(MSG_SERVICE_ACCEPT) + string(service))

    def _count_request(self) -> bool:
        """One request more; False when it was one too many, and all is over."""
        self._requests += 1
        if self._requests > MAX_REQUESTS:
            self._give_up("too many authentication requests", LimitReason.AUTH_REQUESTS)
            return False
        return True

    def _take(self, payload: bytes) -> None:
        number = payload[0]
        if number == MSG_SERVICE_REQUEST:
            if not self._accepted or self._count_request():
                self._accept_service(Reader(payload, 1))
            return
        self._answering = False
        if number == 61:
            self._answer_received(InfoResponse.parse(payload))
            return
        self._asked = None
        request = UserauthRequest.parse(payload)
        if not self._count_request():
            return
        if request.service != "ssh-connection":
            raise ProtocolError("only ssh-connection can follow ssh-userauth")
        # RFC 4252 section 5: the name may change, and then everything proved so far must be flushed, or the connection
        # ended, as sshd does. An open question was withdrawn above; a failed attempt has left nothing.
        if self._partial and request.user != self._user:
            raise ProtocolError("the user name may not change between two factors")
        self._user = request.user
        self._dispatch(request)

    def _dispatch(self, request: UserauthRequest) -> None:
        assert self._authenticator is not None
        user, method, offered = request.user, request.method, self._authenticator.methods()
        if len(user.encode()) > MAX_USER_NAME:
            self._refuse(self._open("other"), AuthReason.BAD_USER_NAME, counts=True)
        elif method == "none":
            attempt = self._open("none")
            self._run(attempt, attempt.none(), counts=False)
        elif method == "password" and method in offered:
            self._password(PasswordBody.parse(request.body))
        elif method in ("publickey", HOSTBOUND) and "publickey" in offered:
            self._public_key(request)
        elif method == "keyboard-interactive" and method in offered:
            KeyboardInteractiveBody.parse(request.body)  # both fields are hints a server may ignore
            if self._owing is None:
                self._ask(user)
            else:  # what is owed is asked for by whoever hears of it
                self._answering = True
                self._proved(self._owing)
        else:
            self._refuse(self._open("other"), AuthReason.METHOD_NOT_OFFERED, counts=False)

    def _open(self, method: str) -> Attempt:
        assert self._authenticator is not None and self._user is not None
        return self._authenticator.open(self._user, method)

    # -- more, after the proof -------------------------------------------------------------------------

    def ask(self, prompts: tuple[Prompt, ...], instruction: str, timeout: float) -> Deferred[Answers]:
        """Ask somebody whose proof stands something more, before the success is sent (`userauth.keyboard_interactive`).

        The texts are ours. Fires with one answer for each prompt, in bytes; fails with Refused.
        """
        if self._questions is None or self._transport is None:
            raise ValueError("nobody has proved anything yet")
        return self._questions.ask(prompts, instruction, timeout)

    def _take_more(self, questions: Questions, payload: bytes) -> None:
        number = payload[0]
        if number == 61:
            questions.take_answer(InfoResponse.parse(payload))
            return
        if number not in (MSG_SERVICE_REQUEST, 50):
            raise ProtocolError(f"message {number} is not for a server here")
        self._requests += 1
        if self._requests > MAX_REQUESTS:
            raise ProtocolError("too many authentication requests")
        if number == MSG_SERVICE_REQUEST:
            self._accept_service(Reader(payload, 1))
            return
        request = UserauthRequest.parse(payload)
        if request.user != self._user or request.service != "ssh-connection":
            # RFC 4252 section 5: somebody is proved by now, and that cannot be undone
            raise ProtocolError("user and service may not change within a connection")
        if request.method == "keyboard-interactive":
            KeyboardInteractiveBody.parse(request.body)
        questions.take_request(request.method)

    # -- password and keyboard-interactive -------------------------------------------------------------

    def _password(self, body: PasswordBody) -> None:
        if body.new is not None:  # RFC 4252 section 8: we never ask for a change, so none may come
            self._refuse(self._open("password"), AuthReason.METHOD_NOT_OFFERED, counts=True)
            return
        self._check_password("password", body.password)

    def _ask(self, user: str) -> None:
        assert self._authenticator is not None
        try:
            prompt = self._authenticator.prompt(user)
        except Refused as refusal:
            self._refuse(self._open("keyboard-interactive"), reason_of(refusal), counts=True)
            return
        self._asked = user
        self._send(InfoRequest(prompts=(Prompt(prompt),)).encode())

    def _answer_received(self, answer: InfoResponse) -> None:
        if self._asked is None:
            raise ProtocolError("an answer came to a question that was not asked")
        self._asked = None
        if len(answer.responses) != 1:  # RFC 4256 section 3.4: the server must send a failure
            reason = AuthReason.BAD_PASSWORD if answer.responses else AuthReason.EMPTY_PASSWORD
            self._refuse(self._open("keyboard-interactive"), reason, counts=True)
            return
        self._check_password("keyboard-interactive", answer.responses[0])

    def _check_password(self, method: str, secret: bytes) -> None:
        attempt = self._open(method)
        if not secret:
            self._refuse(attempt, AuthReason.EMPTY_PASSWORD, counts=True)
            return
        if len(secret) > MAX_PASSWORD:
            self._refuse(attempt, AuthReason.PASSWORD_TOO_LONG, counts=True)
            return
        try:
            password = secret.decode("utf-8")
        except UnicodeDecodeError:
            self._refuse(attempt, AuthReason.BAD_PASSWORD, counts=True)
            return
        came_at = self._clock.seconds()  # before anything is looked at
        self._answering = method == "keyboard-interactive"
        work = attempt.answer(password) if self._answering else attempt.password(password)
        self._run(attempt, work, counts=True, came_at=came_at)

    # -- public key ------------------------------------------------------------------------------------

    def _public_key(self, request: UserauthRequest) -> None:
        """Methods `publickey` and `publickey-hostbound-v00@openssh.com` (OpenSSH PROTOCOL 3.1)."""
        assert self._transport is not None
        hostbound = request.method == HOSTBOUND
        body = PublicKeyBody.parse(request.body, hostbound)
        algorithm, blob, signature = body.algorithm, body.blob, body.signature
        attempt = self._open("publickey")
        try:
            if hostbound and body.host_key != self._transport.keys.host_key_blob:
                raise Refused(AuthReason.BAD_SIGNATURE, "the request is bound to another host key")
            credential = attempt.read_key(algorithm, blob)
            if signature is not None:
                session_id, host_key = self._transport.keys.session_id, body.host_key
                signed = signed_data(session_id, request.user, request.service, algorithm, blob, host_key)
                attempt.verify(credential, algorithm, signature, signed)
        except Refused as refusal:
            reason = reason_of(refusal)
            self._refuse(attempt, reason, counts=signature is not None or reason in MALFORMED)
            return
        if signature is None:
            # RFC 4252 section 7: PK_OK echoes what was asked; nothing of it is kept, and nothing is booked.
            known = attempt.key_known(credential)
            self._run(attempt, known, counts=False, yes=lambda: self._send(PkOk(algorithm, blob).encode()))
        else:
            self._run(attempt, attempt.key_proved(credential), counts=True)

    # -- outcomes --------------------------------------------------------------------------------------

    def _run(
        self,
        attempt: Attempt,
        work: Deferred[None],
        counts: bool,
        came_at: float | None = None,
        yes: Callable[[], None] | None = None,
    ) -> None:
        """Wait for an outcome, book it at once and answer it: a guess, which came at `came_at`, after `_wait` seconds.

        `yes` is the whole answer to a query that was answered well; without it a good outcome is a login.
        """
        self._busy = True
        self._attempt, self._work = attempt, work

        def known(reason: AuthReason) -> None:
            self._work = None
            if self._transport is None:
                return  # it was booked as abandoned when the connection ended
            self._attempt = None
            if yes is not None and reason is AuthReason.OK:
                yes()
                self._next()
                return
            if reason is AuthReason.OK and not attempt.whole:
                reason = AuthReason.PARTIAL
            if self._settle(attempt, reason):
                wait = 0.0 if came_at is None else _wait(self._clock.seconds() - came_at, reason)
                if wait > 0:
                    self._timer = self._clock.callLater(wait, answer, reason)
                else:
                    answer(reason)

        def answer(reason: AuthReason) -> None:
            self._timer = None
            if reason is AuthReason.OK and not attempt.owed:
                self._proved(attempt)
                return
            if reason in (AuthReason.OK, AuthReason.PARTIAL):
                self._partly(attempt)
            else:
                self._fail(counts)
            self._next()

        work.addCallbacks(lambda _: known(AuthReason.OK), lambda failure: known(_reason_of_failure(failure)))

    def _partly(self, attempt: Attempt) -> None:
        """RFC 4252 section 5.1: this one counts, and the methods that are named can continue."""
        assert self._authenticator is not None
        attempt.keep()
        self._partial = True
        if attempt.owed:
            self._owing = attempt
        self._send(UserauthFailure(self._authenticator.methods(), partial=True).encode())

    def _proved(self, attempt: Attempt) -> None:
        """Every factor is there. Whoever hears of it sends the success, by `succeed`, when the way is free."""
        self._done = True
        self._waiting.clear()
        self._questions = Questions(self._send, self._clock, self._answering)
        attempt.succeed()

    def show_life(self) -> None:
        """Something to read for a client that waits for its success and may give up a silent connection."""
        self._send(byte(MSG_IGNORE) + string(b""))

    def succeed(self) -> None:
        """USERAUTH_SUCCESS: from the next message on the connection protocol is spoken. Nothing is kept here."""
        transport = self._transport
        if transport is None:
            return  # the connection has ended
        self.stop()
        transport.authenticated()
        transport.send([byte(MSG_USERAUTH_SUCCESS)])

    def _refuse(self, attempt: Attempt, reason: AuthReason, counts: bool) -> None:
        """Book and answer what needs nobody's judgement."""
        if self._settle(attempt, reason):
            self._fail(counts)

    def _fail(self, counts: bool) -> None:
        if self._transport is None or self._authenticator is None:
            return
        self._failures += counts
        if self._failures >= MAX_FAILURES:
            self._give_up("too many authentication failures", AuthReason.TOO_MANY_ATTEMPTS)
            return
        self._send(UserauthFailure(self._authenticator.methods(), False).encode())

    def _settle(self, attempt: Attempt, reason: AuthReason) -> bool:
        """Book an outcome. False when it cannot be written down and must be: all is over then."""
        assert self._transport is not None
        try:
            attempt.settle(reason)
        except Refused as refusal:
            self.turn_away(f"bastion: {refusal.text}")
            self.stop()
            return False
        return True

    def _give_up(self, text: str, reason: AuthReason | LimitReason) -> None:
        assert self._transport is not None and self._authenticator is not None
        if isinstance(reason, LimitReason):
            attempt = self._authenticator.open(self._user or "", "other")
            if not self._settle(attempt, AuthReason.TOO_MANY_ATTEMPTS):
                return
        self._transport.disconnect(Disconnect.NO_MORE_AUTH_METHODS_AVAILABLE, text)
        self.stop()

    def _send(self, payload: bytes) -> None:
        if self._transport is not None:
            self._transport.send_any(payload)

    def _next(self) -> None:
        self._busy = False
        while self._waiting and not self._busy and not self._done and self._transport is not None:
            payload = self._waiting.popleft()
            try:
                self._take(payload)
            except ProtocolError as error:
                self._transport.disconnect(error.code, error.text)
                self.stop()

    def banner(self, text: str) -> None:
        """Show `text` to the engineer before success (RFC 4252 section 5.4); it must be sanitised already."""
        self._send(UserauthBanner(text.encode()).encode())

    def turn_away(self, line: str) -> None:
        """End the connection with one line that its client shows exactly once; it must be sanitised already.

        OpenSSH prints the text of a DISCONNECT whenever it prints errors, a banner only when it prints more, and of
        what is long only the first 400 bytes (packet.c). Others show the banner (dbclient, JSch), or the DISCONNECT
        (paramiko, asyncssh), or each in a place of its own (PuTTY).
        """
        if self._transport is None:
            return
        openssh = self._transport.keys.peer_version.startswith(b"SSH-2.0-OpenSSH")
        short = len(line.encode()) <= SHOWN_DISCONNECT
        if not (openssh and short):
            self.banner(line + "\r\n")
        self._transport.disconnect(Disconnect.BY_APPLICATION, line if short or not openssh else SEE_ABOVE)

    def stop(self) -> None:
        """Break the cycles with the connection. What is being judged is booked as abandoned, and given up."""
        attempt, self._attempt = self._attempt, None
        work, self._work = self._work, None
        self._owing = None
        if attempt is not None:
            with suppress(Refused):  # nobody is left who could be told that it cannot be written down
                attempt.settle(AuthReason.ABANDONED)
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        self._done = True
        questions, self._questions = self._questions, None
        if questions is not None:
            questions.stop()
        self._waiting.clear()
        self._transport = None
        authenticator, self._authenticator = self._authenticator, None
        if work is not None:
            work.cancel()
        if authenticator is not None:
            authenticator.stop()


def reason_of(refusal: Refused) -> AuthReason:
    return refusal.reason if isinstance(refusal.reason, AuthReason) else AuthReason.INTERNAL_ERROR


def _reason_of_failure(failure: Failure) -> AuthReason:
    return reason_of(failure.value) if isinstance(failure.value, Refused) else AuthReason.INTERNAL_ERROR


def _wait(took: float, reason: AuthReason) -> float:
    """Seconds until a guess is answered that took so long: until `ANSWER_FLOOR`, or of a refusal some whole number of
    times as long."""
    proved = reason in (AuthReason.OK, AuthReason.PARTIAL)
    return ANSWER_FLOOR - (took if proved else took % ANSWER_FLOOR)

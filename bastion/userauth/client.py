"""The client's half of ssh-userauth: how the gateway logs in to a target with a key (RFC 4252).

One shot: no `none`, no query (each would cost a round trip and a signature check of nothing), and with a key that
can sign in one way only the signed request goes out with the request for the service. RFC 4253 section 10 asks for
a wait between them only after a key exchange that did not authenticate the server, and all of ours do. The peer is
a target, and targets are hostile too: its banners are bounded, a success that was not asked for is a protocol error,
and a key is offered once for each way of signing that the target may know.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from twisted.internet.defer import Deferred

from bastion.errors import ProtocolError, Refused, UpstreamReason
from bastion.transport.packet_conn import PacketConn
from bastion.transport.settings import SECRET_PADDING
from bastion.userauth.passing import PassedQuestions, PassOn
from bastion.wire.certificates import Certificate
from bastion.wire.data import Reader
from bastion.wire.keys import PrivateKey, PublicKey
from bastion.wire.numbers import (
    MSG_SERVICE_ACCEPT,
    MSG_USERAUTH_BANNER,
    MSG_USERAUTH_FAILURE,
    MSG_USERAUTH_INFO_REQUEST,
    MSG_USERAUTH_SUCCESS,
)
from bastion.wire.userauth import (
    InfoRequest,
    KeyboardInteractiveBody,
    PublicKeyBody,
    ServiceRequest,
    UserauthBanner,
    UserauthFailure,
    UserauthRequest,
    signed_data,
)

# A login banner is text for a person: what is longer is cut, and more than this many are dropped; both are said.
MAX_BANNER_BYTES = 8 * 1024
MAX_BANNER_LINES = 256
MAX_BANNERS = 8
# Method names of a target that a refusal repeats.
SHOWN_METHODS = 8

_LINE_END = re.compile(rb"\r\n|\r|\n")

OnBanner = Callable[[str, int], None]
"""Hears a banner: what is kept of it, and how many bytes of it are not."""

SHA1 = "ssh-rsa"
CONNECTION = "ssh-connection"
KEYBOARD_INTERACTIVE = "keyboard-interactive"
PASSED_TRIES = 3
"""Exchanges of questions that are passed on to the engineer, as ssh itself would try."""


@dataclass(frozen=True, slots=True)
class KeyCredential:
    """A private key in memory, and the certificate or public key that goes with it.

    `algorithms` are the signature algorithms that may be tried, best first; for a certificate its type. `pass_on`: whom
    to ask what the target, called `target`, asks after it.
    """

    key: PrivateKey
    credential: PublicKey | Certificate
    algorithms: tuple[str, ...]
    target: str = ""
    pass_on: PassOn | None = field(default=None, repr=False)

    @property
    def source(self) -> str:
        return "certificate" if isinstance(self.credential, Certificate) else "key_file"


class Login:
    """One login of one connection. `done` fires with the method that let us in, or fails with `Refused`.

    It fires in the turn in which the success is read, before any later message is looked at. `legacy` names
    what the login itself used of the legacy list.
    """

    name = b"ssh-userauth"

    def __init__(self, transport: PacketConn, login: str, on_banner: OnBanner) -> None:
        self._transport: PacketConn | None = transport
        self._login = login
        self._on_banner: OnBanner | None = on_banner
        self._banners = 0
        self._accepted = False
        self._method = ""  # the method whose answer is awaited, "" when nothing is
        self.legacy: tuple[str, ...] = ()
        self.done: Deferred[str] = Deferred()

    def start(self) -> None:
        """Ask for the service; the request follows its acceptance."""
        self._send(ServiceRequest("ssh-userauth").encode())

    def receive(self, payload: bytes) -> None:
        """Take SERVICE_ACCEPT or a message 50..79 from the target."""
        if self._transport is None:
            return
        number = payload[0]
        if number == MSG_SERVICE_ACCEPT and not self._accepted:
            # Some servers leave the name out (RFC 4253 section 10 has it); both are read.
            self._accepted = True
            self._begin()
        elif number == MSG_USERAUTH_SUCCESS and self._asked:
            Reader(payload, 1).end()
            self._transport.authenticated()
            self._finish(None)
        elif number == MSG_USERAUTH_FAILURE and self._asked:
            method, self._method = self._method, ""
            self._failed(method, UserauthFailure.parse(payload))
        elif number == MSG_USERAUTH_BANNER:
            self._banner(UserauthBanner.parse(payload))
        elif number == MSG_USERAUTH_INFO_REQUEST and self._asked:
            self._sixty(payload)
        else:
            raise ProtocolError(f"message {number} is not expected from a target here")

    @property
    def _asked(self) -> bool:
        """The target has the service and a request of ours to answer."""
        return self._accepted and self._method != ""

    # -- what the ways in differ in ------------------------------------------------------------------------

    def _begin(self) -> None:
        """The service was accepted: send the first request, unless it has gone."""
        raise NotImplementedError

    def _failed(self, method: str, failure: UserauthFailure) -> None:
        """A request was answered with no, or with not yet."""
        raise NotImplementedError

    def _sixty(self, payload: bytes) -> None:
        """Message 60, whose meaning depends on the method."""
        raise ProtocolError("message 60 is not expected from a target here")

    # -- shared --------------------------------------------------------------------------------------------

    def _request(self, method: str, body: bytes = b"", secret: bool = False) -> None:
        self._method = method
        self._send(UserauthRequest(self._login, CONNECTION, method, body).encode(), secret)

    def _send(self, payload: bytes, secret: bool = False) -> None:
        """Send one message; of one with a secret in it the packet does not tell how long it is."""
        assert self._transport is not None
        self._transport.send([payload], SECRET_PADDING if secret else 0)

    def _banner(self, banner: UserauthBanner) -> None:
        self._banners += 1
        if self._on_banner is None or self._banners > MAX_BANNERS + 1:
            return
        kept = _head(banner.text) if self._banners <= MAX_BANNERS else b""
        self._on_banner(kept.decode("utf-8", "backslashreplace"), len(banner.text) - len(kept))

    def _refuse(self, text: str, reason: UpstreamReason = UpstreamReason.LOGIN_REFUSED) -> None:
        self._finish(Refused(reason, text))

    def _finish(self, error: Refused | None) -> None:
        self._transport = self._on_banner = None
        if error is None:
            self.done.callback(self._method)
        else:
            self.done.errback(error)

    def stop(self, why: Refused | None = None) -> None:
        """The connection is gone: whoever waits hears it, and why when that is known better."""
        if self._transport is not None:
            text = "it closed the connection during the login"
            self._finish(why or Refused(UpstreamReason.CLOSED, text))


def _head(banner: bytes) -> bytes:
    """As much of a banner as is shown."""
    ends = islice(_LINE_END.finditer(banner), MAX_BANNER_LINES - 1, None)
    last = next(ends, None)
    return banner[: min(MAX_BANNER_BYTES, len(banner) if last is None else last.end())]


class AskingLogin(Login):
    """A login after whose first proof the target may ask, when somebody is there to answer."""

    def __init__(
        self,
        transport: PacketConn,
        login: str,
        on_banner: OnBanner,
        on_waiting: Callable[[bool], None],
        target: str,
        pass_on: PassOn | None,
    ) -> None:
        """`on_waiting(True)` is called before a person is asked, with False afterwards."""
        super().__init__(transport, login, on_banner)
        self._on_waiting: Callable[[bool], None] | None = on_waiting
        self._target, self._pass_on = target, pass_on
        self._passed: PassedQuestions | None = None
        self._exchanges = 0

    def _let_ask(self) -> bool:
        """Let the target ask its questions, when there is somebody to answer them and it is not too often."""
        self._exchanges += 1
        if self._exchanges > PASSED_TRIES or not self._pass_questions_on():
            return False
        self._request(KEYBOARD_INTERACTIVE, KeyboardInteractiveBody().encode())
        return True

    def _pass_questions_on(self) -> bool:
        """From now on what the target asks goes to the engineer; False: nobody is to be asked."""
        if self._passed is None and self._pass_on is not None:
            assert self._on_waiting is not None
            self._passed = PassedQuestions(
                self._target, self._pass_on, self._send_answers, self._on_waiting, self._finish
            )
        return self._passed is not None

    def _sixty(self, payload: bytes) -> None:
        if self._method != KEYBOARD_INTERACTIVE or self._passed is None:
            super()._sixty(payload)
            return
        self._method = ""  # until it is answered the target has nothing to say
        self._passed.take(InfoRequest.parse(payload))

    def _send_answers(self, payload: bytes) -> None:
        self._method = KEYBOARD_INTERACTIVE
        self._send(payload, secret=True)

    def _refuse_answers(self) -> None:
        self._refuse(f"login {self._login} was refused with the answers to its questions")

    def _finish(self, error: Refused | None) -> None:
        self._on_waiting, self._pass_on = None, None
        passed, self._passed = self._passed, None
        if passed is not None:
            passed.stop()
        super()._finish(error)


class PublicKeyLogin(AskingLogin):
    """Logs in with one key or certificate, signed in each way that the target may know until one is taken."""

    def __init__(
        self,
        transport: PacketConn,
        login: str,
        credential: KeyCredential,
        on_banner: OnBanner,
        on_waiting: Callable[[bool], None] = lambda waiting: None,
    ) -> None:
        """`on_waiting(True)` is called before a person is asked, with False afterwards."""
        super().__init__(transport, login, on_banner, on_waiting, credential.target, credential.pass_on)
        self._credential: KeyCredential | None = credential
        self._left: list[str] = []
        self._hint = ""

    def start(self) -> None:
        """Ask for the service; what hangs on nothing that the target may still say follows in the same write."""
        super().start()
        if self._credential is not None and len(self._credential.algorithms) == 1:
            self._sign(self._credential.algorithms[0])

    def _begin(self) -> None:
        if self._method:
            return
        assert self._transport is not None and self._credential is not None
        algorithms = self._credential.algorithms
        offered, agreed = self._transport.keys.peer_signature_algorithms, self._transport.keys.agreed
        host_key = "" if agreed is None else agreed.host_key
        self._left = signature_order(algorithms, offered, host_key)
        if "rsa-sha2-512" in algorithms and SHA1 not in algorithms and (offered is None or SHA1 in offered):
            self._hint = (
                f'; if it knows RSA with SHA-1 only and cannot be upgraded: legacy = ["{SHA1}"] in its table'
            )
        if self._left:
            self._sign(self._left.pop(0))
        else:
            self._refuse("it takes no signature that the gateway's key can make" + self._hint)

    def _sign(self, algorithm: str) -> None:
        assert self._transport is not None and self._credential is not None
        key, blob = self._credential.key, self._credential.credential.blob
        data = signed_data(self._transport.keys.session_id, self._login, CONNECTION, algorithm, blob)
        signature = key.sign(data, algorithm.removesuffix("-cert-v01@openssh.com"))
        self.legacy = (SHA1,) if algorithm == SHA1 else ()
        self._request("publickey", PublicKeyBody(algorithm, blob, signature).encode())

    def _failed(self, method: str, failure: UserauthFailure) -> None:
        more = KEYBOARD_INTERACTIVE in failure.methods
        if more and (failure.partial or method == KEYBOARD_INTERACTIVE) and self._let_ask():
            return
        if method == KEYBOARD_INTERACTIVE:
            self._refuse_answers()
        elif failure.partial:
            asked = ", ".join(failure.methods[:SHOWN_METHODS])
            self._refuse(f"it accepted the gateway's key for {self._login} but asks for {asked}")
        elif self._left and "publickey" in failure.methods:
            self._sign(self._left.pop(0))
        else:
            self._refuse(f"login {self._login} was refused with the gateway's key" + self._hint)

    def _finish(self, error: Refused | None) -> None:
        self._credential = self._transport = None
        super()._finish(error)


def signature_order(algorithms: tuple[str, ...], offered: tuple[str, ...] | None, host_key: str) -> list[str]:
    """Which of `algorithms` (ours, best first) to try, in order.

    `offered` is the target's server-sig-algs, which counts for RSA only: other keys have one algorithm each,
    and some servers leave theirs out (RFC 8332 section 3.3). A target that said nothing and proved an RSA host
    key with SHA-1 knows nothing better: there `ssh-rsa`, where it is allowed, spares it two refusals.
    """
    if len(algorithms) == 1:
        return list(algorithms)
    if offered is not None:
        return [name for name in algorithms if name in offered]
    if host_key == SHA1:
        return sorted(algorithms, key=lambda name: name != SHA1)
    return list(algorithms)

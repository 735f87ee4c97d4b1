"""The client's half of ssh-userauth: how the gateway logs in to a target (RFC 4252).

One shot: the signed request goes out as soon as the service is accepted; no `none`, no query
(each would cost a round trip and a signature check of nothing). The peer is a target, and targets are hostile
too: its banners are bounded, a success that was not asked for is a protocol error, and a key is offered once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred

from bastion.errors import ProtocolError, Refused, UpstreamReason
from bastion.wire.certificates import Certificate
from bastion.wire.data import Reader, boolean, byte, string
from bastion.wire.keys import PublicKey
from bastion.wire.numbers import (
    MSG_SERVICE_ACCEPT,
    MSG_SERVICE_REQUEST,
    MSG_USERAUTH_BANNER,
    MSG_USERAUTH_FAILURE,
    MSG_USERAUTH_REQUEST,
    MSG_USERAUTH_SUCCESS,
)
from bastion.wire.userauth import UserauthBanner, UserauthFailure, signed_data

# A login banner is text for a person; what is longer is cut, and more than this many are dropped.
MAX_BANNER_BYTES = 8 * 1024
MAX_BANNERS = 8


class Signer(Protocol):
    """Something that signs with a key it may not show."""

    def sign(self, data: bytes, algorithm: str) -> bytes: ...


class Transport(Protocol):
    """What the login needs of the transport below."""

    session_id: bytes

    def send_payload(self, payload: bytes) -> None: ...

    def authenticated(self) -> None: ...


class PublicKeyLogin:
    """Logs in as `login` with one key or certificate. `done` fires with None, or fails with `Refused`.

    `algorithm` is the signature algorithm, for a certificate its `-cert-v01@openssh.com` form.
    `ready` is called in the same turn as the success, before any later message is looked at.
    """

    name = b"ssh-userauth"

    def __init__(
        self,
        transport: Transport,
        login: str,
        signer: Signer,
        credential: PublicKey | Certificate,
        algorithm: str,
        on_banner: Callable[[str], None],
    ) -> None:
        self._transport: Transport | None = transport
        self._login = login
        self._signer: Signer | None = signer
        self._blob = credential.blob
        self._algorithm = algorithm
        self._on_banner = on_banner
        self._banners = 0
        self._sent = False
        self.done: Deferred[None] = Deferred()

    def start(self) -> None:
        """Ask for the service; the request follows its acceptance."""
        assert self._transport is not None
        self._transport.send_payload(byte(MSG_SERVICE_REQUEST) + string(b"ssh-userauth"))

    def packetReceived(self, number: int, payload: bytes) -> None:
        """Take SERVICE_ACCEPT or a message 50..79 from the target."""
        if self._transport is None:
            return
        if number == MSG_SERVICE_ACCEPT and not self._sent:
            # Some servers leave the name out (RFC 4253 section 10 has it); both are read.
            self._request()
        elif number == MSG_USERAUTH_SUCCESS and self._sent:
            Reader(payload).end()
            self._transport.authenticated()
            self._finish(None)
        elif number == MSG_USERAUTH_FAILURE and self._sent:
            failure = UserauthFailure.parse(bytes([number]) + payload)
            self._finish(self._refusal(failure))
        elif number == MSG_USERAUTH_BANNER:
            self._banner(UserauthBanner.parse(bytes([number]) + payload))
        else:
            raise ProtocolError(f"message {number} is not expected from a target here")

    def _request(self) -> None:
        assert self._transport is not None and self._signer is not None
        self._sent = True
        data = signed_data(
            self._transport.session_id, self._login, "ssh-connection", self._algorithm, self._blob
        )
        signature = self._signer.sign(data, self._algorithm.removesuffix("-cert-v01@openssh.com"))
        # RFC 4252 section 7: the signed data without the session id is the request itself, plus the signature.
        self._transport.send_payload(
            byte(MSG_USERAUTH_REQUEST)
            + string(self._login.encode())
            + string(b"ssh-connection")
            + string(b"publickey")
            + boolean(True)
            + string(self._algorithm.encode())
            + string(self._blob)
            + string(signature)
        )
        self._signer = None

    def _refusal(self, failure: UserauthFailure) -> Refused:
        if failure.partial:
            text = (
                f"it accepted the gateway's key for {self._login} but asks for {', '.join(failure.methods)}"
            )
        else:
            text = f"login {self._login} was refused with the gateway's key"
        return Refused(UpstreamReason.LOGIN_REFUSED, text)

    def _banner(self, banner: UserauthBanner) -> None:
        self._banners += 1
        if self._banners <= MAX_BANNERS:
            self._on_banner(banner.text[:MAX_BANNER_BYTES].decode("utf-8", "replace"))

    def _finish(self, error: Refused | None) -> None:
        self._transport = None
        self._signer = None
        if error is None:
            self.done.callback(None)
        else:
            self.done.errback(error)

    def stop(self) -> None:
        """The connection is gone: whoever waits hears it."""
        if self._transport is not None:
            self._finish(Refused(UpstreamReason.CLOSED, "it closed the connection during the login"))

"""One connection of ours to a machine of the inventory, from its first byte to the login: a target, or a hop to one.

Key exchange, host key, login, in this order: no credential is made before the host key was accepted. Who reaches the
machine, and how long all of it may take, is `upstream.dial`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from bastion.errors import Refused, UpstreamReason
from bastion.policy.targets import Target
from bastion.transport.settings import ClosedBy, CloseReason
from bastion.transport.transport import Transport, client_transport
from bastion.upstream.facts import UpstreamConnected, connected, mismatch_text
from bastion.upstream.host_keys import HostKeys
from bastion.userauth.client import KeyCredential, Login, PublicKeyLogin
from bastion.userauth.password import PasswordCredential, PasswordLogin
from bastion.wire.numbers import Disconnect
from bastion.wire.printable import printable, quoted

UpstreamLogin = KeyCredential | PasswordCredential
"""What to log in with."""

MakeLogin = Callable[[], UpstreamLogin | Deferred[UpstreamLogin]]
"""Makes it, at once or, with an agent that signs, a moment later."""


class Heard:
    """What a leg tells of itself."""

    def entered(self, step: str) -> None:
        """The step before is over: kex, host_key, login or done comes now."""

    def host_key(self, outcome: str, fingerprint: str) -> None:
        """A host key was judged."""

    def banner(self, text: str, missing: int) -> None:
        """The machine's login banner, as it came, less `missing` bytes: sanitise before showing."""

    def person_asked(self, waiting: bool) -> None:
        """A person is asked, and is asked no more."""

    def connected(self, facts: UpstreamConnected) -> None:
        """It let us in."""


class Leg:
    """One try: `build` gives the transport to whoever connects it, then `log_in`."""

    def __init__(
        self,
        reactor: Any,
        keys: HostKeys,
        target: Target,
        login: tuple[str, MakeLogin],
        heard: Heard,
        name: str = "",
    ) -> None:
        """`login`: the account, and what makes the credential. `name` says in a trace whose messages they are."""
        self._reactor = reactor
        self._keys = keys
        self._target = target
        self._login_name, self._make_login = login
        self._heard = heard
        self._name = name
        self._step = ""
        self._transport: Transport | None = None
        self._secured: Deferred[None] = Deferred()  # the first key exchange is done
        self._login: Login | None = None
        self._host_key_error: Refused | None = None

    def build(self) -> Transport:
        """The protocol for a connection just made."""
        self._enter("kex")
        transport = self._transport = client_transport(
            self._keys.settings_of(self._target), self._reactor, self._check_host_key, self._name
        )
        transport.on_secure = lambda: self._secured.callback(None)
        transport.on_closed = self._closed
        return transport

    async def log_in(self, transport: Transport) -> None:
        """Wait for the host key, and log in. Raises Refused; then, and when cancelled, the transport is closed.

        It returns in the turn in which the success is read; nobody hears the transport then.
        """
        try:
            await self._secured
            await self._prove(transport)
        except BaseException:
            self._let_go(transport)
            transport.disconnect(Disconnect.BY_APPLICATION, "not going on")
            raise
        self._let_go(transport)

    def _let_go(self, transport: Transport) -> None:
        """Hear no more of it: it is somebody else's now, or nobody's."""
        transport.on_secure = transport.on_closed = transport.service = None
        self._transport = None
        if self._login is not None:
            self._login.stop()

    def _enter(self, step: str) -> None:
        self._step = step
        self._heard.entered(step)

    # -- the host key --------------------------------------------------------------------------------------

    def _check_host_key(self, blob: bytes) -> Deferred[None] | None:
        """Judge the host key before any key made with it is used. Raises Refused(HOST_KEY_*), now or later."""
        self._enter("host_key")
        try:
            later = self._keys.check(self._target, blob, self._heard.host_key)
        except Refused as refusal:
            self._host_key_error = refusal
            raise
        if later is not None:
            return later.addCallbacks(self._accepted, self._not_accepted)
        self._accepted(None)
        return None

    def _accepted(self, _: None) -> None:
        self._enter("login")

    def _not_accepted(self, failure: Failure) -> Failure:
        if isinstance(failure.value, Refused):
            self._host_key_error = failure.value
        return failure

    # -- the login -----------------------------------------------------------------------------------------

    async def _prove(self, transport: Transport) -> None:
        made, name, heard = self._make_login(), self._login_name, self._heard
        credential = await made if isinstance(made, Deferred) else made
        login: Login
        if isinstance(credential, PasswordCredential):
            login = PasswordLogin(transport, name, credential, heard.banner, heard.person_asked)
        else:
            login = PublicKeyLogin(transport, name, credential, heard.banner, heard.person_asked)
        self._login = login
        transport.service = login.receive
        login.start()
        method = await login.done
        keys = transport.keys
        assert keys.agreed is not None
        self._enter("done")
        heard.connected(connected(keys.peer_version, keys.agreed, method, credential.source, login.legacy))

    # -- what goes wrong -----------------------------------------------------------------------------------

    def _closed(self, reason: CloseReason) -> None:
        """The connection ended before the login was done: whoever waits hears why."""
        refusal = self._why_closed(reason)
        if self._login is not None:
            self._login.stop(refusal)
        elif not self._secured.called:
            self._secured.errback(refusal)

    def _why_closed(self, reason: CloseReason) -> Refused:
        transport = self._transport
        assert transport is not None
        if self._host_key_error is not None:
            return self._host_key_error
        if missing := transport.keys.mismatches:
            return Refused(UpstreamReason.KEX_FAILED, mismatch_text(missing))
        if isinstance(reason.reason, UpstreamReason):
            return Refused(reason.reason, reason.text)
        if self._step == "kex" and not transport.keys.peer_version:
            return Refused(UpstreamReason.NOT_SSH, "it does not speak SSH")
        detail = words_of(reason)
        if self._step == "login" and self._login is not None:
            what = "it broke" if reason.by is ClosedBy.US else "it closed the connection at"
            return Refused(UpstreamReason.LOGIN_REFUSED, f"{what} the login{detail}")
        return Refused(UpstreamReason.KEX_FAILED, f"the key exchange failed{detail}")


def words_of(reason: CloseReason) -> str:
    """`: text` of a closed connection, the target's own in quotation marks."""
    if not reason.text:
        return ""
    return f": {printable(reason.text) if reason.by is ClosedBy.US else quoted(reason.text)}"

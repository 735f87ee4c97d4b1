"""Reaching a target: resolve, connect, key exchange, host key, login, each step timed and each with its own words.

Possession proves permission: `Dialler.dial` takes a `Grant`, and only the policy package can make one. One timer
covers the whole way (20 s by default); whichever step it finds running is named. The addresses that were
resolved are the addresses that are tried, in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError, TimeoutError
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from bastion.ca.known_hosts import HostKeyVerdict, KnownHosts, Outcome
from bastion.clock import Clock
from bastion.errors import Reason, Refused, UpstreamReason
from bastion.policy.grant import Grant
from bastion.policy.targets import Target
from bastion.ssh.io import connect
from bastion.ssh.login import PublicKeyLogin
from bastion.ssh.resolve import resolve
from bastion.ssh.settings import CloseReason, TransportSettings
from bastion.ssh.transport import ClientTransport
from bastion.wire.certificates import Certificate
from bastion.wire.keys import PrivateKey, PublicKey
from bastion.wire.numbers import Disconnect
from bastion.wire.printable import printable

# Seconds for one address when there are more to try; the whole dial has its own limit.
ADDRESS_TIMEOUT = 5.0
# Addresses of one name that are tried: a name with more is a mistake or an attack on the dial timer.
MAX_ADDRESSES = 8


class DialObserver(Protocol):
    """Hears how a dial goes. All calls come from the reactor."""

    def phase(self, name: str, seconds: float) -> None:
        """A phase ended well: resolve, connect, kex, host_key or login."""
        ...

    def host_key(self, outcome: str, fingerprint: str) -> None:
        """A host key was judged."""
        ...

    def banner(self, text: str) -> None:
        """The target's login banner, as it came: sanitise before showing."""
        ...


@dataclass(frozen=True, slots=True)
class UpstreamLogin:
    """What to log in with: a private key in memory, and the certificate or public key that goes with it."""

    key: PrivateKey
    credential: PublicKey | Certificate
    algorithm: str


class Dialler:
    """Opens authenticated connections to targets. Shared by all sessions; holds no state of any."""

    def __init__(
        self,
        reactor: Any,
        known_hosts: KnownHosts,
        settings: TransportSettings,
        clock: Clock,
        timeout: float,
    ) -> None:
        self.reactor = reactor
        self.known_hosts = known_hosts
        self.settings = settings
        self.clock = clock
        self.timeout = timeout

    def dial(
        self, grant: Grant, login: Callable[[], UpstreamLogin], observer: DialObserver
    ) -> Deferred[ClientTransport]:
        """An authenticated transport, its receiver not yet set, or `Refused(UpstreamReason, text)`.

        The Deferred fires in the turn in which the target's success is read, before any later message of that
        read is looked at: whoever sets the receiver there misses nothing. Cancelling it closes what was opened.
        `login` is called after the host key was accepted, so no certificate is made for a host that is not the
        target.
        """
        if not isinstance(grant, Grant):
            raise TypeError("dialling needs a Grant")
        return _Dial(self, grant, login, observer).start()

    def settings_of(self, target: Target) -> TransportSettings:
        """The algorithms for one target: host keys that can be verified come first."""
        names = self.known_hosts.algorithms_for(target_names(target), target.port)
        usable = tuple(name for name in names if name in self.settings.algorithms.host_keys)
        return replace(self.settings, algorithms=replace(self.settings.algorithms, host_keys=usable))


def target_names(target: Target) -> tuple[str, ...]:
    """The names under which a target's host key may be known: where it is dialled, and what it is called."""
    return tuple(dict.fromkeys((target.host, *target.names)))


class _Dial:
    """One attempt. `_finish` is reached exactly once."""

    def __init__(
        self, dialler: Dialler, grant: Grant, login: Callable[[], UpstreamLogin], observer: DialObserver
    ) -> None:
        self._dialler = dialler
        self._reactor = dialler.reactor
        self._target = grant.target
        self._login_name = grant.login
        self._make_login = login
        self._observer = observer
        self._addresses: list[str] = []
        self._step = "resolve"
        self._began = self._reactor.seconds()
        self._deadline = self._reactor.callLater(dialler.timeout, self._late)
        self._transport: ClientTransport | None = None
        self._login: PublicKeyLogin | None = None
        self._connector: Any = None
        self._host_key_error: Refused | None = None
        self._result: Deferred[ClientTransport] | None = Deferred(lambda _: self._cancelled())

    def start(self) -> Deferred[ClientTransport]:
        result = self._result
        assert result is not None
        resolve(self._reactor, self._target.host).addCallbacks(self._resolved, self._unresolved)
        return result

    # -- resolve and connect -----------------------------------------------------------------------------

    def _resolved(self, addresses: list[str]) -> None:
        if self._result is None:
            return
        self._phase_done("connect")
        self._addresses = addresses[:MAX_ADDRESSES]
        self._try_next()

    def _unresolved(self, failure: Failure) -> None:
        self._fail(UpstreamReason.NAME_NOT_FOUND, f"the name {self._target.host} does not resolve")

    def _try_next(self) -> None:
        address = self._addresses.pop(0)
        timeout = ADDRESS_TIMEOUT if self._addresses else self._dialler.timeout
        self._connector = connect(self._reactor, address, self._target.port, _Factory(self), timeout)

    def connect_failed(self, failure: Failure) -> None:
        """One address did not answer; the next one is tried, or the last one's reason told."""
        if self._result is None:
            return
        if self._addresses:
            self._try_next()
        elif isinstance(failure.value, ConnectionRefusedError):
            self._fail(UpstreamReason.CONNECTION_REFUSED, "connection refused")
        elif isinstance(failure.value, TimeoutError):
            self._fail(UpstreamReason.CONNECT_TIMEOUT, "no answer to the connection attempt")
        else:
            self._fail(UpstreamReason.UNREACHABLE, "no route to it")

    def build_transport(self) -> ClientTransport:
        """The protocol for a connection just made."""
        self._phase_done("kex")
        transport = ClientTransport(
            self._dialler.settings_of(self._target), self._reactor, check_host_key=self._check_host_key
        )
        transport.on_secure = self._secure
        transport.on_closed = self._closed
        self._transport = transport
        return transport

    # -- host key and login ------------------------------------------------------------------------------

    def _check_host_key(self, blob: bytes) -> None:
        """Judge the host key before any key made with it is used. Raises Refused(HOST_KEY_*)."""
        self._phase_done("host_key")
        target = self._target
        verdict = self._dialler.known_hosts.check(
            target_names(target), target.port, blob, self._dialler.clock.time()
        )
        self._observer.host_key(verdict.outcome, verdict.fingerprint)
        refusal = host_key_refusal(target.name, verdict)
        if refusal is not None:
            self._host_key_error = refusal
            raise refusal
        self._phase_done("login")

    def _secure(self) -> None:
        assert self._transport is not None
        transport = self._transport
        try:
            login = self._make_login()
        except Refused as refusal:
            self._fail(refusal.reason, refusal.text)
            return
        self._login = PublicKeyLogin(
            transport, self._login_name, login.key, login.credential, login.algorithm, self._observer.banner
        )
        transport.service = self._login
        self._login.done.addCallbacks(self._logged_in, self._login_refused)
        self._login.start()

    def _logged_in(self, _: None) -> None:
        if self._result is None or self._transport is None:
            return
        self._phase_done("done")
        self._finish(self._transport)

    def _login_refused(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, Refused):
            self._fail(error.reason, error.text)
        else:
            self._fail(UpstreamReason.CLOSED, "the login broke")

    # -- endings -----------------------------------------------------------------------------------------

    def _closed(self, reason: CloseReason) -> None:
        """The connection ended before the login was done."""
        if self._host_key_error is not None:
            self._fail(self._host_key_error.reason, self._host_key_error.text)
        elif isinstance(reason.reason, UpstreamReason):
            self._fail(reason.reason, reason.text)
        elif self._step == "kex" and self._transport is not None and not self._transport.peer_version:
            self._fail(UpstreamReason.NOT_SSH, "it does not speak SSH")
        elif self._step == "login" and self._login is not None:
            detail = f": {printable(reason.text)}" if reason.text else ""
            self._fail(UpstreamReason.LOGIN_REFUSED, f"it closed the connection at the login{detail}")
        else:
            detail = f": {printable(reason.text)}" if reason.text else ""
            self._fail(UpstreamReason.KEX_FAILED, f"the key exchange failed{detail}")

    def _late(self) -> None:
        seconds = f"{self._dialler.timeout:g} s"
        if self._step in ("resolve", "connect"):
            self._fail(UpstreamReason.CONNECT_TIMEOUT, f"no answer within {seconds} (step: {self._step})")
        else:
            self._fail(UpstreamReason.TIMEOUT, f"not ready within {seconds} (step: {self._step})")

    def _cancelled(self) -> None:
        self._finish(None)

    def _phase_done(self, next_step: str) -> None:
        now = self._reactor.seconds()
        self._observer.phase(self._step, now - self._began)
        self._step, self._began = next_step, now

    def _fail(self, reason: Reason, text: str) -> None:
        prefix = f"{self._target.name}: "
        self._finish(Refused(reason, prefix + text.removeprefix(prefix)))

    def _finish(self, outcome: ClientTransport | Refused | None) -> None:
        result, self._result = self._result, None
        if result is None:
            return
        if self._deadline.active():
            self._deadline.cancel()
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.on_secure = transport.on_closed = transport.service = None
        if self._login is not None:
            self._login.stop()
        if isinstance(outcome, ClientTransport):
            result.callback(outcome)
            return
        if transport is not None:
            transport.disconnect(Disconnect.BY_APPLICATION, "not going on")
        elif self._connector is not None:
            self._connector.disconnect()
        if outcome is not None:
            result.errback(outcome)


class _Factory(ClientFactory):
    """Hands Twisted's connection events to the dial."""

    noisy = False

    def __init__(self, dial: _Dial) -> None:
        self._dial: _Dial | None = dial

    def buildProtocol(self, addr: object) -> ClientTransport | None:
        dial, self._dial = self._dial, None
        return None if dial is None else dial.build_transport()

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        dial, self._dial = self._dial, None
        if dial is not None:
            dial.connect_failed(reason)


def host_key_refusal(name: str, verdict: HostKeyVerdict) -> Refused | None:
    """The refusal that goes with a verdict on a host key, or None when the key is good."""
    shown = verdict.fingerprint
    if verdict.accepted:
        return None
    if verdict.outcome is Outcome.CHANGED:
        old = ", ".join(verdict.known_fingerprints)
        reason, text = (
            UpstreamReason.HOST_KEY_CHANGED,
            f"the host key has changed: known {old}, shown {shown}; "
            f"if that is right: bastion target pin {name} {shown}",
        )
    elif verdict.outcome is Outcome.REVOKED:
        reason, text = UpstreamReason.HOST_KEY_REVOKED, f"the host key {shown} is revoked"
    elif verdict.outcome is Outcome.CERT_INVALID:
        reason, text = UpstreamReason.HOST_CERT_INVALID, f"its host certificate is not good: {verdict.text}"
    else:
        reason, text = (
            UpstreamReason.HOST_KEY_UNKNOWN,
            f"the host key {shown} is not known; if it is right: bastion target pin {name} {shown}",
        )
    return Refused(reason, f"{name}: {text}")

"""Reaching a target: resolve, connect, key exchange, host key, login, each step timed and each with its own words.

Possession proves permission: `Dialler.dial` takes a `Grant`, and only the policy package can make one. One timer
covers the whole way (20 s by default); whichever step it finds running is named. The addresses that were
resolved and judged (`policy.addresses`) are the addresses that are tried, in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from bastion.auth.budget import Purse
from bastion.ca.known_hosts import HostKeyVerdict, KnownHosts, Outcome, plain_key
from bastion.clock import Clock
from bastion.errors import Refused, UpstreamReason
from bastion.net.connect import reach
from bastion.net.local_addresses import OwnPlaces
from bastion.policy.addresses import Barred, Own, barred, literal_network
from bastion.policy.grant import Grant
from bastion.policy.targets import Target
from bastion.transport.settings import ClosedBy, CloseReason, TransportSettings
from bastion.transport.transport import Transport, client_transport
from bastion.upstream.facts import UpstreamConnected, connected, mismatch_text
from bastion.upstream.sshfp import Records, Sshfp, SshfpFailed
from bastion.userauth.client import KeyCredential, Login, PublicKeyLogin
from bastion.userauth.password import PasswordCredential, PasswordLogin
from bastion.wire.legacy import LEGACY_HOST_KEYS
from bastion.wire.numbers import Disconnect
from bastion.wire.printable import printable, quoted


class DialObserver(Protocol):
    """Hears how a dial goes. All calls come from the reactor."""

    def phase(self, name: str, seconds: float) -> None:
        """A phase ended well: resolve, connect, kex, host_key or login."""
        ...

    def host_key(self, outcome: str, fingerprint: str) -> None:
        """A host key was judged."""
        ...

    def banner(self, text: str, missing: int) -> None:
        """The target's login banner, as it came, less `missing` bytes: sanitise before showing."""
        ...

    def connected(self, facts: UpstreamConnected) -> None:
        """The target let us in: the last call, before the dial returns."""
        ...


UpstreamLogin = KeyCredential | PasswordCredential
"""What to log in with."""

MakeLogin = Callable[[], UpstreamLogin | Deferred[UpstreamLogin]]
"""Makes it, at once or, with an agent that signs, a moment later."""

MAX_REMEMBERED = 8192
"""Targets whose settings are looked up instead of made: a large inventory. They share a few values, so an entry is a
key and a reference, 300 bytes."""


class Dialler:
    """Opens authenticated connections to targets. Shared by all sessions; holds no state of any."""

    def __init__(
        self,
        reactor: Any,
        known_hosts: KnownHosts,
        settings: TransportSettings,
        clock: Clock,
        timeout: float,
        own: Own | None = None,
        sshfp: Sshfp | None = None,
    ) -> None:
        """`own` tells where the gateway itself is; without it no port is known to be the gateway's. `sshfp` asks DNS
        about the host keys of targets that say so."""
        self.reactor = reactor
        self.known_hosts = known_hosts
        self.settings = settings
        self.clock = clock
        self.timeout = timeout
        self._made: dict[tuple[tuple[str, ...], tuple[str, ...]], TransportSettings] = {}
        self._made_for: dict[tuple[tuple[str, ...], int, tuple[str, ...]], TransportSettings] = {}
        self.own = own or OwnPlaces()
        self.sshfp = sshfp

    def close(self) -> None:
        """Nobody dials any more: give up the threads that ask about host keys."""
        if self.sshfp is not None:
            self.sshfp.close()

    async def dial(
        self,
        grant: Grant,
        login: MakeLogin,
        observer: DialObserver,
        payer: Purse | None = None,
        name: str = "",
    ) -> Transport:
        """An authenticated transport, its receiver not yet set. Raises Refused.

        It returns in the turn in which the target's success is read, before any later message of that read is
        looked at: whoever sets the receiver there misses nothing. Cancelling it closes what was opened. `login` is
        called after the host key was accepted, so no certificate is made for a host that is not the target. `payer`
        pays for looking up its name; `name` says in a trace whose messages they are.
        """
        if not isinstance(grant, Grant):
            raise TypeError("dialling needs a Grant")
        return await _Dial(self, grant, login, observer, payer, name).run()

    def settings_of(self, target: Target) -> TransportSettings:
        """The algorithms for one target: host keys that can be verified come first, its legacy names last."""
        where = (target_names(target), target.port, target.legacy)
        found = self._made_for.get(where)
        if found is None:
            if len(self._made_for) >= MAX_REMEMBERED:
                self._made_for.clear()
            found = self._made_for[where] = self._make_settings(target)
        return found

    def _make_settings(self, target: Target) -> TransportSettings:
        """The same, made; equal ones are one value for all targets that share it."""
        names = self.known_hosts.algorithms_for(target_names(target), target.port)
        usable = [name for name in names if name in self.settings.algorithms.host_keys]
        for name in LEGACY_HOST_KEYS:
            if name in target.legacy:
                # SHA-1 with the pinned RSA key is worth more than a better signature with a key nobody knows.
                usable.insert(usable.index("rsa-sha2-256") + 1, name)
        key = (tuple(usable), target.legacy)
        made = self._made.get(key)
        if made is None:
            algorithms = self.settings.algorithms.with_legacy(target.legacy)
            made = replace(self.settings, algorithms=replace(algorithms, host_keys=key[0]))
            self._made[key] = made
        return made


def check_address(target: Target, address: str, own: Own) -> None:
    """Refuse an address that the target's name led to and nobody allowed. Raises Refused(ADDRESS_REFUSED).

    A target whose `host` is an address is the operator's own word for that address.
    """
    why = barred(address, target.port, own, (*literal_network(target.host), *target.allow_addresses))
    if why is not None:
        hint = "" if why == Barred.LISTENER else "; if that is right, say so in its allow_addresses"
        raise Refused(UpstreamReason.ADDRESS_REFUSED, f"{target.host} is {address}, {why}{hint}")


def target_names(target: Target) -> tuple[str, ...]:
    """The names under which a target's host key may be known: where it is dialled, and what it is called."""
    return tuple(dict.fromkeys((target.host, *target.names)))


class _Dial:
    """One attempt: `run` it once."""

    def __init__(
        self,
        dialler: Dialler,
        grant: Grant,
        login: MakeLogin,
        observer: DialObserver,
        payer: Purse | None,
        name: str,
    ) -> None:
        self._dialler = dialler
        self._reactor = dialler.reactor
        self._target = grant.target
        self._login_name = grant.login
        self._make_login = login
        self._observer = observer
        self._payer = payer
        self._name = name
        self._step = "resolve"
        self._began = self._reactor.seconds()
        self._transport: Transport | None = None
        self._secured: Deferred[None] = Deferred()  # the first key exchange is done
        self._login: Login | None = None
        self._host_key_error: Refused | None = None
        self._way: Deferred[Transport] | None = None
        self._deadline: Any = self._reactor.callLater(dialler.timeout, self._late)
        self._too_late: Refused | None = None
        self._left = self._asked_at = 0.0  # the deadline's rest and the moment, while a person is asked

    async def run(self) -> Transport:
        """The whole way in the time that there is for it. Every refusal begins with the target's name."""
        self._way = Deferred.fromCoroutine(self._go())
        try:
            return await self._way
        except Refused as refusal:
            raise self._named(refusal) from None
        except CancelledError:
            if self._too_late is None:
                raise
            raise self._named(self._too_late) from None
        finally:
            if self._deadline.active():
                self._deadline.cancel()

    async def _go(self) -> Transport:
        """Reach the target, wait for its host key, log in."""
        transport: Transport = await reach(
            self._reactor,
            self._target.host,
            self._target.port,
            judge=lambda address: check_address(self._target, address, self._dialler.own),
            build=self._build_transport,
            timeout=self._dialler.timeout,
            payer=self._payer,
            resolved=lambda: self._phase_done("connect"),
        )
        try:
            await self._secured
            await self._log_in(transport)
        except BaseException:
            self._let_go(transport)
            transport.disconnect(Disconnect.BY_APPLICATION, "not going on")
            raise
        self._let_go(transport)
        return transport

    def _let_go(self, transport: Transport) -> None:
        """Hear no more of it: it is somebody else's now, or nobody's."""
        transport.on_secure = transport.on_closed = transport.service = None
        self._transport = None
        if self._login is not None:
            self._login.stop()

    # -- the steps ---------------------------------------------------------------------------------------

    def _build_transport(self, address: str) -> Transport:
        """The protocol for a connection just made."""
        self._phase_done("kex")
        transport = self._transport = client_transport(
            self._dialler.settings_of(self._target), self._reactor, self._check_host_key, self._name
        )
        transport.on_secure = lambda: self._secured.callback(None)
        transport.on_closed = self._closed
        return transport

    def _check_host_key(self, blob: bytes) -> Deferred[None] | None:
        """Judge the host key before any key made with it is used. Raises Refused(HOST_KEY_*), now or later."""
        self._phase_done("host_key")
        target = self._target
        verdict = self._dialler.known_hosts.check(
            target_names(target), target.port, blob, self._dialler.clock.time()
        )
        sshfp = self._dialler.sshfp
        if verdict.outcome is Outcome.UNKNOWN and target.by_sshfp and sshfp is not None:
            return sshfp.ask(target.host).addBoth(self._sshfp_answered, blob)
        self._judged(verdict)
        return None

    def _sshfp_answered(self, answer: Records | Failure, blob: bytes) -> None:
        """What DNS says of the host key in `blob`. Raises Refused(HOST_KEY_*)."""
        key = plain_key(blob)
        shown, reason = key.fingerprint(), UpstreamReason.HOST_KEY_UNKNOWN
        if isinstance(answer, Failure):
            if not isinstance(answer.value, SshfpFailed):
                answer.raiseException()
            outcome, text = Outcome.UNKNOWN, f"the host key {shown} is not known: {answer.value.text}"
        elif answer.vouch_for(key):
            self._judged(HostKeyVerdict(Outcome.SSHFP_OK, shown))
            return
        else:
            outcome, reason = Outcome.CHANGED, UpstreamReason.HOST_KEY_CHANGED
            text = f"the host key {shown} is not one that the SSHFP records of {self._target.host} vouch for"
        self._observer.host_key(outcome, shown)
        self._host_key_error = Refused(reason, f"{self._target.name}: {text}")
        raise self._host_key_error

    def _judged(self, verdict: HostKeyVerdict) -> None:
        """Raises Refused(HOST_KEY_*)."""
        target = self._target
        self._observer.host_key(verdict.outcome, verdict.fingerprint)
        refusal = host_key_refusal(target.name, verdict)
        if refusal is not None:
            self._host_key_error = refusal
            raise refusal
        self._phase_done("login")

    async def _log_in(self, transport: Transport) -> None:
        made, login_name = self._make_login(), self._login_name
        credential = await made if isinstance(made, Deferred) else made
        login: Login
        if isinstance(credential, PasswordCredential):
            login = PasswordLogin(
                transport, login_name, credential, self._observer.banner, self._person_asked
            )
        else:
            login = PublicKeyLogin(
                transport, login_name, credential, self._observer.banner, self._person_asked
            )
        self._login = login
        transport.service = login.receive
        login.start()
        method = await login.done
        keys = transport.keys
        assert keys.agreed is not None
        self._phase_done("done")
        self._observer.connected(
            connected(keys.peer_version, keys.agreed, method, credential.source, login.legacy)
        )

    def _person_asked(self, waiting: bool) -> None:
        """While a person thinks, the dial's timer stands still; whoever asks has a timer for that."""
        now = self._reactor.seconds()
        if waiting:
            self._left, self._asked_at = self._deadline.getTime() - now, now
            self._deadline.cancel()
        else:
            self._deadline = self._reactor.callLater(max(self._left, 0.0), self._late)
            self._began += now - self._asked_at

    def _phase_done(self, next_step: str) -> None:
        now = self._reactor.seconds()
        self._observer.phase(self._step, now - self._began)
        self._step, self._began = next_step, now

    # -- what goes wrong ---------------------------------------------------------------------------------

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
        detail = _words_of(reason)
        if self._step == "login" and self._login is not None:
            what = "it broke" if reason.by is ClosedBy.US else "it closed the connection at"
            return Refused(UpstreamReason.LOGIN_REFUSED, f"{what} the login{detail}")
        return Refused(UpstreamReason.KEX_FAILED, f"the key exchange failed{detail}")

    def _late(self) -> None:
        seconds, step = f"{self._dialler.timeout:g} s", self._step
        if step in ("resolve", "connect"):
            reason, what = UpstreamReason.CONNECT_TIMEOUT, "no answer"
        else:
            reason, what = UpstreamReason.TIMEOUT, "not ready"
        self._too_late = Refused(reason, f"{what} within {seconds} (step: {step})")
        if self._way is not None:
            self._way.cancel()

    def _named(self, refusal: Refused) -> Refused:
        prefix = f"{self._target.name}: "
        return Refused(refusal.reason, prefix + refusal.text.removeprefix(prefix))


def _words_of(reason: CloseReason) -> str:
    """`: text` of a closed connection, the target's own in quotation marks."""
    if not reason.text:
        return ""
    return f": {printable(reason.text) if reason.by is ClosedBy.US else quoted(reason.text)}"


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
